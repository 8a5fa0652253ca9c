"""Reading clips from source files of four kinds and from the store, and other ways: ``python benchmarks/data.py``.

Clips of 16 frames at stride 2 from random starts, at 128x171. Every reader reads the same clips in turns, on one
thread, by processor time (of decode processes too); its frames are compared first with those of a full decode.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from harness import Timing, agree, arguments, header, processor_seconds, table, target, targets
from made_videos import Kind, kinds, make
from numpy.typing import NDArray
from readers import (
    HEIGHT,
    WIDTH,
    Frames,
    Read,
    Reader,
    limit,
    ours,
    ours_first,
    rivals,
    strict_limit,
    whole_as_released,
    whole_lean,
)

from cacl.data.videos.catalog import Catalog, Video
from cacl.data.videos.scan import scan
from cacl.data.videos.store import DecodedVideos, FrameStore, build_store

Clip = tuple[Path, NDArray[np.int64]]
IN_PROCESS = "from source, in the decode process"
OURS, AS_RELEASED, LEAN = "from source", "whole video, all to RGB (as released)", "whole video, sixteen to RGB"
STRICT, LIMIT = "limit, needed frames alone", "limit, every frame from the keyframe"
SAME_SCALER = {OURS, IN_PROCESS, "from source, first visit", STRICT, LIMIT, LEAN, "store, raw"}
MORE_THAN_OPEN = 24  # files; a decode process keeps 16 open
LEVELS = 4.0  # of 255: what other scaling kernels and chroma sampling make of noise


def draw_clips(paths: Sequence[Path], frames: int, count: int, seed: int) -> list[Clip]:
    """``count`` clips, their videos in turn, their starts evenly spread (so that few clips stand for all)."""
    rng = np.random.default_rng(seed)
    starts = (np.arange(count) + rng.uniform(0, 1, count)) / count * (frames - 31)
    return [(paths[n % len(paths)], int(start) + 2 * np.arange(16)) for n, start in enumerate(starts)]


def measure(readers: Mapping[str, Reader], clips: Sequence[Clip], rounds: int) -> dict[str, Timing]:
    """Seconds a clip; every clip is read by every reader before the next clip's turn."""
    sums = {name: [0.0] * rounds for name in readers}
    for turn in range(-1, rounds):
        for path, indices in clips[: None if turn >= 0 else 3]:
            for name, prepare in readers.items():
                read = prepare(path, indices)
                start = processor_seconds()
                read()
                if turn >= 0:
                    sums[name][turn] += (processor_seconds() - start) / len(clips)
    return {name: Timing(tuple(seconds)) for name, seconds in sums.items()}


def check(kind: Kind, readers: Mapping[str, Reader], clips: Sequence[Clip]) -> None:
    """Every reader gives the frames of a full decode: exactly with the same scaler, nearly with another."""
    for name, prepare in readers.items():
        exact = name in SAME_SCALER
        worst = max(_difference(prepare(*clip)(), whole_lean(*clip)(), exact=exact) for clip in clips)
        agree(f"{kind.name}, {name}, {'largest' if exact else 'mean'} level of 255", worst, 0 if exact else LEVELS)


def _difference(a: Frames, b: Frames, *, exact: bool) -> float:
    levels = np.abs(a.astype(np.int16) - b)
    return float(levels.max() if exact else levels.mean())


