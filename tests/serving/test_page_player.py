"""The player in a real browser: what it cannot play is encoded anew, once for where a handle comes to rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from indexing.made import make_encoder, make_index
from serving.browsing import CHROMIUM, NO_CHROMIUM, choose, ready, serving, until
from squares import square

from cacl.data.media.encode import write_video

pytest.importorskip("playwright.sync_api", reason="needs playwright, of cacl[test]")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``long.avi`` (MPEG-4, 30 s) is played by no browser; of ``whole.mp4`` the second part is a video of its own."""
    folder = tmp_path_factory.mktemp("player")
    (folder / "videos").mkdir()
    write_video(folder / "videos" / "long.avi", square(300, seed=1), fps=10, codec="mpeg4")
    write_video(folder / "videos" / "whole.mp4", square(100, seed=2), fps=10)
    (folder / "videos" / "list.csv").write_text("path,start,end\nlong.avi,,\nwhole.mp4,0,4\nwhole.mp4,4,8\n")
    make_index(folder / "videos" / "list.csv", folder / "my.index", model=make_encoder(folder / "encoder")).close()
    with serving(folder / "my.index", folder / "labels.csv") as address:
        yield address


def test_a_handle_that_is_dragged_has_one_part_encoded(page: Any) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/clip/" in request.url else None)
    ready(page)
    choose(page, "long.avi")
    until(page, "document.querySelector('#asked video').readyState >= 1")
    assert [url.partition("start=")[2] for url in asked] == ["0.00"]
    handle = page.get_by_label("Start of the part").first
    drag = "(one, to) => { one.value = to; one.dispatchEvent(new Event('input')); }"
    for tenths in range(150, 200):
        handle.evaluate(drag, tenths / 10)
    until(page, "Math.abs(document.querySelector('#asked video').currentTime - 0.5) < 0.11")
    assert [url.partition("start=")[2] for url in asked] == ["0.00", "19.40"]
    handle.evaluate(drag, 22.0)  # within what is loaded
    until(page, "Math.abs(document.querySelector('#asked video').currentTime - 2.6) < 0.11")
    assert len(asked) == 2


def test_a_part_of_a_file_begins_with_itself(page: Any) -> None:
    """And not with its file, though nothing was said of a start."""
    ready(page)
    page.locator("#hits .some").nth(2).locator("button").click()
    page.wait_for_selector("#asked video")
    until(page, "document.querySelector('#asked video').readyState >= 1")
    assert page.locator("#asked video").evaluate("one => one.currentTime") == pytest.approx(4, abs=0.11)
