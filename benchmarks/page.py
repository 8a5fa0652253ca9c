"""The page on an index of 10⁵ stretches: its first screen, answers beyond the search, memory, the map and its frames.

The index is written as if 2 500 videos of 40 stretches had been embedded, in 40 kinds, with the previews of one. The
server is a process of its own; Chromium shows the page. Times of the page are by the clock, as people wait by it; a
search is asked of the server and of the index itself in turns.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from harness import arguments, header, processor_seconds, table, target, targets

import cacl
from cacl.data.media.encode import write_video
from cacl.data.videos.catalog import Catalog
from cacl.exploring.map import maps_of
from cacl.indexing.generation import open_generation
from cacl.indexing.journal import Piece
from cacl.indexing.known import Known
from cacl.indexing.layout import GENERATIONS
from cacl.indexing.previews import preview_file
from cacl.indexing.request import read_pointer, write_pointer
from cacl.indexing.write_generation import write_generation
from cacl.models.encoder import ClipSpec, Encoder

STRETCHES, WIDTH, KINDS = 40, 512, 40
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def main() -> None:
    chosen = arguments(__doc__)
    header("The page", chosen, clock="by the clock")
    videos, searches, asked = (50, 60, 10) if chosen.quick else (2500, 1000, 60)
    with tempfile.TemporaryDirectory() as folder:
        path = make_index(Path(folder), videos, chosen.seed)
        with cacl.Index(path) as index:
            spent, clock = processor_seconds(), time.perf_counter()
            kinds = [(one.kind, processor_seconds() - spent, time.perf_counter() - clock) for one in maps_of(index)]
            table(f"The map of {len(index)} stretches", ("", "s of processor", "s by the clock"), kinds)
            with serving(path) as (address, process):
                reached = answers(index, address, process, searches=searches, asked=asked)
                reached += in_chromium(address, process, seconds=1.0 if chosen.quick else 4.0)
    targets(reached, chosen)


def make_index(folder: Path, count: int, seed: int) -> Path:
    """An index of one small video, then a state of many."""
    Encoder("r3d10", width=4, clip=ClipSpec(frames=8, resize=(72, 96), size=64)).save(folder / "encoder")
    random = np.random.default_rng(seed)
    frames = np.repeat(np.repeat(random.integers(0, 255, (656, 9, 12, 3), dtype=np.uint8), 8, axis=1), 8, axis=2)
    (folder / "videos").mkdir()
    write_video(folder / "videos" / "one.mp4", frames, fps=10)
    out = folder / "page.index"
    made = cacl.index(folder / "videos", model=folder / "encoder", out=out, device="cpu", precision="float32")
    assert made is not None
    made.close()
    old = open_generation(out)
    assert old is not None
    (one,), (piece,), (key,) = old.catalog.videos, old.pieces.values(), old.known.keys
    centres = random.normal(size=(KINDS, WIDTH))
    spans = piece.frames[:STRETCHES], piece.seconds[:STRETCHES]
    rows, keys, pieces = [], [], []
    for number in range(count):
        kind = number % KINDS
        base = centres[kind] + 0.5 * random.normal(size=WIDTH)
        vectors = (base + 0.5 * random.normal(size=(len(spans[0]), WIDTH))).astype(np.float32)
        name = f"{kind:02}/v{number:05}"
        rows.append(replace(one, path=f"{name}.mp4", id=name, label=f"kind {kind:02}"))
        keys.append(f"{number:032x}")
        pieces.append(Piece(vectors, *spans))
        place = preview_file(out, keys[-1])
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(preview_file(out, key), place)
    new = out / GENERATIONS / "000002"
    catalog = Catalog(folder / "videos", tuple(rows))
    write_generation(new, about=old.about, catalog=catalog, pieces=pieces, known=Known({}, tuple(keys)), whiten=False)
    write_pointer(out, {**read_pointer(out), "generation": new.name})
    old.close()
    return out


@contextmanager
def serving(index: Path) -> Iterator[tuple[str, int]]:
    """Address and process of ``cacl serve``."""
    command = [sys.executable, "-m", "cacl", "serve", str(index), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert select.select([server.stdout], [], [], 300)[0]
            found = re.search(r"http://(\S+)/", server.stdout.readline())
            assert found is not None
            yield found[1], server.pid
        finally:
            server.terminate()


def answers(index: cacl.Index, address: str, process: int, *, searches: int, asked: int) -> list[list[object]]:
    """How much longer the server takes than the search itself, and what it holds after many."""

    def ask(path: str) -> Any:
        with closing(http.client.HTTPConnection(address)) as connection:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())

    random = np.random.default_rng(1)
    parts = [(int(random.integers(len(index.videos))), float(random.integers(0, 20))) for _ in range(searches)]
    place = [(index.videos[number], start) for number, start in parts]
    ask(f"/api/search?like={place[0][0].key}@0-2")
    index.search(f"index:{place[0][0].path}@0-2", k=20)
    times: dict[str, list[float]] = {"the search itself": [], "the server's answer": []}
    spent = {"the search itself": 0.0, "the server's answer": 0.0}
    for video, start in place[:asked]:
        used, used_there = time.process_time(), processor_of(process)
        begun = time.perf_counter()
        own = index.search(f"index:{video.path}@{start}-{start + 2}", k=20)
        times["the search itself"].append(time.perf_counter() - begun)
        spent["the search itself"] += time.process_time() - used
        begun = time.perf_counter()
        found = ask(f"/api/search?like={video.key}@{start}-{start + 2}")
        times["the server's answer"].append(time.perf_counter() - begun)
        spent["the server's answer"] += processor_of(process) - used_there
        if [hit["path"] for hit in found["hits"]] != [hit.path for hit in own]:
            raise SystemExit("the server found something else than the index")
    print(f"- same: the hits of {asked} searches, difference 0 (at most 0)")
    for video, start in place[: searches // 5]:
        ask(f"/api/search?like={video.key}@{start}-{start + 3}")
    before = own_mib(process)
    for video, start in place:
        ask(f"/api/search?like={video.key}@{start}-{start + 4}")
    after = own_mib(process)
    rows = [
        [name, 1e3 * statistics.median(own), 1e3 * float(np.quantile(own, 0.95)), 1e3 * spent[name] / asked]
        for name, own in times.items()
    ]
    table("A search by a part of a video", ("", "ms, median", "ms, p95", "ms of processor, mean"), rows)
    table("Memory of the server's own", ("", "MiB"), [["before", before], [f"after {searches} searches more", after]])
    pairs = zip(times["the server's answer"], times["the search itself"], strict=True)
    beyond = 1e3 * statistics.median(answer - search for answer, search in pairs)
    return [
        target("answer beyond the search, ms", max(beyond, 0.0), 150, most=True),
        target(
            "the same, of processor",
            max(1e3 * (spent["the server's answer"] - spent["the search itself"]) / asked, 0.0),
            150,
            most=True,
        ),
        target(f"growth in {searches} searches, MiB", max(after - before, 0.0), 20, most=True),
    ]


def processor_of(process: int) -> float:
    """Seconds of processor that a process has used (Linux)."""
    facts = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(facts[11]) + int(facts[12])) / os.sysconf("SC_CLK_TCK")


def own_mib(process: int) -> float:
    """What a process holds beside mapped files, MiB (Linux)."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


