"""A training step of two versions of this program in turns: ``python benchmarks/versions.py OTHER_CHECKOUT``.

Each round starts a fresh process for either (A B A B …) that takes the steps of ``our_step.py`` of its own checkout. By
the processor time of one thread. The same interpreter and libraries run both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from harness import Timing, header, table

HERE = Path(__file__).resolve().parent
# Told to an interpreter whose path is one checkout: only names that both have.
STEPS = """
import argparse, json, sys, torch
from harness import in_turns
from our_step import LAPTOP, TINY, Ours, Size, Variant, build
import cacl
torch.set_num_threads(1)
torch.manual_seed(0)
quick, rounds = sys.argv[1] == "quick", int(sys.argv[2])
laptop, paper = Size("laptop", {**LAPTOP, "model.network": "r3d10"}, 16), Size("paper", {"model.network": "r3d10"}, 2)
tiny = Size("tiny", {**TINY, "model.network": "r3d10", "method.queue_size": 64}, 4)
found = {}
for size in [tiny] if quick else [laptop, paper]:
    method, batch, augmentation = build(size, argparse.Namespace(cuda=False, seed=0))
    low = Ours(method, batch, Variant(), torch.bfloat16)
    plain = Ours(method, batch, Variant(low=False, channels_last=False), None)
    works = {"bfloat16, channels last": low.step, "float32": plain.step, "augmentation": augmentation}
    for name, timing in in_turns(works, rounds=rounds if size.batch > 2 else max(2, rounds // 3)).items():
        found[f"{size.name}: {name}"] = timing.median
print(json.dumps({"from": cacl.__file__, "seconds": found}))
"""


def measure(checkout: Path, *, quick: bool, rounds: int) -> dict[str, float]:
    """Seconds of each step in a fresh process of one checkout, each the median of its rounds."""
    path = os.pathsep.join((str(checkout), str(checkout / "benchmarks")))
    command = [sys.executable, "-P", "-c", STEPS, "quick" if quick else "full", str(rounds)]
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    said = json.loads(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)
    if not Path(said["from"]).is_relative_to(checkout):
        raise SystemExit(f"{checkout}: its cacl is not what was run, but {said['from']}")
    return {name: float(seconds) for name, seconds in said["seconds"].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("other", type=Path, nargs="?", help="another checkout (left out: this one beside itself)")
    parser.add_argument("--pairs", type=int, default=6, help="processes of each")
    parser.add_argument("--rounds", type=int, default=9, help="steps a process")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and one pair: seconds, for the tests")
    chosen = parser.parse_args()
    chosen.cuda, chosen.seed = False, 0
    pairs, rounds = (1, 2) if chosen.quick else (chosen.pairs, chosen.rounds)
    header("A step of two versions", chosen, clock="processor time, in turns")
    other, ours = (chosen.other or HERE.parent).resolve(), HERE.parent
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(pairs):
        before, now = (measure(checkout, quick=chosen.quick, rounds=rounds) for checkout in (other, ours))
        for name in now:
            found.setdefault(name, []).append((before[name], now[name]))
    rows = []
    for name, both in found.items():
        before_s, now_s = (Timing(tuple(column)) for column in zip(*both, strict=True))
        ratios = sorted(now / before for before, now in both)
        spread = f"{ratios[0]:.3f} … {ratios[-1]:.3f}"
        rows.append([name, before_s.median, before_s.spread, now_s.median, now_s.spread, statistics.median(ratios), spread])
    columns = ("", "other, s", "spread", "this, s", "spread", "this / other, median of pairs", "least … most")
    table(f"{pairs} pairs of processes", columns, rows)


if __name__ == "__main__":
    main()
