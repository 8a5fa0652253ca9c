"""Pictures of the page, by Chromium: of the search in light, dark and on a narrow screen, and of the other screens.

After ``make demo``, ``python tests/serving/picture.py`` makes some longer videos, an index of them and all pictures in
``build/page``; that of the README is ``search-light.png`` in 256 colours.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import sync_playwright

import cacl
from cacl.data.media.encode import write_video
from cacl.data.synthetic.generate import make_videos

SCREENS = {"light": (1280, 800), "dark": (1280, 800), "narrow": (390, 844), "narrow-dark": (390, 844)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("runs/demo/own"))
    parser.add_argument("--index", type=Path, help="one that is there")
    parser.add_argument("--query", default="orbiting", help="a word of the name of the video to ask with")
    parser.add_argument("--out", type=Path, default=Path("build/page"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    index = given.index or make(given.out, given.model)
    labels = given.out / "labels.csv"
    labels.unlink(missing_ok=True)
    words = ["serve", str(index), "--port", "0", "--labels", str(labels)]
    command = [sys.executable, "-m", "cacl", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+", server.stdout.readline())
            assert found is not None
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for name, (width, height) in SCREENS.items():
                page = browser.new_page(
                    base_url=found[0],
                    viewport={"width": width, "height": height},
                    color_scheme="dark" if "dark" in name else "light",
                )
                take(page, given.query, given.out, name)
                show_classes(page, index, labels, given.out, name)
        finally:
            server.terminate()


def make(out: Path, model: Path) -> Path:
    """An index of 40 generated videos of some 11 s, and copies of two of them: a part, and one turned left to right."""
    videos, index = out / "videos", out / "videos.index"
    if not videos.exists():
        new = out / "new"
        shutil.rmtree(new, ignore_errors=True)
        make_videos(new, seed=1, videos_per_class=(3, 1), size=(144, 192), frames=(250, 320))
        dots = frames_of(new / "train" / "orbiting_dots" / "orbiting_dots_000.mp4")
        crosses = frames_of(new / "train" / "spinning_crosses" / "spinning_crosses_001.mp4")
        (new / "copies").mkdir()
        write_video(new / "copies" / "part of <b>dots.avi", dots[60:220], codec="mpeg4")
        write_video(new / "copies" / "crosses again.mp4", np.concatenate([dots[:60], crosses[:, :, ::-1]]))
        new.rename(videos)  # whole or not there
    cacl.index(videos, model=model, out=index)
    return index


def show_classes(page: Any, index: Path, labels: Path, out: Path, name: str) -> None:
    """The map with a lasso around its middle, classes of the labels of some videos, and what to label next."""
    page.keyboard.press("4")
    page.wait_for_selector("#map-status:has-text('what is near each other is alike')")
    page.wait_for_timeout(800)
    page.screenshot(path=out / f"map-{name}.png")
    box = page.locator("#map-canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.locator("#map-lasso").click()
    page.mouse.move(x - 90, y - 90)
    page.mouse.down()
    for dx, dy in ((80, -70), (110, 60), (-60, 100)):
        page.mouse.move(x + dx, y + dy, steps=8)
    page.mouse.up()
    page.locator("#map-lasso").click()
    page.wait_for_selector("#map-chosen:not(:empty)")
    page.mouse.move(x + 20, y + 10)
    page.wait_for_timeout(1500)
    page.screenshot(path=out / f"lasso-{name}.png", full_page=True)
    with cacl.Index(index) as opened:
        some = [video for video in opened.videos if video.label][::2]
    labels.write_text("".join(["path,label,start,end\n", *(f"{video.path},{video.label},,\n" for video in some)]))
    page.keyboard.press("t")
    page.wait_for_selector("#next .tile")
    page.wait_for_timeout(1500)
    page.screenshot(path=out / f"classes-{name}.png")
    page.keyboard.press("4")
    page.select_option("#map-by", "class")
    page.wait_for_timeout(1000)
    page.screenshot(path=out / f"map-classes-{name}.png")
    page.keyboard.press("1")
    page.wait_for_selector("#only-class option:nth-child(3)", state="attached")
    page.select_option("#only-class", index=2)
    page.wait_for_selector("#answer:not([aria-busy])")
    page.wait_for_timeout(2000)
    page.screenshot(path=out / f"filtered-{name}.png")
    labels.unlink()


def frames_of(video: Path) -> NDArray[np.uint8]:
    with av.open(str(video)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def take(page: Any, query: str, out: Path, name: str) -> None:
    page.set_default_timeout(400_000)
    page.goto("/")
    page.wait_for_selector("#hits .some")
    page.wait_for_timeout(1500)
    page.screenshot(path=out / f"begin-{name}.png")
    page.fill("#find", query)
    page.wait_for_timeout(1500)
    page.screenshot(path=out / f"find-{name}.png")
    page.locator("#found button").first.click()
    page.wait_for_selector("#hits .strip")
    page.get_by_label("Start of the part").first.focus()
    for _ in range(4):
        page.keyboard.press("Shift+ArrowRight")
    page.get_by_label("End of the part").first.focus()
    for _ in range(8):
        page.keyboard.press("Shift+ArrowLeft")
    page.get_by_role("button", name="Search by this part").click()
    page.wait_for_url(re.compile("@"))
    page.wait_for_selector("#answer:not([aria-busy])")
    page.wait_for_timeout(2500)
    page.screenshot(path=out / f"search-{name}.png")
    page.keyboard.press("j")
    for key in ("x", "j", "x", "Enter"):
        page.keyboard.press(key)
    page.wait_for_timeout(2500)
    page.screenshot(path=out / f"playing-{name}.png", full_page=True)
    page.keyboard.press("l")
    page.wait_for_selector("#naming[open]")
    page.keyboard.type("spins slowly")
    page.screenshot(path=out / f"naming-{name}.png")
    page.keyboard.press("Enter")
    page.wait_for_selector("#toast:not([hidden])")
    page.keyboard.press("3")
    page.wait_for_selector("#labels .gallery li")
    page.wait_for_timeout(1000)
    page.screenshot(path=out / f"labels-{name}.png")
    page.keyboard.press("?")
    page.screenshot(path=out / f"keys-{name}.png")
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    page.wait_for_selector("#duplicates > *")
    if page.get_by_role("button", name="Look for duplicates").count():
        page.get_by_role("button", name="Look for duplicates").click()
    page.wait_for_selector("#duplicates .pair, #duplicates:has-text('Nothing is there twice')")
    page.wait_for_timeout(1500)
    page.screenshot(path=out / f"duplicates-{name}.png")


if __name__ == "__main__":
    main()
