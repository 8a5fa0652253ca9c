"""What ``cacl plan`` says beside what is: ``python benchmarks/plan.py``.

Made videos, three archives of the same kind. The largest is measured, as the command does, and worked out for all
three; each is then checked, prepared, trained on, indexed and searched here. By the clock, so on a machine that does
nothing else. Training is the loop's time, without its beginning
and its report, which a plan leaves out. A search is in an open index of drawn vectors, of up to thrice the size that is
measured.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from harness import arguments, header, table, target, targets

import cacl
from cacl.data.media.encode import write_video
from cacl.data.videos.scan import scan
from cacl.data.videos.store import build_store
from cacl.experiments.plan.formulas import stages
from cacl.experiments.plan.measure import Measured
from cacl.experiments.plan.plan import make_plan
from cacl.experiments.plan.steps import steps_of
from cacl.training.checkpoint import checkpoint_cost, newest_checkpoint
from cacl.training.resolve import resolve_settings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from indexing.drawn import crowded, write_drawn

WITHIN = 0.25
SETTINGS = {"optim.batch_size": 8, "optim.epochs": 4, "data.hold_out": 0, "data.workers": 2}
PARTS = 25  # windows of a drawn video
Times = dict[str, float]


def main() -> None:
    chosen = arguments(__doc__, smallest=12, rounds=3)
    header("Plan and reality", chosen, clock="by the clock")
    torch.set_num_threads(1 if chosen.quick else 2)
    sizes = [4] if chosen.quick else [chosen.smallest, 2 * chosen.smallest, 4 * chosen.smallest]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for count in sizes:
            make(folder / f"videos{count}", count, length=60 if chosen.quick else 160, seed=chosen.seed)
        began = time.perf_counter()
        measured = make_plan(folder / f"videos{sizes[-1]}", resolve_settings(flags=SETTINGS), folder=folder).measured
        print(f"- measuring took {time.perf_counter() - began:.0f} s\n")
        real = [
            took(folder, sizes, measured, turn, quick=chosen.quick)
            for turn in range(1 if chosen.quick else chosen.rounds)
        ]
    reached = [row for number, count in enumerate(sizes) for row in compared(count, number, measured, real)]
    columns = ("videos", "", "plan, s", "real, s", "plan / real")
    table("What was said and what was", columns, reached)
    ratios = [float(str(row[-1])) for row in reached]
    within = sum(abs(ratio - 1) <= WITHIN for ratio in ratios) / len(ratios)
    targets([target("share of times that are said within 25 %", within, 1.0)], chosen)


def make(folder: Path, count: int, *, length: int, seed: int) -> None:
    """Videos of 240 by 320 pixels with noise, of half to one and a half times the length."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for number, frames in enumerate(np.linspace(length / 2, 3 * length / 2, count).astype(int).tolist()):
        pictures = rng.integers(0, 255, (16, 30, 40, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
        write_video(folder / f"v{number:03}.mp4", pictures[np.arange(frames) % 16])


def compared(count: int, number: int, measured: Measured, real: list[list[Times]]) -> list[list[object]]:
    """Plan and the median of reality of one archive."""
    steps = steps_of(resolve_settings(flags=SETTINGS), count, per_video=1.0, frames=measured.frames)
    said = {stage.verb: stage.seconds for stage in stages(measured, count, steps=steps)}
    rows = real[0][number]["rows"]
    said["search"] = stages(measured, round(rows / measured.windows), steps=(0, 0))[4].seconds
    found: list[list[object]] = []
    for verb, seconds in said.items():
        true = statistics.median(one[number][verb] for one in real)
        found.append([count, verb, seconds, true, seconds / true])
    return found


def took(folder: Path, sizes: list[int], measured: Measured, turn: int, *, quick: bool) -> list[Times]:
    """Seconds of each verb on each archive, and how many windows were searched."""
    found = []
    for number, count in enumerate(sizes):
        videos, own = folder / f"videos{count}", folder / f"{turn}-{count}"
        own.mkdir()
        rows = 2000 if quick else 50_000 * 2**number
        real: Times = {"rows": rows, "check": clocked(partial(scan, videos))}
        real["prepare"] = clocked(partial(prepare, videos, own / "store", measured.processors))
        real["pretrain"] = trained(own, folder / "encoder")
        real["index"] = clocked(partial(cacl.index, videos, model=folder / "encoder", out=own / "index"))
        real["search"] = searched(folder / f"drawn{count}", rows, measured.width)
        found.append(real)
    return found


def clocked(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def prepare(videos: Path, out: Path, processors: int) -> None:
    height, width = resolve_settings().settings.data.resize
    catalog = scan(videos)
    build_store(catalog, out, height=height, width=width, workers=processors)


def trained(folder: Path, encoder: Path) -> float:
    """Seconds of the loop; the first run's encoder is the one that indexes."""
    run = cacl.pretrain(folder / "store", out=folder / "run", settings=SETTINGS)
    if not encoder.exists():
        shutil.copytree(run.path / "encoder", encoder)
    newest = newest_checkpoint(run.path / "checkpoints" / "train")
    assert newest is not None
    return checkpoint_cost(newest)["wall seconds"]


def searched(place: Path, rows: int, width: int) -> float:
    """Seconds of a search, the median of some."""
    if not place.exists():
        vectors = crowded(rows, width, seed=0)
        write_drawn(place, {f"v{n:06}.mp4": vectors[n * PARTS : (n + 1) * PARTS] for n in range(rows // PARTS)})
    with cacl.Index(place) as index:
        probes = [index.space.direction(index.vectors[row]) for row in range(0, 10 * PARTS, PARTS)]
        return statistics.median([clocked(lambda: index.along(probe, 10)) for probe in probes][1:])  # noqa: B023


if __name__ == "__main__":
    main()
