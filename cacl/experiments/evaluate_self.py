"""``cacl evaluate RUN --protocol self``: is the encoder any good for these videos, without labels?

How well moments of a video find each other among the moments of all videos, under another framing and light; beside
what needs no learning, the untrained network, and any other encoder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cacl.data.videos.dataset import Dataset, open_videos, thinned, videos_at
from cacl.data.videos.resampled import resampled
from cacl.distributed.processes import is_first, join, wait_for_first
from cacl.errors import UserError, printable, quoted
from cacl.evaluation.baselines import colour_histogram, thumbnail
from cacl.evaluation.choice.fuse import FUSED, MOST_VIDEOS, kept_fused, resized
from cacl.evaluation.choice.label_free import measure
from cacl.evaluation.choice.moments import video_moments
from cacl.evaluation.embed import evaluating
from cacl.files import write_whole
from cacl.models.clip_encoder import ClipEncoder, ClipSpec
from cacl.models.fused import looked_at
from cacl.models.load import load_encoder
from cacl.run import Run
from cacl.run_folder import RunFolder
from cacl.training.progress import VideoProgress
from cacl.training.videos import move_videos, open_run_data, pixel_rules

RESULT = "self.json"
NOTE = (
    "found: how well other moments of the same video are found among all, the moment that asks being seen under "
    "another framing and light (mean reciprocal rank, percent); as it is: the same without the change. The effective "
    "rank warns of a collapse where it is low, and says nothing where it is high: random numbers have the highest."
)


def evaluate_self(
    run: str | Path,
    videos: str | Path | None = None,
    *,
    beside: Sequence[str | Path] = (),
    moved: str | Path | None = None,
) -> dict[str, Any]:
    """Measure a finished run without labels; writes ``self.json`` into it (of its own videos).

    Args:
        run: a finished run.
        videos: any videos, by default the run's own: its test part where there is one.
        beside: other runs or encoder folders of any kind.
        moved: the folder (or store) that the run's own videos are in now, where they were moved.

    Returns:
        ``{"self": {row: {"found": percent, "as it is": percent, "effective rank": …}}, "videos": …, "note": …}``.

    Raises:
        UserError: the run is not finished, or fewer than three videos.
    """
    join()
    main = Run(run)
    if main.finished is None:
        raise UserError(f"{main.path} is not finished; continue it: cacl pretrain --resume {quoted(main.path)}")
    if moved is not None:
        with RunFolder(main.path, owner=is_first()) as folder:
            if is_first():
                move_videos(folder, moved)
            wait_for_first()
    own = main.encoder
    others = {str(path): load_encoder(path) for path in beside}
    encoders: dict[str, ClipEncoder] = {"untrained": main.untrained, main.method: own, **others}
    if (fused := kept_fused(main.path, own, say=_say)) is not None:
        encoders |= {"frozen": fused.image, FUSED: fused}
    data, numbers = _videos(main, videos, encoders)
    if len(numbers) < 3:
        raise UserError(f"{data.catalog.root}: {len(numbers)} videos are too few to look for one among others.")
    compute: dict[str, Callable[[NDArray[np.uint8]], Tensor]] = {
        "colour histogram": lambda clips: torch.from_numpy(np.stack([colour_histogram(c) for c in clips])),
        "thumbnail": lambda clips: torch.from_numpy(np.stack([thumbnail(c) for c in clips])),
        **{name: _seen(encoder, own.clip) for name, encoder in encoders.items()},
    }
    with VideoProgress() as progress:
        found = video_moments(
            compute,
            own.clip,
            data.subset(numbers),
            progress=lambda done: progress("videos looked at", done, len(numbers)),
        )
    rows = {}
    for name, moments in found.items():
        told = measure(moments)
        rows[name] = {"found": told.score, "as it is": told.other_moments, "effective rank": told.rank}
    count = len(next(iter(found.values())).kept)
    results = {"self": rows, "videos": count, "note": NOTE}
    if videos is None and is_first():
        write_whole(main.path / RESULT, json.dumps(results, indent=2) + "\n")
    return results


def _videos(run: Run, videos: str | Path | None, encoders: dict[str, ClipEncoder]) -> tuple[Dataset, list[int]]:
    """The videos with frames as large as the encoder that wants the largest, and which of them are looked at."""
    sides = [encoder.clip.resize for encoder in encoders.values()]
    height, width = max(s[0] for s in sides), max(s[1] for s in sides)
    if videos is None:
        data = open_run_data(RunFolder(run.path))
        numbers = data.numbers(data.test_part) if data.has_test else data.numbers(None)
        data = resized(data, ClipSpec(resize=(height, width), size=min(height, width)))
    else:
        _say(f"Looking through {videos} …")
        settings = run.settings.data
        data = open_videos(
            videos_at(videos),
            resize=(height, width),
            rules=pixel_rules(RunFolder(run.path)),
            blank=settings.blank,
            rate=settings.picture_rate or 0.0,
        )
        data = resampled(data, settings.frame_rate)
        numbers = data.numbers(None)
    return data, thinned(numbers, MOST_VIDEOS)


def _seen(encoder: ClipEncoder, clip: ClipSpec) -> Callable[[NDArray[np.uint8]], Tensor]:
    """The encoder over clips of ``clip.frames`` frames: all of them, or as many of them as it takes."""
    picked = list(range(clip.frames))
    if encoder.clip.frames != clip.frames:
        picked = list(looked_at(clip.frames, encoder.clip.frames))

    @torch.no_grad()
    def compute(clips_NTHWC: NDArray[np.uint8]) -> Tensor:
        with evaluating(encoder):
            vectors: Tensor = encoder(clips_NTHWC[:, picked])
        return vectors

    return compute


def _say(text: str) -> None:
    if is_first():
        print(printable(text), file=sys.stderr, flush=True)
