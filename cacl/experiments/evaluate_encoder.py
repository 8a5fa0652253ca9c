"""``cacl evaluate ENCODER VIDEOS``: retrieval of an encoder folder, imported, exported to or fused, without a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from cacl.data.videos.dataset import open_videos, videos_at
from cacl.data.videos.resampled import resampled
from cacl.distributed.processes import is_first, join
from cacl.errors import UserError, quoted
from cacl.evaluation.choice.cost import milliseconds_a_video
from cacl.evaluation.choice.frozen_rows import frozen_rows
from cacl.evaluation.embed import encoder_features
from cacl.evaluation.evaluate import evaluate_retrieval, retrieval_parts
from cacl.evaluation.retrieval import class_recall
from cacl.machine.device import choose_device
from cacl.models.fused import FusedEncoder
from cacl.models.load import load_encoder

CLIPS = 10  # a video, as in the paper


def evaluate_encoder(
    encoder: str | Path, videos: str | Path | None, *, lists: str | Path | None = None, split: int = 1
) -> dict[str, Any]:
    """Recall@k of an encoder folder beside chance and what needs no network; nothing is written.

    Args:
        encoder: an encoder folder of any kind; of a fused one its frozen part is a row, too.
        videos: labelled videos with a train and a test part.
        lists: the data set's split lists.
        split: which split of them.

    Returns:
        ``{"retrieval": {row: {"R@1": percent, …}}, "milliseconds a video": …}``; ``centred``: minus the mean of the
        training videos' vectors.

    Raises:
        UserError: no encoder there, no videos named, or these have no labels or no test part.
    """
    join()
    path, found = Path(encoder), load_encoder(encoder)
    if videos is None:
        raise UserError(f"{path} is an encoder, not a run with videos of its own: cacl evaluate {quoted(path)} VIDEOS")
    clip = found.clip
    data = open_videos(
        videos_at(videos),
        resize=clip.resize,
        lists=None if lists is None else Path(lists),
        split=split,
        rules=clip.rules,
        blank=clip.blank,
        encoder=True,
    )
    data = resampled(data, clip.frame_rate, say=_say)
    rows = evaluate_retrieval({}, None, data, say=_say).recalls
    train, test = retrieval_parts(data)
    cost, device = milliseconds_a_video(found, clips=CLIPS), choose_device()[0]
    _say(f"Features of {len(train) + len(test)} videos …")
    if isinstance(found, FusedEncoder):
        rows |= frozen_rows(found, data, test, train, clips=CLIPS, device=device).recalls
    else:
        query, gallery = (
            encoder_features(found, data.subset(part), clips=CLIPS, device=device) for part in (test, train)
        )
        name, centre = path.resolve().name, gallery.features.mean(axis=0)
        q_numbers, g_numbers = (
            [part[position] for position in each.kept.tolist()] for part, each in ((test, query), (train, gallery))
        )
        for row, mean in ((name, np.zeros_like(centre)), (f"{name}, centred", centre)):
            rows[row] = class_recall(query.features - mean, gallery.features - mean, data, q_numbers, g_numbers)
    return {"retrieval": rows, "milliseconds a video": cost}


def _say(text: str) -> None:
    if is_first():
        print(text, file=sys.stderr, flush=True)
