"""Resident memory of a training: by the number of videos, and over time.

``python tests/chaos/memory.py`` trains on a thousand and on a hundred thousand videos (links to one file, so that it is
the catalog that is large) and for two thousand steps; status 1 where a video costs more than 1 KiB, or memory grows.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos.victims import PRETRAIN, write_settings
from children import children_of, resident_mib
from squares import make_squares

from cacl.data.videos.catalog import Catalog
from cacl.data.videos.scan import scan
from cacl.models.weights import save_frame_weights
from cacl.run_folder import RunFolder
from cacl.training.checkpoint import newest_checkpoint
from cacl.training.pretrain import resolve_settings
from cacl.training.wiring import build_frames_network

FEW, MANY = 1_000, 100_000
MOST_A_VIDEO = 1024.0  # bytes
STEPS = 2_000
MOST_GROWTH = 8.0  # MiB between a fifth of the steps and their end
SETTINGS = {**PRETRAIN, "data.store": "none", "optim.epochs": 1, "frames.optim.epochs": 1}


def make_links(folder: Path, count: int) -> Path:
    """So many names for one video."""
    video = next(make_squares(folder / "one", count=1).rglob("*.mp4"))
    for number in range(count):
        place = folder / "videos" / f"{number // 1000:03}"
        if number % 1000 == 0:  # a file can have some ten thousand names
            place.mkdir(parents=True)
            shutil.copy(video, place / f"video-{number:06}.mp4")
        else:
            os.link(place / f"video-{number - number % 1000:06}.mp4", place / f"video-{number:06}.mp4")
    return folder / "videos"


def run_on(folder: Path, videos: Path, settings: dict[str, object]) -> Path:
    """A run that knows its videos: to look at a hundred thousand files would take minutes, and is tested elsewhere."""
    one = scan(videos / "000").videos[0]
    paths = sorted(str(path.relative_to(videos)) for path in videos.rglob("*.mp4"))
    catalog = Catalog(videos, tuple(replace(one, path=path, id=path.removesuffix(".mp4")) for path in paths))
    data = {"videos": str(videos), "lists": None, "split": 1}
    run = RunFolder.create(folder, resolve_settings(flags=settings), data)
    catalog.write_csv(run.path / "videos.csv")
    return run.path


def resident(run: Path, stage: str, *, steps: int) -> float:
    """MiB of a process that has made some steps of a stage on a run; it is stopped then."""
    process = subprocess.Popen([sys.executable, "-m", "cacl", "pretrain", "--resume", str(run)], stderr=subprocess.PIPE)
    try:
        while _step(run, stage) < steps:
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            time.sleep(0.05)
        return resident_mib(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def by_videos(folder: Path, stage: str) -> float:
    """Bytes of a video: what a hundred thousand take more than a thousand."""
    found = {}
    settings = dict(SETTINGS)
    if stage == "train":  # the stage before would take hours
        weights = folder / "weights"
        save_frame_weights(weights, build_frames_network(resolve_settings(flags=settings).settings, weights=None))
        settings["model.frame_weights"] = str(weights)
    for count in (FEW, MANY):
        videos = make_links(folder / f"{stage}-{count}", count)
        run = run_on(folder / f"{stage}-{count}" / "run", videos, settings)
        found[count] = resident(run, stage, steps=40)
        print(f"{stage}: {count} videos, {found[count]:.1f} MiB", flush=True)
    return (found[MANY] - found[FEW]) * 2**20 / (MANY - FEW)


def over_time(folder: Path, steps: int) -> list[tuple[int, float, float]]:
    """Step, MiB of the training and MiB of its decode processes, at each checkpoint."""
    videos = make_squares(folder / "videos")
    settings = {**SETTINGS, "optim.epochs": steps // 2, "run.save_minutes": 0.02}
    file = write_settings(folder / "settings.yaml", settings)
    words = ["pretrain", str(videos), "--config", str(file), "--out", str(folder / "run")]
    process = subprocess.Popen([sys.executable, "-m", "cacl", *words], stderr=subprocess.DEVNULL)
    rows: list[tuple[int, float, float]] = []
    while process.poll() is None:
        step = _step(folder / "run", "train")
        if step > (rows[-1][0] if rows else 0):
            decoding = sum(resident_mib(child) for child in children_of(process.pid))
            rows.append((step, resident_mib(process.pid), decoding))
        time.sleep(0.05)
    assert process.returncode == 0
    return [row for row in rows if row[0] < steps]  # at the end pictures are drawn


def growth(rows: list[tuple[int, float, float]]) -> tuple[float, float]:
    """MiB between the second and the last fifth of the steps, of the training and of the decode processes."""
    fifth = rows[-1][0] / 5
    early, late = [r for r in rows if fifth < r[0] <= 2 * fifth], [r for r in rows if r[0] > 4 * fifth]
    own, theirs = (float(np.median([r[i] for r in late]) - np.median([r[i] for r in early])) for i in (1, 2))
    return own, theirs


def _step(run: Path, stage: str) -> int:
    newest = newest_checkpoint(run / "checkpoints" / stage)
    return 0 if newest is None else int(newest.name[5:13])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS, help="of the training over time (2000)")
    parser.add_argument("--only", choices=("frames", "train", "time"), help="one of the measurements")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    lost = []
    with tempfile.TemporaryDirectory(prefix="cacl-memory-") as folder:
        for stage in ("frames", "train"):
            if arguments.only in (None, stage):
                cost = by_videos(Path(folder), stage)
                print(f"{stage}: {cost:.0f} bytes a video (at most {MOST_A_VIDEO:.0f})", flush=True)
                lost += [stage] * (cost > MOST_A_VIDEO)
        if arguments.only in (None, "time"):
            rows = over_time(Path(folder), arguments.steps)
            own, theirs = growth(rows)
            print(f"{rows[-1][0]} steps: {rows[0][1]:.1f} MiB at step {rows[0][0]}, {rows[-1][1]:.1f} MiB at the end")
            print(f"growth: training {own:+.1f} MiB, decode processes {theirs:+.1f} MiB (at most {MOST_GROWTH:.0f})")
            lost += ["time"] * (max(own, theirs) > MOST_GROWTH)
    if lost:
        print(f"LOST: {', '.join(lost)}", file=sys.stderr)
    return bool(lost)


if __name__ == "__main__":
    sys.exit(main())