_SINCE = "performance.now() - performance.getEntriesByType('navigation')[0].responseStart"
_FRAMES = """() => {
  window.frames_ = [];
  const next = (now) => { if (!window.frames_) return; window.frames_.push(now); requestAnimationFrame(next); };
  requestAnimationFrame(next);
}"""


def in_chromium(address: str, process: int, *, seconds: float) -> list[list[object]]:
    """Seconds to the first screen, and frames of the map while it is dragged and zoomed."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("- the page in a browser: left out, it needs playwright\n")
        return []
    if CHROMIUM is None:
        print("- the page in a browser: left out, it needs Chromium\n")
        return []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        first, used = [], processor_of(process)
        for _ in range(3):
            page = browser.new_page(base_url=f"http://{address}", viewport={"width": 1280, "height": 900})
            page.goto("/", wait_until="commit")
            page.wait_for_selector("#hits .some img", state="attached")
            first.append(
                page.evaluate("performance.now() - performance.getEntriesByType('navigation')[0].responseStart")
            )
            page.close()
        used = (processor_of(process) - used) / 3
        page = browser.new_page(base_url=f"http://{address}", viewport={"width": 1280, "height": 900})
        page.set_default_timeout(300_000)
        page.goto("/?tab=map")
        page.wait_for_selector("#map-status:has-text('what is near each other is alike')")
        box = page.locator("#map-canvas").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        gaps = {}
        for name in ("dragged", "zoomed"):
            page.mouse.move(x, y)
            page.wait_for_timeout(500)
            page.evaluate(_FRAMES)
            if name == "dragged":
                page.mouse.down()
            until, turn = time.perf_counter() + seconds, 0
            while time.perf_counter() < until:
                turn += 1
                if name == "dragged":
                    page.mouse.move(x + 200 * np.sin(turn / 15), y + 90 * np.cos(turn / 11))
                else:
                    page.mouse.wheel(0, -60 if turn % 40 < 20 else 60)
            page.mouse.up()
            moments = page.evaluate("() => { const found = window.frames_; window.frames_ = null; return found; }")
            gaps[name] = np.diff(moments[1:])
        browser.close()
    screen = statistics.median(first) / 1e3
    columns = ("", "s after the server answers", "s of the server's processor, mean")
    table("The first screen", columns, [["of 3", screen, used]])
    rows = [[f"{k}", 1e3 / float(np.mean(v)), float(np.quantile(v, 0.95))] for k, v in gaps.items()]
    table("The map in Chromium", ("", "frames a second", "ms from one to the next, p95"), rows)
    return [
        target("first screen, s", screen, 1, most=True),
        *(target(f"map, frames a second while {row[0]}", float(str(row[1])), 30) for row in rows),
    ]


if __name__ == "__main__":
    main()
