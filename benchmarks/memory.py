"""Peak resident memory of a training step by batch size, each in a fresh process: ``python benchmarks/memory.py``.

With ``--cuda``: peak memory that PyTorch took on the GPU. The first line of each table is the program with its weights,
before any step.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from harness import arguments, header, peak_mib, table
from our_step import DECAY, LAPTOP, LR, TINY, Ours, Size, Variant, build
from released_step import ReleasedStep

SIZES: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "tiny": ("tiny R3D-10", {**TINY, "model.network": "r3d10", "method.queue_size": 64}, (2,)),
    "laptop": ("R3D-10 of width 16 at 56 (laptop)", {**LAPTOP, "model.network": "r3d10"}, (8, 32)),
    "paper": ("C3D at 112, ResNet-50 (paper)", {"model.network": "c3d"}, (2,)),
    "gpu": ("C3D at 112, ResNet-50 (paper)", {"model.network": "c3d"}, (16, 32, 64, 128)),
}
WAYS: dict[str, Variant | None] = {
    "released structure, float32": None,
    "ours, float32": Variant(low=False, channels_last=False),
    "ours, bfloat16, channels last": Variant(),
    "the same, activations checkpointed": Variant(checkpointed=True),
}


def one(size: str, way: str, batch: int, cuda: bool) -> float:
    """MiB at the peak of two steps (none for batch 0), of this process."""
    chosen = arguments("")
    chosen.cuda = cuda
    name, settings, _ = SIZES[size]
    method, views, _ = build(Size(name, settings, max(batch, 2)), chosen)
    step: Callable[[], object]
    variant = WAYS[way]
    if variant is None:
        step = partial(ReleasedStep(method, lr=LR, weight_decay=DECAY).step, views)
    else:
        step = Ours(method, views, variant, torch.bfloat16).step
    del method
    for _ in range(2 if batch else 0):
        step()
    if cuda:
        return torch.cuda.max_memory_allocated() / 2**20
    return peak_mib()


def in_fresh_process(case: dict[str, Any], threads: int) -> float:
    code = f"import sys; sys.argv[1:] = ['--threads', '{threads}']; import json, memory; "
    code += f"print(memory.one(**json.loads({json.dumps(json.dumps(case))!s})))"
    folder = __file__.rpartition("/")[0] or "."
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{case}: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout.split()[-1])


def main() -> None:
    chosen = arguments(__doc__)
    header("Memory of a training step", chosen, clock="peak of a fresh process each, MiB")
    for size in ["tiny"] if chosen.quick else ["gpu"] if chosen.cuda else ["laptop", "paper"]:
        name, _, batches = SIZES[size]
        rows: list[list[object]] = []
        for batch in (0, *batches):
            case = {"size": size, "batch": batch, "cuda": chosen.cuda}
            peaks = [in_fresh_process({**case, "way": way}, chosen.threads) for way in WAYS]
            rows.append([batch or "weights alone", *peaks, peaks[2] / peaks[3]])
        table(f"{name}: MiB by batch size", ("batch", *WAYS, "without / with checkpointing"), rows)


if __name__ == "__main__":
    main()
