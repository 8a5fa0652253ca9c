"""Seconds of an evaluation: everything made, and with what needs no training known from an earlier run.

    python benchmarks/evaluation.py --repeats 5

Made videos from a store, the networks and crops of `small`, one thread; medians of processor time, the ways in turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch

from cacl.data.synthetic.generate import make_videos
from cacl.data.videos.dataset import Dataset, open_videos
from cacl.evaluation.evaluate import Retrieval, evaluate_retrieval
from cacl.machine.device import run_device
from cacl.models.encoder import Encoder
from cacl.training.resolve import resolve_settings
from cacl.training.wiring import initial_network, run_encoder


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--videos-per-class", type=int, nargs=2, default=(30, 12), metavar=("TRAIN", "TEST"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        resolved = resolve_settings(flags={"run.threads": 1, "run.precision": "bfloat16", "run.device": "cpu"})
        settings = resolved.with_auto({"run.precision": ("bfloat16", ""), "run.device": ("cpu", "")}).settings
        videos = make_videos(Path(folder) / "videos", videos_per_class=tuple(asked.videos_per_class))
        data = open_videos(videos, resize=settings.data.resize, store="auto", store_folder=Path(folder) / "store")
        device, dtype = run_device(settings.run, Path(folder))
        encoder = run_encoder(settings, initial_network(settings), data.rules)
        seconds: dict[str, list[float]] = {"all made": [], "references known": []}
        one(encoder, data, device, dtype, keep=True)
        for _ in range(asked.repeats):
            for name, keep in (("all made", False), ("references known", True)):
                began = time.process_time()
                one(encoder, data, device, dtype, keep=keep)
                seconds[name].append(time.process_time() - began)
        base = statistics.median(seconds["all made"])
        for name, each in seconds.items():
            middle = statistics.median(each)
            print(f"{name:18} {middle:6.1f} s ({min(each):.1f} to {max(each):.1f}), {base / middle:.2f} times as fast")


def one(encoder: Encoder, data: Dataset, device: str, dtype: torch.dtype | None, *, keep: bool) -> Retrieval:
    return evaluate_retrieval({"it": encoder}, encoder, data, device=device, autocast_dtype=dtype, keep=keep)


if __name__ == "__main__":
    main()
