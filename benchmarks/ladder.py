"""What each part of the method earns: own, frozen and fused encoders of every recipe, at equal steps and equal time.

    python benchmarks/ladder.py --videos ucf101-9/videos --lists ucf101-9/splits --image encoders/lite0 \
        --work ladder/ --seeds 0,1,2 --epochs 35
    python benchmarks/ladder.py --table

Every cell is a recipe, a budget and a seed: one ``cacl pretrain`` in a process of its own, then retrieval, few labels
and the fused encoder, kept as a small JSON file in ``benchmarks/ladder``. Finished cells are skipped, stopped ones go
on. ``steps``: every recipe trains so many epochs. ``time``: every recipe trains as long as the reference does in its
epochs, processor time of everything, MoCo on frames included; the pace comes from the finished ``steps`` cells.
Without ``--videos`` it generates some.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ladder_measure import Looked, look, measure
from ladder_table import REFERENCE, table

from cacl.data.synthetic.generate import make_videos
from cacl.files import write_whole
from cacl.run import Run

RECIPES = ("sdp*", "sdp", "v-moco", "sdp+v-moco", "v-moco+t", "cacl", "cvrl", "assisted")  # names of methods
RESULTS = Path(__file__).parent / "ladder"
TINY = ["--set=model.width=4", "--set=model.frame_width=4", "--set=frames.optim.epochs=1", "--batch-size=8"]


@dataclass(frozen=True)
class Cell:
    """One training."""

    recipe: str
    budget: str
    epochs: int
    seed: int

    def __str__(self) -> str:
        return f"{self.recipe.replace('*', '-star')}-{self.budget}{self.epochs}-{self.seed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--videos", type=Path, help="labelled videos with a train and a test part (default: made)")
    parser.add_argument("--lists", type=Path)
    parser.add_argument("--image", type=Path, help="a frozen image encoder (cacl import --image-encoder)")
    parser.add_argument("--work", type=Path, default=Path("runs/ladder"), help="store, runs and vectors of frames")
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--budgets", default="steps,time")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=35, help="of the reference")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--again", action="store_true", help="measure the finished cells anew, train none")
    parser.add_argument("--table", action="store_true", help="only print the tables of what is there")
    parser.add_argument("--quick", action="store_true", help="tiny networks on few made videos, for the tests")
    asked = parser.parse_args()
    if not asked.table:
        run(asked)
    print(table(asked.results))


def run(asked: argparse.Namespace) -> None:
    """Every cell that is not there yet."""
    asked.work.mkdir(parents=True, exist_ok=True)
    asked.results.mkdir(parents=True, exist_ok=True)
    videos = asked.videos or made_videos(asked.work / "videos", quick=asked.quick)
    store = prepared(videos, asked)
    looked: Looked | None = None
    for budget in asked.budgets.split(","):
        for seed in map(int, asked.seeds.split(",")):
            for recipe in asked.recipes.split(","):
                if budget == "time" and recipe == REFERENCE:
                    continue
                epochs = asked.epochs
                if budget == "time":
                    epochs = epochs_in_equal_time(asked.results, recipe, asked.epochs)
                file = asked.results / f"{Cell(recipe, budget, asked.epochs, seed)}.json"
                if epochs is None or file.exists() != asked.again:
                    continue
                if looked is None:
                    looked = look(store, videos, asked.lists, asked.image, asked.work / "frozen", quick=asked.quick)
                    groups = {"groups": looked.groups[looked.train :]}
                    (asked.results / "videos.json").write_text(json.dumps(groups, indent=1))
                one(Cell(recipe, budget, asked.epochs, seed), epochs, store, asked, looked, file)


def one(cell: Cell, epochs: int, store: Path, asked: argparse.Namespace, looked: Looked, file: Path) -> None:
    """Train, measure, keep."""
    folder = asked.work / str(cell)
    print(f"{cell}: {epochs} epochs", file=sys.stderr, flush=True)
    if file.exists():
        write(file, json.loads(file.read_text()) | measure(folder, looked))
        return
    command = [sys.executable, "-m", "cacl", "pretrain"]
    if (folder / "config.yaml").exists():
        command += ["--resume", str(folder)]
    else:
        command += [str(store), "--out", str(folder), "--preset", "small", "--method", cell.recipe]
        command += ["--epochs", str(epochs), "--seed", str(cell.seed), "--set", "run.threads=1"]
        command += TINY if asked.quick else []
        if cell.recipe == "assisted":
            command += ["--with-frozen", str(asked.image)]
    seconds = trained(command, folder)
    found = {
        "recipe": cell.recipe,
        "budget": cell.budget,
        "of": cell.epochs,
        "epochs": epochs,
        "seed": cell.seed,
        "processor seconds": round(seconds, 1),
        **measure(folder, looked),
    }
    write(file, found)


def write(file: Path, found: dict[str, object]) -> None:
    write_whole(file, json.dumps(found, indent=1) + "\n")


def trained(command: list[str], folder: Path) -> float:
    """Run it; processor seconds until the last step, of all its processes and of attempts that were stopped.

    What comes behind the last step (curves, a verdict) is no part of a recipe's cost.
    """
    spent = folder.with_suffix(".seconds")
    before = float(spent.read_text()) if spent.exists() else 0.0
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, process_group=0)
    now = 0.0
    try:
        while process.poll() is None:
            time.sleep(1)
            if not ended(folder):
                now = max(now, group_seconds(process.pid))
                spent.write_text(str(before + now))
    finally:
        process.terminate()
    if process.wait():
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return before + now


def ended(folder: Path) -> bool:
    """Whether the last step has been logged."""
    if not (folder / "metrics.jsonl").exists():
        return False
    run = Run(folder)
    rows = [row for row in run.metrics if row["kind"] == "train"]
    epochs = run.settings.optim.epochs
    return epochs != "auto" and bool(rows) and rows[-1]["step"] == epochs * sum(row["epoch"] == 0 for row in rows)


def group_seconds(group: int) -> float:
    """Processor seconds so far of all processes of a group (Linux)."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[2]) == group:
            total += sum(map(int, fields[11:15]))  # its own and its children's, user and system
    return total / os.sysconf("SC_CLK_TCK")


def epochs_in_equal_time(results: Path, recipe: str, epochs: int) -> int | None:
    """As many as take the processor time of the reference; None where the paces are not known yet."""
    paces = []
    for name in (REFERENCE, recipe):
        every = (json.loads(path.read_text()) for path in sorted(results.glob("*-steps*.json")))
        cells = [cell for cell in every if cell["recipe"] == name and "processor seconds" in cell]
        if not cells:
            return None
        once = statistics.median(cell["processor seconds"] * cell["share of frames"] for cell in cells)
        paces.append((once, statistics.median((c["processor seconds"] - once) / c["epochs"] for c in cells)))
    (reference_once, reference_pace), (once, pace) = paces
    return max(1, round((reference_once + reference_pace * epochs - once) / pace))


def prepared(videos: Path, asked: argparse.Namespace) -> Path:
    """A store of the videos at the frame size of ``small``, shared by all cells."""
    store: Path = asked.work / "store"
    command = [sys.executable, "-m", "cacl", "prepare", str(videos), "--out", str(store)]
    command += [] if asked.lists is None else ["--lists", str(asked.lists)]
    if not (store / "manifest.json").exists():
        subprocess.run(command, check=True)
    return store


def made_videos(folder: Path, *, quick: bool) -> Path:
    if not folder.exists():
        make_videos(folder, videos_per_class=(3, 2) if quick else (30, 12))
    return folder


if __name__ == "__main__":
    main()
