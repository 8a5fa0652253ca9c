"""Clips a second of a whole training in one process and in several: ``python benchmarks/processes.py``.

Each is ``cacl pretrain`` as a user starts it, one after the other in turns, by the clock: on a CPU one process of one
thread, one of two threads, and two of one thread each; with ``--cuda`` one GPU and as many as there are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from harness import Timing, arguments, header, table
from made_videos import kinds, make
from our_step import LAPTOP, TINY


def cases(chosen: argparse.Namespace) -> dict[str, list[str]]:
    """Name -> words to add to the command."""
    if chosen.cuda:
        counts = sorted({1, torch.cuda.device_count()})
        return {f"{n} GPU{'s' * (n > 1)}": ["--gpus", str(n)] for n in counts}
    one, two = (["--set", f"run.threads={n}"] for n in (1, 2))
    return {
        "1 process of 1 thread": ["--processes", "1", *one],
        "1 process of 2 threads": ["--processes", "1", *two],
        "2 processes of 1 thread": ["--processes", "2", *one],
    }


def clips_a_second(videos: Path, out: Path, words: list[str], chosen: argparse.Namespace) -> float:
    """Of the last fifty steps of a training."""
    settings = {**(TINY if chosen.quick else LAPTOP), "model.network": "r3d10"}
    settings |= {"frames.optim.epochs": 1, "optim.batch_size": 4 if chosen.quick else 16}
    settings |= {"optim.epochs": 6 if chosen.quick else 60, "run.log_every": 1000}
    assignments = [word for key, value in settings.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    command = [sys.executable, "-m", "cacl", "pretrain", str(videos), "--preset", "small", "--out", str(out)]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command += ["--seed", str(chosen.seed), *assignments, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return float([row["clips_per_second"] for row in rows if row["kind"] == "train"][-1])


def main() -> None:
    chosen = arguments(__doc__)
    header("Several processes", chosen, clock="the clock, in turns")
    found: dict[str, list[float]] = {name: [] for name in cases(chosen)}
    kind = kinds(quick=chosen.quick)[1]
    with tempfile.TemporaryDirectory() as temporary:
        make(kind, Path(temporary, "videos"), seed=chosen.seed)
        for turn in range(1 if chosen.quick else 3):
            for number, (name, words) in enumerate(cases(chosen).items()):
                out = Path(temporary, f"{turn}-{number}")
                found[name].append(clips_a_second(Path(temporary, "videos"), out, words, chosen))
    rates = {name: Timing(tuple(values)) for name, values in found.items()}
    base = next(iter(rates.values())).median
    rows = [[name, rate.median, rate.spread, rate.median / base] for name, rate in rates.items()]
    table(f"Training from {kind.name}", ("", "clips/s", "spread", "over the first row"), rows)


if __name__ == "__main__":
    main()
