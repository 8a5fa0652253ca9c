"""Pictures of the page, by Chromium: of the search in light, dark and on a narrow screen, and of the other screens.

``python tests/serving/picture.py runs/demo/videos.index --out build/page`` writes them all; README's is ``search.png``.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

SCREENS = {"light": (1280, 800), "dark": (1280, 800), "narrow": (390, 844), "narrow-dark": (390, 844)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("--query", default="", help="a word of the name of the video to ask with")
    parser.add_argument("--out", type=Path, default=Path("build/page"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "cacl",
        "serve",
        str(given.index),
        "--port",
        "0",
        "--labels",
        str(given.out / "l.csv"),
    ]
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
        finally:
            server.terminate()


def take(page: Any, query: str, out: Path, name: str) -> None:
    page.set_default_timeout(120_000)
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
