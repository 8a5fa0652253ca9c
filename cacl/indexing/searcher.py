"""The best videos for what is asked, found exactly, and where in each of them the match is.

Shapes: n vectors of the index, p stretches of one video, d numbers of a vector, m probes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cacl.data.videos.catalog import Video
from cacl.indexing.generation import Spans
from cacl.indexing.hits import Curve, Hit
from cacl.search.rows import Rows
from cacl.search.score import Scale
from cacl.search.space import Space

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Nearest = Callable[[Floats, int, Mask], list[tuple[NDArray[np.int64], Floats]]]
"""Rows and scores of the nearest of every probe, of those that a mask allows."""

_ROUNDING = 1e-9  # by which two ways to the same score differ at most


@dataclass(frozen=True, eq=False)
class Searcher:
    """What a search needs of an index.

    Attributes:
        vectors: float32 ``[n, d]``.
        spans: what they are of.
        videos: of the index.
        space: where they are compared.
        scale: what scores mean.
        nearest: finds single stretches.
    """

    vectors: Rows
    spans: Spans
    videos: Sequence[Video]
    space: Space
    scale: Scale
    nearest: Nearest

    def along(self, probes: Floats, k: int, mask: Mask) -> list[Hit]:
        """The ``k`` best videos.

        Args:
            probes: ``[m, d]``.
            k: at least 1.
            mask: which vectors may be found, bool ``[n]``.
        """

        def score(video: int) -> float:
            rows = self.spans.rows(video)
            return float(self._similarity(probes, rows)[mask[rows]].max(axis=0).mean())

        best = best_videos(lambda count: self.nearest(probes, count, mask), k, mask, self.spans.video, score)
        return [self._hit(probes, video, score, mask) for video, score in best]

    def curve(self, probes: Floats, video: int) -> Curve:
        """Every stretch of a video, by the probe that it is most like."""
        rows = self.spans.rows(video)
        start_s, end_s = self.spans.seconds[rows].T
        return Curve(start_s, end_s, self._similarity(probes, rows).max(axis=1))

    def _similarity(self, probes: Floats, rows: slice) -> Floats:
        return self.space.prepared(self.vectors[rows].astype(np.float64))[0] @ probes.T

    def _hit(self, probes: Floats, video: int, score: float, mask: Mask) -> Hit:
        curve, rows = self.curve(probes, video), self.spans.rows(video)
        best = int(np.where(mask[rows], curve.score, -np.inf).argmax())
        start, stop = match_about(best, curve.score, self.scale)
        facts = self.videos[video]
        share = float(self.scale.below(score))
        return Hit(
            path=facts.path,
            start_s=float(curve.start_s[start]),
            end_s=float(curve.end_s[stop - 1]),
            best_s=float((curve.start_s[best] + curve.end_s[best]) / 2),
            score=score,
            nearer_than=None if np.isnan(share) else share,
            words=self.scale.words(score),
            label=", ".join(facts.labels) or None,
            absent=facts.absent,
            video=video,
            row=rows.start + best,
        )


def best_videos(
    nearest: Callable[[int], list[tuple[NDArray[np.int64], Floats]]],
    k: int,
    mask: Mask,
    video_of: NDArray[np.int64],
    score_of: Callable[[int], float],
) -> list[tuple[int, float]]:
    """The ``k`` videos of the highest scores, with these; equal ones in their order. Not one is missed.

    A video's score is the mean over the probes of its best stretch's. Some nearest stretches of every probe name
    candidates, which are scored. A video that none of them names has, for each probe, at most the score of the last
    stretch that was found; so once ``k`` candidates reach the mean of these, nobody else can be among them (the
    threshold algorithm, Fagin et al. 2003). Until then more are looked at.

    Args:
        nearest: so many nearest stretches of every probe: rows and scores; fewer, or none, where more cannot be found.
        k: at least 1.
        mask: which vectors count, bool ``[n]``.
        video_of: their videos, int64 ``[n]``.
        score_of: a video's score.
    """
    scores: dict[int, float] = {}
    count, left = max(64, 4 * k), int(mask.sum())
    while left:
        found = nearest(count)
        for video in np.unique(video_of[np.concatenate([rows for rows, _ in found])]).tolist():
            if video not in scores:
                scores[video] = score_of(video)
        ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:k]
        others = float(np.mean([near[-1] if len(near) else -np.inf for _, near in found]))
        if count >= left or (len(ranked) == k and ranked[-1][1] > others + _ROUNDING):
            return ranked
        count *= 4
    return []


def match_about(best: int, score: Floats, scale: Scale) -> tuple[int, int]:
    """First and one past the last stretch of the match about the best one.

    It goes on as long as scores are nearer to the best than to what unrelated stretches have in the middle.

    Args:
        best: number of the stretch that matches best.
        score: of all stretches of the video, in order, ``[p]``.
        scale: of the index.
    """
    middle = scale.reached_by(0.5)
    floor = (float(score[best]) + (0.0 if math.isnan(middle) else middle)) / 2
    good = score >= min(floor, float(score[best]))
    before, behind = np.flatnonzero(~good[:best]), np.flatnonzero(~good[best:])
    return (int(before[-1]) + 1 if len(before) else 0), (best + int(behind[0]) if len(behind) else len(score))
