"""The page in a real browser: what people do on it, by mouse and by keys alone, without an error in its console."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from indexing.made import add
from serving.browsing import CHROMIUM, NO_CHROMIUM, choose, names, ready, serving, until
from serving.site import HTML

pytest.importorskip("playwright.sync_api", reason="needs playwright, of cacl[test]")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)]


@pytest.fixture(scope="module")
def address(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(archive / "my.index", tmp_path_factory.mktemp("labels") / "labels.csv") as address:
        yield address


def test_search_by_an_indexed_video_and_its_part(page: Any):
    ready(page)
    assert len(names(page)) == 5
    choose(page, "a/v0.mp4")
    assert names(page)[0] == f"b/{HTML}"
    assert page.locator("#hits img[src=x]").count() == 0  # the name is a text
    assert "of unrelated stretches" in page.locator("#hits .meaning").first.inner_text()
    start, end = page.get_by_label("Start of the part").first, page.get_by_label("End of the part").first
    end.focus()
    for _ in range(5):
        end.press("Shift+ArrowLeft")
    assert float(end.input_value()) < 4
    page.get_by_role("button", name="Search by this part").click()
    page.wait_for_url(re.compile(r"like=[0-9a-f]+@0-\d"))
    page.wait_for_selector("#answer:not([aria-busy])")
    found, url = names(page), page.url
    page.reload()
    page.wait_for_selector("#hits .hit .strip")
    assert (names(page), page.url) == (found, url)
    assert float(page.get_by_label("End of the part").first.input_value()) < 4
    assert float(start.input_value()) == 0
    page.go_back()
    until(page, "!location.search.includes('@')")


def test_a_click_on_the_strip_plays_from_there(page: Any):
    ready(page)
    choose(page, "a/v0.mp4")
    strip = page.locator("#hits .strip").first
    box = strip.bounding_box()
    strip.click(position={"x": box["width"] * 0.6, "y": 5})
    video = page.locator("#hits .hit video").first
    until(page, "document.querySelector('#hits video').readyState >= 1")
    until(page, "document.querySelector('#hits video').currentTime > 1")
    assert video.evaluate("one => one.error") is None


def test_examples_for_and_against(page: Any):
    ready(page)
    choose(page, "a/v0.mp4")
    page.locator("#hits .hit").first.locator(".open").click()
    page.locator("#hits .hit").first.get_by_role("button", name="Less like this").click()
    page.wait_for_url(re.compile("unlike="))
    page.wait_for_selector("#examples .unlike")
    assert page.locator("#examples .unlike").count() == 1
    page.locator("#examples .unlike button").click()
    until(page, "!location.search.includes('unlike')")


def test_a_dropped_file_finds_its_like(page: Any, tmp_path: Path):
    ready(page)
    page.set_input_files("#file", add(tmp_path, 0))
    page.wait_for_selector("#hits .hit .strip")
    assert {names(page)[0], names(page)[1]} == {"a/v0.mp4", f"b/{HTML}"}
    (tmp_path / "note.mp4").write_text("no video")
    page.set_input_files("#file", tmp_path / "note.mp4")
    page.wait_for_selector("#asked .problem")
    assert "note.mp4: " in page.locator("#asked .problem").inner_text()


def test_labels_by_keys_alone(page: Any):
    ready(page)
    page.keyboard.press("/")
    page.keyboard.type("a/v2")
    page.wait_for_selector("#found button:has-text('a/v2.mp4')")
    until(page, "document.querySelectorAll('#found button').length === 1")
    page.keyboard.press("Enter")
    page.wait_for_selector("#hits .hit .strip")
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("x")
    assert page.locator(".hit.selected").count() == 2
    page.keyboard.press("l")
    page.wait_for_selector("#naming[open]")
    page.keyboard.type("going <b>up</b>")
    page.keyboard.press("Enter")
    page.wait_for_selector("#toast:has-text('2 stretches named')")
    page.keyboard.press("3")
    page.wait_for_selector("#labels .group li")
    assert page.locator("#labels .group h3 input").input_value() == "going <b>up</b>"
    assert page.locator("#labels .gallery li").count() == 2
    page.keyboard.press("z")
    page.wait_for_selector("#labels:has-text('Nothing has a label yet')")
    page.keyboard.press("1")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector("#hits .hit video")
    page.keyboard.press("u")
    page.wait_for_url(re.compile("like=[0-9a-f]+@"))


def test_duplicates(page: Any):
    ready(page, "/?tab=duplicates")
    page.get_by_role("button", name="Look for duplicates").click()
    page.wait_for_selector("#duplicates .pair, #duplicates:has-text('Nothing is there twice')", timeout=120_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_screens_need_no_scrolling_sideways(page: Any, scheme: str):
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=scheme)
    ready(page)
    choose(page, "a/v0.mp4")
    page.locator("#hits .hit .open").first.click()
    for tab in "123":
        page.keyboard.press(tab)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 21, 26)"
    assert dark == (scheme == "dark")
