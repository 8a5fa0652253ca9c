"""The page in real Chromium, spoken to over two pipes (the DevTools protocol): what it loads, says and shows."""

from __future__ import annotations

import base64
import io
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cacl.reports.analysis import read_analysis
from cacl.reports.page import RunPage, Setting
from cacl.reports.paper import write_paper_page
from cacl.reports.previews import preview_rows
from cacl.reports.tiles import Tile, TileRow
from cacl.reports.write import write_page

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-pipe"
)
AS_3_AND_4 = (  # where Chromium expects the pipes
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
EVIL = "<script>alert('x')</script> & \"q\""


class Chromium:
    """One tab."""

    def __init__(self, program: str, profile: Path) -> None:
        hears, self._out = os.pipe()
        self._in, says = os.pipe()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                AS_3_AND_4,
                str(hears),
                str(says),
                program,
                *FLAGS.split(),
                f"--user-data-dir={profile}",
            ],
            pass_fds=(hears, says),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(hears)
        os.close(says)
        self._number, self._rest, self._session = 0, b"", ""
        self.events: list[dict[str, Any]] = []
        tab = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        os.write(
            self._out, json.dumps(message | ({"sessionId": self._session} if self._session else {})).encode() + b"\0"
        )
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._in], [], [], 60)[0], "Chromium is silent"
            part = os.read(self._in, 1 << 20)
            assert part, "Chromium is gone"
            self._rest += part
        text, self._rest = self._rest.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(text)
        return answer

    def open(self, page: Path, *, width: int, **media: str) -> None:
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
        self.ask("Emulation.setEmulatedMedia", features=features)
        self.events.clear()
        self.ask("Page.navigate", url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def value(self, expression: str) -> Any:
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def told(self, *methods: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event.get("method") in methods]

    def shot(self) -> np.ndarray[Any, Any]:
        png = base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        os.close(self._in)
        os.close(self._out)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    chromium = Chromium(program, tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


def moving(caption: str, right: bool | None = None) -> Tile:
    frames = np.zeros((5, 24, 32, 3), np.uint8)
    for t in range(5):
        frames[t, 4:12, 4 * t : 4 * t + 8] = 250
    return Tile(frames[2], caption, "0.91", right, EVIL, frames=frames, milliseconds=80)


def analysed(folder: Path) -> None:
    """An analysis with all its parts."""
    names = ["CLS", "clip 1", "clip 2", "twin 1", "twin 2"]
    rows = "\n".join(",".join([name, *["0.2"] * 5]) for name in names)
    (folder / "attention.csv").write_text("looks at," + ",".join(names) + "\n" + rows + "\n")
    points = "\n".join(f"v{i}.mp4,{'ab'[i % 2]},{i},{i * i % 7},{-i},{i % 3}" for i in range(12))
    (folder / "features.csv").write_text("path,label,untrained 1,untrained 2,cacl 1,cacl 2\n" + points + "\n")
    probe = {"chance": 50.0, "classes": ["forwards", "backwards"], "test videos": 3}
    row = {"accuracy": 60.0, "standard error": 2.0}
    pair = {"mean": 0.5, "deviation": 0.1, "unrelated mean": -0.1, "unrelated deviation": 0.2}
    degree = {"degrees": [0, 2], "counts": [[3, 1], [0, 4]], "pairs": 8, "within one degree": 87.5, "mean error": 0.25}
    content = {
        "about": {"steps": 3, "videos": "v", "tested on": "the test part", "test videos": 12},
        "similarity": {"pairs": {"gq_gk": pair}, "clips": 12},
        "attention": {"clips": 4, "distance": 0.5, "distance, uniform": 0.5, "ends": 1.0},
        "degree": {**degree, "error of one answer": 1.0},
        "features": {"axes": {"untrained": ["x", "y"], "cacl": ["x", EVIL]}},
        "probes": {"arrow of time": {**probe, "rows": {"untrained": row, "cacl": row}}},
    }
    (folder / "results.json").write_text(json.dumps(content))


def page(folder: Path, name: str, lr: str = "0.1") -> RunPage:
    analysed(folder)
    long = "a_long_name_" * 12
    return RunPage(
        name,
        {
            "retrieval": {"chance": {"R@1": 10.0, "R@5": 30.0}, "cacl": {"R@1": 50.0, "R@5": 70.0}},
            "degree": {"accuracy": 30.0, "chance": 6.25},
            "recognition": {"fine-tuned": {"5": {"top-1": 40.0}, "all": {"top-1": 60.0}}},
            "classes": [long, "b"],
            "per class": {long: 50.0, "b": 70.0},
            "chance": 50.0,
        },
        lead=long,
        metrics={"cacl": [{"step": s, "loss": 2.0 - s / 10, "nce": 1.0} for s in range(9)]},
        neighbours=preview_rows([TileRow((moving("a", True), moving("b", False)), lead=moving(EVIL))]),
        first_batch=np.full((40, 90, 3), 120, np.uint8),
        analysis=read_analysis(folder, steps=3),
        confusion=np.array([[3, 1], [2, 4]]),
        settings=[Setting("optim.lr", lr, "flag"), Setting("run.seed", "0", "preset small")],
        data="2 used",
        command=EVIL,
    )


def beside_paper() -> dict[str, Any]:
    """A reproduced table whose names are long."""
    numbers = {"UCF101": dict.fromkeys(("R@1", "R@5", "R@10", "R@20", "R@50"), 43.2)}
    row = {"name": "a_long_name_" * 4, "facts": {"net": EVIL}, "paper": numbers, "ours": numbers, "sd": numbers}
    return {
        "table": "table1",
        "title": EVIL,
        "evaluation": "retrieval",
        "words": "",
        "scale": "tiny",
        "seeds": [0, 1],
        "sets": ["UCF101"],
        "columns": list(numbers["UCF101"]),
        "digits": 1,
        "facts": ["net"],
        "rows": [row, {**row, "name": "rival", "ours": {}, "sd": {}}],
        "references": [{**row, "name": "chance", "paper": {}}],
        "notes": ["a_long_name_" * 12, EVIL],
        "tokens": ["CLS", "clip 1", "clip 2"],
        "attention": [[0.5, 0.3, 0.2]] * 3,
    }


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    write_page(folder / "one.html", [page(folder, EVIL)])
    write_page(folder / "two.html", [page(folder, EVIL), page(folder, "other", "0.2")], command=EVIL)
    write_paper_page(folder / "paper.html", beside_paper(), command=EVIL)
    return {name: folder / f"{name}.html" for name in ("one", "two", "paper")}


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["one", "two", "paper"])
def test_the_page_opens_without_complaint_and_asks_nobody(
    browser: Chromium, pages: dict[str, Path], name: str, width: int
) -> None:
    browser.open(pages[name], width=width)
    assert browser.told("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []
    asked = [request["request"]["url"] for request in browser.told("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]
    pictures = browser.value("[...document.images].map(i => [i.complete, i.naturalWidth])")
    assert len(pictures) == {"one": 4, "two": 8, "paper": 0}[name]
    assert all(complete and pixels > 0 for complete, pixels in pictures)
    assert browser.value("document.scripts.length") == 0
    browser.value("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.value("document.documentElement.scrollWidth") <= width, "the page must not scroll sideways"
    wide = (
        "[...document.querySelectorAll('section')].filter(s => s.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert browser.value(wide) == 0


def test_previews_move_unless_the_reader_wants_no_motion(browser: Chromium, pages: dict[str, Path]) -> None:
    shown = "[...document.querySelectorAll('.tile img')].map(i => i.currentSrc.slice(0, 15))"
    browser.open(pages["one"], width=1280)
    assert browser.value(shown) == ["data:image/webp"] * 3
    browser.open(pages["one"], width=1280, prefers_reduced_motion="reduce")
    assert browser.value(shown) == ["data:image/jpeg"] * 3
    assert all(width > 0 for width in browser.value("[...document.images].map(i => i.naturalWidth)"))


def test_the_runs_are_folded_away_and_can_be_opened(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.open(pages["two"], width=1280)
    height = "document.querySelector('#run-2 section').getBoundingClientRect().height"
    visible = f"document.querySelector('#run-2').open ? {height} : 0"
    assert browser.value(visible) == 0
    browser.value("document.querySelector('#run-2 summary').click()")
    assert browser.value(visible) > 50


def test_light_and_dark_follow_the_reader(browser: Chromium, pages: dict[str, Path]) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        browser.open(pages["one"], width=1280, prefers_color_scheme=scheme)
        shot = browser.shot()
        brightness[scheme] = shot.mean()
        assert len(set(map(tuple, shot[::3, ::3].reshape(-1, 3).tolist()))) > 50
    assert brightness["dark"] < 80
    assert brightness["light"] > 200
    browser.open(pages["one"], width=1280, prefers_color_scheme="light")
    bars = "[...document.querySelectorAll('.bar.trained')].map(b => getComputedStyle(b).backgroundColor)"
    assert set(browser.value(bars)) == {"rgb(0, 114, 178)"}
    assert browser.value("document.querySelector('.bar.trained').getBoundingClientRect().width") > 100
