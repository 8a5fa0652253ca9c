"""Training steps beside busy programs, by threads: ``python benchmarks/shared_machine.py``.

A process of one thread and one of two take the steps of the frame stage and of V-MoCo in turns, alone, beside one busy
program and beside two; samples a second by the clock. What ``auto`` chooses there is printed too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from harness import Timing, arguments, header, table

from cacl.data.clips.batch import ClipBatch
from cacl.machine.load import threads_auto
from cacl.training.pretrain import resolve_settings
from cacl.training.stages import build_step, prepare_method
from cacl.training.step import StepResult
from cacl.training.views import augmented_views
from cacl.training.wiring import build_frames_network, build_method, frame_augment, initial_network

STAGES = {"frames": ("cacl", "MoCo on frames"), "clips": ("v-moco", "V-MoCo on clips")}
FIXED = ["run.device=cpu", "run.channels_last=true", "frames.queue_size=1024", "method.queue_size=512"]


class Steps:
    """The steps of one stage on pixels that are there already."""

    def __init__(self, stage: str, *, quick: bool) -> None:
        sizes = ["model.width=4", "model.frame_width=4", "optim.batch_size=4", "frames.optim.batch_size=4"] * quick
        precision = "bfloat16" if torch.backends.cpu.get_cpu_capability().startswith("AVX512") else "float32"
        s = resolve_settings(
            preset="small", method=STAGES[stage][0], assignments=[*FIXED, f"run.precision={precision}", *sizes]
        ).settings
        if stage == "frames":
            method = s.method.build_frames(s, frame_encoder=build_frames_network(s, weights=None))
            method = prepare_method(method, s.run.model_copy(update={"channels_last": False}))
            augment, optim, frames = frame_augment(s), s.frames.optim, 1
        else:
            method = prepare_method(build_method(s, network=initial_network(s), videos=900), s.run)
            augment, optim, frames = s.augment, s.optim, 100
        self.samples, rng = optim.batch_size, np.random.default_rng(0)
        plans = [method.plan(frames, rng) for _ in range(self.samples)]
        targets = {name: torch.from_numpy(np.stack([p.targets[name] for p in plans])) for name in plans[0].targets}
        shapes = [(self.samples, len(clip), *s.data.resize, 3) for clip in plans[0].clips]
        clips = tuple(torch.randint(0, 256, shape, dtype=torch.uint8) for shape in shapes)
        order = torch.arange(self.samples)
        self._raw = ClipBatch(clips, targets, order, order, 0, 0)
        views = augmented_views(method, augment, seed=0, channels_last=True, purpose="clip")
        self._step = build_step(method.train(), views, optim, s.run)

    def __call__(self) -> StepResult:
        """Take one."""
        return self._step(self._raw, progress=0.5)


def rate(stage: str, threads: int, *, seconds: float, quick: bool) -> float:
    """Samples a second of a fresh process: the setting of threads is read once."""
    command = [sys.executable, __file__, "--one", stage, str(threads), str(seconds), *["--quick"] * quick]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return float(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout)


def one(stage: str, threads: int, seconds: float, *, quick: bool) -> None:
    """Print samples a second."""
    torch.set_num_threads(threads)
    steps = Steps(stage, quick=quick)
    steps()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds or not count:
        steps()
        count += 1
    print(count * steps.samples / (time.perf_counter() - began))


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many programs that compute and never wait."""
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def main() -> None:
    if "--one" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--one", nargs=3)
        parser.add_argument("--quick", action="store_true")
        chosen = parser.parse_args()
        one(chosen.one[0], int(chosen.one[1]), float(chosen.one[2]), quick=chosen.quick)
        return
    chosen = arguments(__doc__, rounds=5)
    header("A machine that is not ours alone", chosen, clock="by the clock, in turns")
    rounds, seconds = (1, 0.1) if chosen.quick else (chosen.rounds, 3.0)
    os.environ.pop("OMP_NUM_THREADS", None)  # auto would obey it
    torch.set_num_threads(2)
    rows: list[list[object]] = []
    for count in range(3):
        with busy(count):
            time.sleep(0.2)
            print(f"- beside {count}, auto takes {threads_auto()}")
            for stage, (_, name) in STAGES.items():
                found: dict[int, list[float]] = {1: [], 2: []}
                for _ in range(rounds):
                    for threads, rates in found.items():
                        rates.append(rate(stage, threads, seconds=seconds, quick=chosen.quick))
                for threads, rates in found.items():
                    timing = Timing(tuple(rates))
                    rows.append([name, count, threads, timing.median, timing.spread])
    print()
    free = {name: max(row[3] for row in rows if row[0] == name and row[1] == 0) for name in {row[0] for row in rows}}
    table(
        "Samples a second",
        ("stage", "busy programs", "threads", "samples/s", "spread", "of the best alone"),
        [[*row, row[3] / free[row[0]]] for row in rows],
    )


if __name__ == "__main__":
    main()
