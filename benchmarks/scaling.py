"""How speed and memory grow with clip, batch, loader threads and catalog: ``python benchmarks/scaling.py``."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from harness import arguments, header, in_turns, peak_mib, table, target, targets
from made_videos import kinds, make
from our_step import LAPTOP, TINY, Ours, Size, Variant, build

from cacl.data.clips.loader import ClipLoader
from cacl.data.clips.sampling import ClipPlan, training_clip
from cacl.data.videos.catalog import Catalog, Video
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.scan import scan
from cacl.data.videos.sources import DecodedVideos, FrameSource
from cacl.data.videos.store import build_store


def steps(chosen: argparse.Namespace) -> None:
    """Steps a second of the laptop's network, one thing changed at a time."""
    base = {**(TINY if chosen.quick else LAPTOP), "model.network": "r3d10"}
    batch = 2 if chosen.quick else 8
    cases = {"as it is": Size("", base, batch)}
    lengths = {n: {**base, "data.frames": n, "data.start_window": "null"} for n in (8, 24)}
    cases |= {f"{n} frames": Size("", settings, batch) for n, settings in lengths.items()}
    for side in () if chosen.quick else (80, 112):
        cases[f"{side} pixels"] = Size("", {**base, "augment.size": side, "data.resize": [128, 171]}, batch)
    cases |= {f"batch {n}": Size("", base, n) for n in ((4,) if chosen.quick else (4, 16, 32))}
    works: dict[str, Callable[[], object]] = {}
    for name, size in cases.items():
        method, views, _ = build(size, chosen)
        works[name] = Ours(method, views, Variant(), torch.bfloat16).step
    found = in_turns(works, rounds=1 if chosen.quick else 3)
    per_clip = {name: found[name].median / cases[name].batch for name in found}
    rows = [[n, 1 / t.median, t.spread, 1 / per_clip[n], per_clip[n] / per_clip["as it is"]] for n, t in found.items()]
    title = f"Steps: R3D-10 at {base['augment.size']} pixels, 16 frames, batch {batch}, bfloat16 and channels last"
    table(title, ("changed", "steps/s", "spread", "clips/s", "time a clip over the first row"), rows)


def loader(chosen: argparse.Namespace) -> None:
    """Clips a second out of the loader, by the clock, against its threads; the network does nothing meanwhile."""
    kind = kinds(quick=chosen.quick)[0]

    def plan(frames: int, rng: np.random.Generator) -> ClipPlan:
        return ClipPlan(tuple(training_clip(frames, rng)))

    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary, "videos")
        make(kind, root, seed=chosen.seed)
        catalog = scan(root)
        store = build_store(catalog, Path(temporary, "store"), height=128, width=171)
        sources: dict[str, FrameSource] = {"files": DecodedVideos(catalog, height=128, width=171), "store": store}
        counts = [video.frames for video in catalog.videos]
        for place, source in sources.items():
            works: dict[str, Callable[[], object]] = {}
            for workers in (0, 1) if chosen.quick else (0, 1, 2, 4):
                clips = ClipLoader(
                    source,
                    counts,
                    plan,
                    seed=chosen.seed,
                    batch_size=len(counts),
                    workers=workers,
                    samples_per_video=2 if chosen.quick else 16,
                )
                works[f"{workers}"] = partial(_read_epoch, clips)
            found = in_turns(works, rounds=1 if chosen.quick else 3, clock=time.perf_counter)
            count, bare = clips.samples_per_epoch, found["0"].median
            rows += [[place, n, count / t.median, t.spread, bare / t.median] for n, t in found.items()]
    table(f"Loader: clips a second from {kind.name}", ("from", "threads", "clips/s", "spread", "over 0 threads"), rows)


def _read_epoch(clips: ClipLoader) -> int:
    return sum(map(len, clips.epoch(0)))


def catalogs(chosen: argparse.Namespace) -> list[object]:
    """Start of a run on videos that were looked at before: read ``videos.csv``, open a source, order an epoch."""
    rows: list[list[object]] = []
    powers = (3, 4) if chosen.quick else (3, 4, 5, 6)
    with tempfile.TemporaryDirectory() as temporary:
        for power in powers:
            path = Path(temporary, f"{power}.csv")
            start = time.process_time()
            Catalog(Path(temporary), tuple(_videos(10**power))).write_csv(path)
            written = time.process_time() - start
            code = f"import scaling; scaling.start_up({str(path)!r})"
            folder = __file__.rpartition("/")[0] or "."
            done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
            seconds, memory, before = map(float, done.stdout.split())
            rows.append([f"10^{power}", written, seconds, memory - before, path.stat().st_size / 2**20])
    columns = ("videos", "write videos.csv, s", "start, s", "memory for it, MiB", "videos.csv, MiB")
    table("Catalog: processor seconds to start, in a fresh process", columns, rows)
    return target(f"start on 10^{powers[-1]} videos looked at before, s", float(str(rows[-1][2])), 10, most=True)


def start_up(path: str) -> None:
    before = peak_mib()
    start = time.process_time()
    catalog = Catalog.read_csv(path, root="/videos")
    data = Dataset(catalog, DecodedVideos(catalog, height=128, width=171))
    numbers = data.numbers("train" if data.has_train else None)
    frames = [catalog.videos[i].frames for i in numbers]
    clips = ClipLoader(
        data.subset(numbers).source, frames, lambda n, rng: ClipPlan(tuple(training_clip(n, rng))), seed=0, batch_size=8
    )
    clips.order(0)
    seconds = time.process_time() - start
    print(seconds, peak_mib(), before)


def _videos(count: int) -> list[Video]:
    names = [f"class{i % 400:03d}/v_class{i % 400:03d}_g{i // 400:06d}" for i in range(count)]
    splits = ("train", "train", "train", "test")
    return [
        Video(f"{name}.mp4", name, name[:8], splits[i % 4], 150 + i % 200, 25.0, 320, 240)
        for i, name in enumerate(names)
    ]


def main() -> None:
    chosen = arguments(__doc__)
    header("Scaling", chosen, clock="processor time, in turns; the loader by the clock")
    steps(chosen)
    loader(chosen)
    targets([catalogs(chosen)], chosen)


if __name__ == "__main__":
    main()
