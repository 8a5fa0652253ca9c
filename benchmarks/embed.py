"""Videos embedded a second, end to end, against decoding alone and the network alone: ``python benchmarks/embed.py``.

Ten clips a video, as retrieval does (``video_features``). By the clock, decoding and network overlap where cores are
free; the processor time tells what embedding costs besides both, on a busy machine too.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from harness import agree, arguments, header, in_turns, processor_seconds, table, target, targets
from made_videos import kinds, make
from numpy.typing import NDArray

from cacl.data.clips.sampling import evaluation_clips
from cacl.data.videos.catalog import scan
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.sources import DecodedVideos, FrameSource
from cacl.data.videos.store import build_store
from cacl.evaluation.embed import video_features
from cacl.evaluation.reading import read_clips, read_videos
from cacl.models.encoder import ClipSpec, Encoder

BATCH = 40


def main() -> None:
    chosen = arguments(__doc__)
    header("Embedding", chosen, clock="in turns, by the clock and by processor time")
    small = chosen.quick
    spec = ClipSpec(resize=(32, 40), size=32) if small else ClipSpec(resize=(64, 86), size=56)
    encoder = Encoder("r3d10", width=4 if small else 16, clip=spec).eval()
    encoder.network.to("cuda" if chosen.cuda else "cpu")
    (height, width), kind = spec.resize, kinds(quick=small)[1]
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary, "videos")
        for copy in range(1 if small else 4):
            make(kind, root / f"{copy}", seed=chosen.seed + copy)
        catalog = scan(root)
        store = build_store(catalog, Path(temporary, "store"), height=height, width=width)
        sources: dict[str, FrameSource] = {
            "files": DecodedVideos(catalog, height=height, width=width),
            "store": store,
        }
        hours = sum(video.frames / video.fps for video in catalog.videos) / 3600
        rows: list[list[object]] = []
        reached: list[list[object]] = []
        for place, source in sources.items():
            works = _works(encoder, Dataset(catalog, source), chosen.cuda)
            rounds = 1 if small else 3
            clock = in_turns(works, rounds=rounds, clock=time.perf_counter)
            spent = in_turns(works, rounds=rounds, clock=processor_seconds)
            count = len(catalog.videos)
            rows += [
                [place, name, count / t.median, t.spread, 60 * hours / t.median, count / spent[name].median]
                for name, t in clock.items()
            ]
            slower = max(clock["decoding alone"].median, clock["network alone"].median)
            both = spent["decoding alone"].median + spent["network alone"].median
            reached += [
                target(f"{place}: share of the slower limit, by the clock", slower / clock["end to end"].median, 0.8),
                target(f"{place}: share of both limits' processor time", both / spent["end to end"].median, 0.8),
            ]
    print()
    columns = ("from", "", "videos/s, clock", "spread", "hours of video a minute", "videos/s, processor")
    table(f"{kind.name}, 10 clips a video, R3D-10 of width {encoder.width} at {spec.size}", columns, rows)
    targets(reached, chosen)


def _works(encoder: Encoder, data: Dataset, cuda: bool) -> dict[str, Callable[[], object]]:
    spec, device = encoder.clip, "cuda" if cuda else "cpu"

    def read(own: FrameSource, number: int) -> NDArray[np.uint8]:
        plan = evaluation_clips(data.catalog.videos[number].frames, frames=spec.frames, stride=spec.stride)
        return read_clips(own, number, plan)

    def decode() -> list[NDArray[np.uint8]]:
        return [clips for _, clips in read_videos(data, read, skipped=[])]

    pixels = np.concatenate(decode())

    def compute() -> torch.Tensor:
        with torch.inference_mode():
            batches = [encoder(pixels[i : i + BATCH]).cpu() for i in range(0, len(pixels), BATCH)]
        return torch.cat(batches)

    def whole() -> NDArray[np.float32]:
        return video_features(encoder.network, data, spec, batch_size=BATCH, device=device).features

    expected = compute().view(len(data), 10, -1).mean(dim=1).numpy()
    agree("end to end and clip by clip", float(np.abs(whole() - expected).max()), 1e-4)
    return {"decoding alone": decode, "network alone": compute, "end to end": whole}


if __name__ == "__main__":
    main()
