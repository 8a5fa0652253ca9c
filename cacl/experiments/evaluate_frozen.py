"""The rows of a frozen image encoder in a run's retrieval, alone and fused with the run's, and the verdict."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cacl.data.videos.dataset import Dataset
from cacl.data.videos.recordings import recording
from cacl.errors import counted
from cacl.evaluation.choice.cost import milliseconds_a_video
from cacl.evaluation.choice.frozen_rows import FROZEN, FUSED, frozen_rows
from cacl.evaluation.choice.fuse import resized
from cacl.evaluation.choice.verdict import Verdict, Which, decide
from cacl.evaluation.evaluate import Retrieval, retrieval_parts
from cacl.models.clip_encoder import ClipEncoder
from cacl.models.fused import FusedEncoder

CLIPS = 10  # a video, as in the paper


def with_frozen(
    retrieval: Retrieval,
    fused: FusedEncoder,
    data: Dataset,
    own: str,
    device: str,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> Verdict:
    """Add the rows of the frozen part and of both to ``retrieval``, and say which of the three to use.

    Args:
        retrieval: the rows there are; takes the new ones before and behind that of the run.
        fused: the run's encoder beside a frozen one.
        data: the videos of ``retrieval``.
        own: name of the run's row.
        device: to compute on.
        say: told what is done.
    """
    train, test = retrieval_parts(data)
    say(f"Features of {counted(len(train) + len(test), 'video')}, frozen and fused …")
    rows = frozen_rows(fused, resized(data, fused.clip), test, train, clips=CLIPS, device=device)
    own_row = retrieval.recalls.pop(own)
    retrieval.recalls.update({FROZEN: rows.recalls[FROZEN], own: own_row, FUSED: rows.recalls[FUSED]})
    right = {"own": retrieval.right[own], "frozen": rows.right[FROZEN], "fused": rows.right[FUSED]}
    numbers = sorted(set.intersection(*(set(found) for found in right.values())))
    fused = fused.cpu()
    parts: dict[Which, ClipEncoder] = {"own": fused.own, "frozen": fused.image, "fused": fused}
    return decide(
        {name: np.array([right[name][n] for n in numbers], np.float64) for name in parts},
        [recording(video) for video in data.videos(numbers)],
        by="R@1",
        cost={name: milliseconds_a_video(encoder, clips=CLIPS) for name, encoder in parts.items()},
    )
