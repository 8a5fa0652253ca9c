"""Labels, classes and the map in a real browser: named, learnt, shown, filtered by; a lasso; keys alone."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from serving.browsing import CHROMIUM, NO_CHROMIUM, choose, ready, serving, until, watched

pytest.importorskip("playwright.sync_api", reason="needs playwright, of cacl[test]")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return tmp_path / "labels.csv"


@pytest.fixture
def page(browser: Any, archive: Path, tmp_path: Path, labels: Path) -> Iterator[Any]:
    """The page on an index of its own, with nothing named."""
    shutil.copytree(archive / "my.index", tmp_path / "my.index")
    with serving(tmp_path / "my.index", labels) as address, watched(browser, address) as page:
        yield page


def name(page: Any, hits: int, label: str) -> None:
    """Name the first hits of what is asked, by keys."""
    for _ in range(hits):
        page.keyboard.press("j")
        page.keyboard.press("x")
    page.keyboard.press("l")
    page.wait_for_selector("#naming[open]")
    page.keyboard.type(label)
    page.keyboard.press("Enter")
    page.wait_for_selector(f"#toast:has-text('named “{label}”')")


def two_kinds(labels: Path) -> None:
    rows = ["a/v0.mp4,first,,", "a/v2.mp4,first,0,2.5", "b/v1.mp4,second <b>x</b>,,", "b/v3.mp4,second <b>x</b>,,"]
    labels.write_text("\n".join(["path,label,start,end", *rows, ""]))


def on_the_map(page: Any) -> tuple[float, float]:
    """Its middle, once it is drawn."""
    page.wait_for_selector("#map-status:has-text('what is near each other is alike')")
    box = page.locator("#map-canvas").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def picture(page: Any) -> NDArray[np.uint8]:
    """Of the map, uint8 ``[H, W, 3]``, without the margin, where focus and corners are drawn."""
    shot = Image.open(io.BytesIO(page.locator("#map-canvas").screenshot())).convert("RGB")
    return np.asarray(shot)[16:-16, 16:-16]


def test_labels_become_classes_that_hits_show_and_are_filtered_by(page: Any, labels: Path):
    ready(page)
    choose(page, "a/v0.mp4")
    name(page, 2, "first")
    assert len(list(csv.DictReader(labels.open()))) == 2
    page.keyboard.press("3")
    page.locator("#learn").click()
    page.wait_for_selector("#classes .problem:has-text('only the label')")
    two_kinds(labels)
    page.locator("#learn").click()
    page.wait_for_selector("#classes .said:has-text('that were held out')")
    page.wait_for_selector("#next .tile")
    assert page.locator("#classes .kinds li").count() == 2
    assert page.locator("#classes b").count() == 0  # the name is a text
    page.keyboard.press("1")
    page.keyboard.press("j")
    until(page, "document.querySelectorAll('#only-class option').length > 1")
    kind = page.locator("#only-class option").nth(1).get_attribute("value")
    page.select_option("#only-class", kind)
    page.wait_for_url("**class=*")
    page.wait_for_selector("#answer:not([aria-busy])")
    until(page, "document.querySelector('#hits .told') !== null")
    shown = page.locator("#hits .told").all_inner_texts()
    assert shown
    assert all(text.startswith(f"{kind} ") for text in shown)
    url = page.url
    page.reload()
    page.wait_for_selector("#hits .told")
    until(page, "document.querySelector('#only-class').value !== ''")
    assert (page.url, page.locator("#only-class").input_value()) == (url, kind)
    assert page.locator("#hits .told").all_inner_texts() == shown


def test_a_line_around_points_brings_them_up_to_be_named(page: Any, labels: Path):
    ready(page, "/?tab=map")
    x, y = on_the_map(page)
    page.mouse.move(x, y)
    page.locator("#map-lasso").click()
    page.mouse.move(x - 400, y - 250)
    page.mouse.down()
    for dx, dy in ((400, -250), (400, 250), (-400, 250)):
        page.mouse.move(x + dx, y + dy, steps=5)
    page.mouse.up()
    page.wait_for_selector("#map-gallery .tile.selected")
    tiles = page.locator("#map-gallery .tile").count()
    assert tiles >= 4
    page.locator("#map-gallery .tile input").first.click()
    page.locator("#map .selected-row button").first.click()
    page.wait_for_selector("#naming[open]")
    page.keyboard.type("all of it")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"#toast:has-text('{tiles - 1} stretches named')")
    page.wait_for_selector("#map-legend:has-text('all of it')")
    assert len(list(csv.DictReader(labels.open()))) == tiles - 1


def test_the_map_moves_zooms_and_is_the_same_after_a_reload(page: Any):
    ready(page, "/?tab=map&by=class")
    x, y = on_the_map(page)
    before = picture(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 80, y + 30, steps=4)
    page.mouse.up()
    page.mouse.wheel(0, -300)
    page.wait_for_url("**at=*")
    page.mouse.move(5, 5)
    page.wait_for_timeout(300)
    after = picture(page)
    assert (after != before).any(axis=2).mean() > 0.001
    page.reload()
    on_the_map(page)
    page.wait_for_timeout(800)
    assert page.locator("#map-by").input_value() == "class"
    assert (picture(page) != after).any(axis=2).mean() < 0.001  # but for a point that is rounded to the next pixel


def test_the_map_by_keys_alone(page: Any, labels: Path):
    ready(page)
    page.keyboard.press("m")
    on_the_map(page)
    page.keyboard.press("0")
    for _ in range(3):
        page.keyboard.press("-")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#map-chosen').textContent !== ''")
    for _ in range(30):
        if page.locator("#map-gallery .tile").count():
            break
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Enter")
        page.wait_for_timeout(200)
    page.wait_for_selector("#map-gallery .tile.selected")
    page.keyboard.press("l")
    page.wait_for_selector("#naming[open]")
    page.keyboard.type("ring")
    page.keyboard.press("Enter")
    page.wait_for_selector("#toast:has-text('named “ring”')")
    assert {row["label"] for row in csv.DictReader(labels.open())} == {"ring"}
    page.keyboard.press("z")
    page.wait_for_selector("#toast:has-text('Taken back')")
    page.keyboard.press("t")
    page.wait_for_selector("#classes .problem:has-text('holds no labels')")


def test_pointing_at_a_point_shows_what_it_is(page: Any):
    ready(page, "/?tab=map")
    x, y = on_the_map(page)
    page.wait_for_timeout(500)
    shot = picture(page)
    paper = shot[0, 0]
    rows, columns = np.nonzero((shot != paper).any(axis=2))
    box = page.locator("#map-canvas").bounding_box()
    page.mouse.move(x, y)
    page.mouse.move(box["x"] + 16 + int(columns[0]), box["y"] + 16 + int(rows[0]) + 2)
    page.wait_for_selector("#map-card:not([hidden]) img")
    assert ".mp4" in page.locator("#map-card").inner_text()
    page.mouse.move(5, 5)
    page.wait_for_selector("#map-card", state="hidden")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_screens(page: Any, labels: Path, scheme: str):
    two_kinds(labels)
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=scheme)
    ready(page, "/?tab=map")
    on_the_map(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("t")
    page.wait_for_selector("#next .tile")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("1")
    choose(page, "a/v0.mp4")
    until(page, "document.querySelectorAll('#only-class option').length > 1")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
