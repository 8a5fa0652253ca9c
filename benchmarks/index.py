"""Indexing: previews and all beside ``cacl embed``, and what a second run costs: ``python benchmarks/index.py``.

Processor time of everything, decode processes included. The large folder holds so many names of one small video, and
its index is written as if all had been embedded; what is measured is the run after that.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from harness import arguments, header, in_turns, processor_seconds, table, target, targets
from made_videos import kinds, make

import cacl
from cacl.data.media.encode import write_video
from cacl.data.videos.catalog import Catalog, Skipped
from cacl.data.videos.lists.entry import Entry
from cacl.data.videos.scan import scan
from cacl.indexing.generation import open_generation
from cacl.indexing.known import Known, Looked, asked_of
from cacl.indexing.layout import GENERATIONS, key_of
from cacl.indexing.request import read_pointer, write_pointer
from cacl.indexing.write_generation import write_generation
from cacl.models.encoder import ClipSpec, Encoder

MANY, WITHIN = 100_000, 10.0


def main() -> None:
    chosen = arguments(__doc__)
    header("Indexing", chosen, clock="processor time, decode processes included")
    with tempfile.TemporaryDirectory() as folder:
        reached = beside_embed(Path(folder), chosen.quick, chosen.seed) + again(Path(folder), chosen.quick)
    targets(reached, chosen)


def beside_embed(folder: Path, quick: bool, seed: int) -> list[list[object]]:
    """The same videos embedded, and indexed with and without previews."""
    spec = ClipSpec(resize=(32, 40), size=32) if quick else ClipSpec(resize=(64, 86), size=56)
    Encoder("r3d10", width=4 if quick else 16, clip=spec).save(folder / "encoder")
    kind = kinds(quick=quick)[0]
    for copy in range(1 if quick else 8):
        make(kind, folder / "videos" / str(copy), seed=seed + copy)
    hours = sum(video.frames / video.fps for video in scan(folder / "videos").videos) / 3600
    numbers = iter(range(1000))

    def work(make_it: Callable[..., object], **more: object) -> Callable[[], object]:
        def call() -> object:
            out = folder / f"out{next(numbers)}"
            asked = {"model": folder / "encoder", "out": out, "device": "cpu", "precision": "float32", **more}
            return make_it(folder / "videos", **asked)

        return call

    works = {"embed": work(cacl.embed), "index": work(cacl.index), "without previews": work(cacl.index, previews=False)}
    spent = in_turns(works, rounds=1 if quick else 3, clock=processor_seconds)
    rows = [[name, 60 * hours / timing.median, timing.spread] for name, timing in spent.items()]
    table(f"{kind.name}, R3D-10 at {spec.size}", ("", "hours of video a minute of processor", "spread"), rows)
    share = spent["embed"].median / spent["index"].median
    return [target("index with previews, speed of embed", share, 0.9)]


def again(folder: Path, quick: bool) -> list[list[object]]:
    """A run over many unchanged files, and one with a hundredth of them changed."""
    many = 500 if quick else MANY
    videos, out = folder / "many", folder / "many.index"
    (videos / "000").mkdir(parents=True)
    first = videos / "000" / "v000000.mp4"
    write_video(first, np.random.default_rng(0).integers(0, 255, (32, 32, 40, 3), dtype=np.uint8))
    asked = {"out": out, "device": "cpu", "precision": "float32"}
    cacl.index(videos, model=folder / "encoder", **asked)  # type: ignore[arg-type]
    for number in range(1, many):
        place = videos / f"{number // 1000:03}" / f"v{number:06}.mp4"
        if number % 1000:
            os.link(place.with_name(f"v{number - number % 1000:06}.mp4"), place)
        else:
            place.parent.mkdir()
            shutil.copy2(first, place)
    _pretend(out, videos)
    rows: list[list[object]] = []
    for name, changed in (("unchanged", 0), ("1 % changed", many // 100)):
        for number in range(changed):
            place = videos / f"{100 * number // 1000:03}" / f"v{100 * number:06}.mp4"
            content = place.read_bytes()
            place.unlink()
            place.write_bytes(content)
        clock, spent = time.perf_counter(), processor_seconds()
        cacl.index(videos, **asked)  # type: ignore[arg-type]
        rows.append([name, processor_seconds() - spent, time.perf_counter() - clock])
    table(f"{many} files, again", ("", "s of processor", "s by the clock"), rows)
    return [target(f"{many} unchanged files, s of processor", float(str(rows[0][1])), WITHIN, most=True)]


def _pretend(out: Path, videos: Path) -> None:
    """Write the state in which every file has the vectors of the first."""
    old = open_generation(out)
    assert old is not None
    (looked,) = old.known.looked.values()
    (one,) = old.catalog.videos
    (piece,) = old.pieces.values()
    paths = sorted(path.relative_to(videos).as_posix() for path in videos.rglob("*.mp4"))
    found = {
        path: Looked(
            looked.stamp, asked_of([Entry(path)], 0.0, False), tuple(_named(one, path) for one in looked.found)
        )
        for path in paths
    }
    rows = tuple(replace(one, path=path, id=path.removesuffix(".mp4"), label=path.split("/")[0]) for path in paths)
    keys = tuple(key_of(video, looked.stamp) for video in rows)
    folder = out / GENERATIONS / "000002"
    catalog = Catalog(videos, rows)
    write_generation(
        folder, about=old.about, catalog=catalog, pieces=[piece] * len(rows), known=Known(found, keys), whiten=False
    )
    write_pointer(out, {**read_pointer(out), "generation": folder.name})
    old.close()


def _named(item: object, path: str) -> object:
    return replace(item, path=path) if isinstance(item, Skipped) else replace(item, path=path, id=path)  # type: ignore[type-var]


if __name__ == "__main__":
    main()