def process_reader(catalog: Catalog, clips: Sequence[Clip], folder: Path) -> Reader:
    """As training reads, from the second epoch on: through a decode process, each time a file that is not open.

    For that a clip's file has several names, taken in turn: more of them in all than a process keeps open.
    """
    folder.mkdir()
    known = {catalog.root / video.path: video for video in catalog.videos}
    videos: list[Video] = []
    names: dict[tuple[Path, int], Iterator[int]] = {}
    for path, indices in clips:
        first = len(videos)
        for _ in range(-(-MORE_THAN_OPEN // len(clips))):
            videos.append(replace(known[path], path=f"{len(videos)}{path.suffix}"))
            os.link(path, folder / videos[-1].path)
        names[path, int(indices[0])] = itertools.cycle(range(first, len(videos)))
    source = DecodedVideos(Catalog(folder, tuple(videos)), height=HEIGHT, width=WIDTH)
    for number in range(len(videos)):
        source.read(number, np.zeros(1, np.int64))
    return lambda path, indices: lambda: source.read(next(names[path, int(indices[0])]), indices)


def store_reader(store: FrameStore, root: Path) -> Reader:
    number = {root / video.path: i for i, video in enumerate(store.catalog.videos)}

    def prepare(path: Path, indices: NDArray[np.int64]) -> Read:
        return lambda: store.read(number[path], indices)

    return prepare


def build_stores(catalog: Catalog, folder: Path) -> dict[str, FrameStore]:
    """Both kinds of store of all videos; prints their size, quality and how fast they were made."""
    root = catalog.root
    source = sum((root / video.path).stat().st_size for video in catalog.videos)
    frames = sum(video.frames for video in catalog.videos)
    stores, rows = {}, []
    for name, options in (("store, JPEG q90", {"kind": "jpeg"}), ("store, raw", {"kind": "raw"})):
        start = processor_seconds()
        store = build_store(catalog, folder / name, height=HEIGHT, width=WIDTH, **options)  # type: ignore[arg-type]
        seconds = processor_seconds() - start
        size = (store.path / "frames.bin").stat().st_size
        rows.append([name, size / frames, size / source, frames / seconds])
        stores[name] = store
    raw, jpeg = stores["store, raw"], stores["store, JPEG q90"]
    noise = [
        float(np.mean((raw.read(v, every).astype(np.float64) - jpeg.read(v, every)) ** 2))
        for v, video in enumerate(catalog.videos)
        for every in [np.arange(0, video.frames, 10)]
    ]
    table("The store", ("store", "bytes a frame", "x source", "frames made a second"), rows)
    quality = [10 * np.log10(255**2 / error) for error in noise]
    print(f"JPEG against raw: PSNR {np.mean(quality):.1f} dB on average, {min(quality):.1f} dB in the worst video.\n")
    return stores


def main() -> None:
    chosen = arguments(__doc__)
    header("Reading clips", chosen, clock="processor time, one thread, readers in turns")
    others, missing = rivals()
    for line in missing:
        print(f"- {line}")
    from_file: dict[str, Reader] = {
        OURS: ours,
        "from source, first visit": ours_first,
        STRICT: strict_limit,
        LIMIT: limit,
        AS_RELEASED: whole_as_released,
        LEAN: whole_lean,
        **others,
    }
    per_clip: dict[str, dict[str, Timing]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "videos"
        every = kinds(quick=chosen.quick)
        made = [make(kind, root / f"{n}", seed=chosen.seed) for n, kind in enumerate(every)]
        catalog = scan(root)
        stores = build_stores(catalog, Path(temporary))
        from_store = {name: store_reader(store, root) for name, store in stores.items()}
        for kind, paths in zip(every, made, strict=True):
            count = 3 if chosen.quick else 8 if kind.height > 500 else 24
            clips = draw_clips(paths, kind.frames, count, chosen.seed)
            training = {IN_PROCESS: process_reader(catalog, clips, Path(temporary, f"links {kind.name}"))}
            check(kind, {**from_file, **training, "store, raw": from_store["store, raw"]}, clips[:2])
            readers = {**from_file, **training, **from_store}
            per_clip[kind.name] = measure(readers, clips, rounds=1 if chosen.quick else 3)
    print()
    for name, timings in per_clip.items():
        base = timings[OURS].median
        rows = [[way, 1 / t.median, t.spread, t.median / base] for way, t in timings.items()]
        table(f"{name}: clips a second", ("reader", "clips/s", "spread", "time over ours"), rows)
    targets(_targets(per_clip), chosen)


def _targets(per_clip: Mapping[str, Mapping[str, Timing]]) -> list[list[object]]:
    def ratio(kind: str, slow: str, fast: str) -> float:
        return per_clip[kind][slow].median / per_clip[kind][fast].median

    rows = [target(f"{kind}: share of the limit", ratio(kind, STRICT, OURS), 0.8) for kind in per_clip]
    rows += [target(f"{kind}: the same, in the process", ratio(kind, STRICT, IN_PROCESS), 0.8) for kind in per_clip]
    for kind, wanted in (("MP4 1280x720, key 250", 1.8), ("MP4 1280x720, key 30", 4)):
        if kind in per_clip:
            rows.append(target(f"{kind}: over the whole video", ratio(kind, AS_RELEASED, OURS), wanted))
            rows.append(target(f"{kind}: store over source", ratio(kind, OURS, "store, JPEG q90"), 50))
    rows.append(target("AVI 320x240: store over source", ratio("AVI 320x240", OURS, "store, JPEG q90"), 4))
    return rows


if __name__ == "__main__":
    main()
