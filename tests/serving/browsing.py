"""``cacl serve`` in its own process, and a page in Chromium whose console has to stay empty."""

from __future__ import annotations

import re
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NO_CHROMIUM = "needs Chromium: install it (Debian: apt install chromium)"


@contextmanager
def serving(index: Path, labels: Path) -> Iterator[str]:
    """The address of the page, at a free port."""
    command = [sys.executable, "-m", "cacl", "serve", str(index), "--port", "0", "--labels", str(labels)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert select.select([server.stdout], [], [], 120)[0], "cacl serve says nothing"
            found = re.search(r"http://\S+", server.stdout.readline())
            assert found is not None
            yield found[0]
        finally:
            server.terminate()


@contextmanager
def chromium() -> Iterator[Any]:
    from playwright import sync_api

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def watched(browser: Any, address: str) -> Iterator[Any]:
    """A page with nothing kept, offline but for the server; in the end its console is empty."""
    context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 900})
    errors: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: errors.append(message.text) if is_fault(message) else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: errors.append(request.url) if not local(request.url, address) else None)
    page.set_default_timeout(240_000)  # of a busy machine
    yield page
    context.close()
    assert errors == []


def is_fault(message: Any) -> bool:
    """A refusal (status 400) is an answer, which Chromium writes to the console all the same."""
    return message.type in ("error", "warning") and "status of 400" not in message.text


def local(url: str, address: str) -> bool:
    return url.startswith((address, "blob:", "data:"))


def ready(page: Any, path: str = "/") -> None:
    page.goto(path)
    page.wait_for_selector("html[data-ready]")
    page.wait_for_selector("#answer:not([aria-busy])", state="attached")


def until(page: Any, said: str) -> None:
    """Playwright's own would need ``eval``, which the page does not allow."""
    for _ in range(300):
        if page.evaluate(said):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"never: {said}")


def names(page: Any) -> list[str]:
    found: list[str] = page.locator("#hits .hit .name").all_inner_texts()
    return [name.strip() for name in found]


def choose(page: Any, name: str) -> None:
    page.fill("#find", name)
    page.locator("#found button", has_text=name).first.click()
    page.wait_for_selector("#hits .hit .strip")
