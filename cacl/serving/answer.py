"""The answer to a search as the page shows it: hits, each with a strip of how much every moment of its video matches.

Shapes: p stretches of a video, b bins of its strip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cacl.errors import UserError
from cacl.indexing.hits import Curve, Hit
from cacl.serving.current import View
from cacl.serving.queries import Queries
from cacl.serving.stretches import Known, class_of

BINS = 240  # of a strip: more are not seen
MOST = 100  # hits


def answer(
    view: View,
    queries: Queries,
    like: Sequence[str],
    unlike: Sequence[str],
    *,
    k: int,
    within: str | None,
    without: NDArray[np.int64] | None = None,
    known: Known = None,
) -> dict[str, Any]:
    """Hits for examples, as ``cacl search`` finds them.

    Args:
        view: the index.
        queries: what is asked with.
        like: examples, as of ``Queries.example``.
        unlike: examples against.
        k: how many videos, 1 to ``MOST``.
        within: a folder or a label.
        without: rows that are not to be found, beside the examples' own.
        known: what stretches are taken for.

    Raises:
        UserError: no example, or one that cannot be read; no such folder or label.
    """
    if not like:
        raise UserError("There is nothing to search by: choose a video or drop a file.")
    examples = [queries.example(view, text) for text in (*like, *unlike)]
    vectors = [vectors for vectors, _, _ in examples]
    own = np.concatenate([*(rows for _, rows, _ in examples), np.zeros(0, np.int64) if without is None else without])
    against = np.concatenate(vectors[len(like) :]) if unlike else None
    index = view.index
    probes = index.probes(np.concatenate(vectors[: len(like)]), against)
    hits = index.along(probes, min(max(k, 1), MOST), within=within or None, without=own)
    floor = index.scale.reached_by(0.5)
    best = max((hit.score for hit in hits), default=1.0)
    return {
        "notes": [line for _, _, said in examples for line in said],
        "hits": [_hit(view, hit, index.curve(probes, hit.video), floor, best, known) for hit in hits],
    }


def _hit(view: View, hit: Hit, curve: Curve, floor: float, best: float, known: Known) -> dict[str, Any]:
    video = view.index.videos[hit.video]
    return {
        **hit.to_json(),
        **view.facts(video),
        "n": hit.row - video.first_row,
        **class_of(hit.row, known),
        "strip": _strip(view, curve, floor, best),
    }


def _strip(view: View, curve: Curve, floor: float, best: float) -> dict[str, Any]:
    """``heat`` 0 (as unrelated stretches) to 1 (as the best hit), ``below`` the share of unrelated pairs, both ``[b]``;
    ``n`` which stretch is shown, ``start`` seconds.
    """
    chosen = _of_bins(curve.score)
    score = curve.score[chosen]
    lowest = float(curve.score.min()) if np.isnan(floor) else floor
    heat = np.clip((score - lowest) / max(best - lowest, 1e-9), 0, 1)
    start = curve.start_s[chosen]
    return {
        "heat": heat.round(3).tolist(),
        "below": [None if np.isnan(share) else round(share, 4) for share in view.index.scale.below(score).tolist()],
        "n": chosen.tolist(),
        "start": None if np.isnan(start).any() else start.round(3).tolist(),
    }


def _of_bins(score: NDArray[np.float64]) -> NDArray[np.int64]:
    """Of each bin the stretch that matches best."""
    edges = np.linspace(0, len(score), min(BINS, len(score)) + 1).astype(int)
    pairs = zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    return np.array([first + int(score[first:stop].argmax()) for first, stop in pairs], np.int64)
