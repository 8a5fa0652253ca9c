"""A training step of two versions of this program in turns: ``python benchmarks/versions.py --other CHECKOUT``.

A process of either takes the steps of its own ``our_step.py``, one of the one, one of the other (A B A B …), by the
processor time of one thread. The same interpreter and libraries run both. Without ``--other`` this version is compared
with itself, which shows how far two equal ones seem apart.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from harness import Timing, header, table

HERE = Path(__file__).resolve().parent
SIZES = {"tiny": 4, "laptop": 16, "paper": 2}  # clips a step
# Told to an interpreter whose path is one checkout: only names that both have. Takes a step for each line it is sent.
STEPS = """
import argparse, sys, time, torch
from our_step import LAPTOP, TINY, Ours, Size, Variant, build
import cacl
torch.set_num_threads(1)
torch.manual_seed(0)
of = {"tiny": TINY | {"method.queue_size": 64}, "laptop": LAPTOP, "paper": {}}[sys.argv[1]]
size = Size(sys.argv[1], {**of, "model.network": "r3d10"}, int(sys.argv[2]))
method, batch, augmentation = build(size, argparse.Namespace(cuda=False, seed=0))
works = {
    "bfloat16, channels last": Ours(method, batch, Variant(), torch.bfloat16).step,
    "float32": Ours(method, batch, Variant(low=False, channels_last=False), None).step,
    "augmentation": augmentation,
}
print(cacl.__file__, flush=True)
for line in sys.stdin:
    began = time.process_time()
    works[line.strip()]()
    print(time.process_time() - began, flush=True)
"""
WORKS = ("bfloat16, channels last", "float32", "augmentation")


class Version:
    """A process of one checkout that takes steps when asked."""

    def __init__(self, checkout: Path, size: str) -> None:
        path = os.pathsep.join((str(checkout), str(checkout / "benchmarks")))
        command = [sys.executable, "-P", "-c", STEPS, size, str(SIZES[size])]
        env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1
        )
        run = self._answer()
        if not Path(run).is_relative_to(checkout):
            raise SystemExit(f"{checkout}: its cacl is not what was run, but {run}")

    def step(self, work: str) -> float:
        """Seconds of one step."""
        assert self._process.stdin is not None
        self._process.stdin.write(work + "\n")
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a version ended with status {self._process.wait()}")
        return line.strip()


def measure(size: str, other: Path, rounds: int, works: list[str]) -> None:
    """Print the table of one size."""
    versions = [Version(checkout, size) for checkout in (other, HERE.parent)]
    found: dict[str, list[tuple[float, float]]] = {work: [] for work in works}
    for turn in range(rounds + 1):
        for work in works:
            before, now = (version.step(work) for version in versions)
            if turn:  # the first warms up
                found[work].append((before, now))
    for version in versions:
        version.close()
    rows = []
    for work, pairs in found.items():
        before_s, now_s = (Timing(tuple(column)) for column in zip(*pairs, strict=True))
        ratios = [now / before for before, now in pairs]
        low, _, high = statistics.quantiles(ratios, n=4)
        row = [work, before_s.median, before_s.spread, now_s.median, now_s.spread]
        rows.append([*row, f"{statistics.median(ratios):.3f}", f"{low:.3f} … {high:.3f}"])
    columns = ("", "other, s", "spread", "this, s", "spread", "this / other, median of pairs", "middle half")
    table(f"{size}, batch {SIZES[size]}: {rounds} pairs of steps", columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--other", type=Path, default=HERE.parent, help="a checkout of another version (this one)")
    parser.add_argument("--pairs", type=int, default=12, help="steps of each")
    parser.add_argument("--size", nargs="+", choices=("laptop", "paper"), default=("laptop", "paper"))
    parser.add_argument("--work", nargs="+", choices=WORKS, default=WORKS)
    parser.add_argument("--quick", action="store_true", help="tiny sizes and few steps: seconds, for the tests")
    chosen = parser.parse_args()
    header("A step of two versions", argparse.Namespace(cuda=False, seed=0, quick=chosen.quick), clock="processor time")
    for size in ["tiny"] if chosen.quick else chosen.size:
        measure(size, chosen.other.resolve(), 3 if chosen.quick else chosen.pairs, chosen.work)


if __name__ == "__main__":
    main()
