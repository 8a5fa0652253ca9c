"""The verdict: own, frozen or both, which to use for these videos, and how sure that is.

Paired: the same videos ask all three, and the 95 % interval of a difference comes from drawing source videos anew
(``paired_interval``). Where the best cannot be told apart from one of half its cost, that one is named.

Shapes: V videos.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cacl.evaluation.choice.label_free import above_chance, found_among_all, paired_interval
from cacl.evaluation.choice.moments import Moments
from cacl.evaluation.retrieval import similarities
from cacl.models.fused import FusedEncoder

Vectors = NDArray[np.float32]
Which = Literal["own", "frozen", "fused"]
ALL: tuple[Which, ...] = ("own", "frozen", "fused")
WORTH = (
    "This was told without labels, by how well other moments of the same video are found. Of clear pairs of encoders "
    "on three sets 97 of 100 were chosen so as labels choose; where classes differ by motion alone it prefers looks "
    "(docs/label-free.md)"
)


@dataclass(frozen=True)
class Verdict:
    """Which encoder to use.

    Attributes:
        use: the choice.
        by: what was compared: ``"R@1"``, or ``"other moments"`` where there are no labels.
        scores: percent of each.
        differences: ``"fused - frozen"`` … -> mean, and ends of the 95 % interval, points.
        videos: how many asked.
        sources: from how many films.
        cost: milliseconds of processor time a video, where measured.
    """

    use: Which
    by: Literal["R@1", "other moments"]
    scores: Mapping[Which, float]
    differences: Mapping[str, tuple[float, float, float]]
    videos: int
    sources: int
    cost: Mapping[Which, float]

    @property
    def sentence(self) -> str:
        """For people: the choice first."""
        scores = ", ".join(f"{name} {self.scores[name]:.1f}" for name in sorted(ALL, key=lambda n: -self.scores[n]))
        rivals = [key for key in self.differences if self.use in key.split(" - ")]
        told = []
        for key in rivals:
            first, other = key.split(" - ")
            mean, low, high = self.differences[key]
            if first != self.use:
                other, mean, low, high = first, -mean, -high, -low
            mean, low, high = (round(number, 1) + 0.0 for number in (mean, low, high))  # no -0.0
            told.append(f"{mean:+.1f} points to {other}, 95 % interval {low:+.1f} to {high:+.1f}")
        cost = ""
        if self.cost:
            cost = " Processor time a video: " + ", ".join(f"{n} {self.cost[n]:.0f} ms" for n in self.cost) + "."
        best = max(ALL, key=lambda name: self.scores[name])
        same = "" if best == self.use else f" It cannot be told apart from {best} here, and costs at most half of it."
        worth = "" if self.by == "R@1" else f" {WORTH}."
        return (
            f"Use {_NAMES[self.use]} for these videos: {self.by} {scores} ({'; '.join(told)}; {self.videos} videos of "
            f"{self.sources} sources).{same}{cost}{worth}"
        )

    @property
    def numbers(self) -> dict[str, Any]:
        """For ``results.json``."""
        return {
            "use": self.use,
            "by": self.by,
            "scores": dict(self.scores),
            "differences": {key: list(value) for key, value in self.differences.items()},
            "videos": self.videos,
            "sources": self.sources,
            **({"milliseconds a video": dict(self.cost)} if self.cost else {}),
            "sentence": self.sentence,
        }


_NAMES: dict[Which, str] = {
    "own": "your own encoder alone",
    "frozen": "the frozen image encoder alone",
    "fused": "both, fused",
}


def decide(
    right: Mapping[Which, NDArray[np.float64]],
    groups: Sequence[str],
    *,
    by: Literal["R@1", "other moments"],
    cost: Mapping[Which, float] | None = None,
) -> Verdict:
    """The verdict: the best, or what cannot be told apart from it and costs at most half.

    Args:
        right: of each encoder a number a video, ``[V]``, in [0, 1]: found or not, or how well.
        groups: the source of each video.
        by: what the numbers are.
        cost: milliseconds of processor time a video; without it the best is named.
    """
    scores = {name: 100 * float(right[name].mean()) for name in ALL}
    differences = {}
    for second, first in itertools.combinations(ALL, 2):
        found = paired_interval(right[first], right[second], groups)
        differences[f"{first} - {second}"] = (100 * found[0], 100 * found[1], 100 * found[2])
    best = max(ALL, key=lambda name: scores[name])
    known = dict(cost or {})
    cheap = [name for name in sorted(known, key=lambda name: known[name]) if known[name] <= known[best] / 2]
    use = next((name for name in cheap if not _below(differences, name, best)), best)
    return Verdict(use, by, scores, differences, len(groups), len(set(groups)), known)


def _below(differences: Mapping[str, tuple[float, float, float]], name: Which, best: Which) -> bool:
    """Whether the interval says that ``name`` is worse than ``best``."""
    if (found := differences.get(f"{best} - {name}")) is not None:
        return found[1] > 0
    return differences[f"{name} - {best}"][2] < 0


def by_moments(
    fused: FusedEncoder, own: Moments, image: Moments, groups: Sequence[str], *, cost: Mapping[Which, float]
) -> Verdict:
    """The verdict without labels: how well other moments of a video are found, under another framing and light.

    Args:
        fused: whose parts' vectors are given.
        own, image: moments of videos by each part.
        groups: the source of each video.
        cost: as of ``decide``.
    """
    right: dict[Which, NDArray[np.float64]] = {}
    for name in ALL:
        plain, changed = (
            _vectors(fused, name, a, b, centred=True)
            for a, b in ((own.plain, image.plain), (own.changed, image.changed))
        )
        knows = above_chance(found_among_all(plain, plain).mean(axis=1), plain.shape[1])
        right[name] = found_among_all(changed, plain).mean(axis=1) * knows
    return decide(right, groups, by="other moments", cost=cost)


def by_labels(
    fused: FusedEncoder,
    asked: tuple[Moments, Moments],
    there: tuple[Moments, Moments],
    labels: Sequence[str],
    labels_there: Sequence[str],
    groups: tuple[Sequence[str], Sequence[str]],
    *,
    cost: Mapping[Which, float],
) -> Verdict:
    """The verdict from labels: whether the nearest video of another source is of the same class.

    Args:
        fused: whose parts' vectors are given; the own encoder is compared as it is used alone, not centred.
        asked, there: moments of the videos that ask and of those looked through, by the own and the frozen part.
        labels, labels_there: of both.
        groups: the sources of both.
        cost: as of ``decide``.
    """
    other_QG = np.asarray(groups[0])[:, None] != np.asarray(groups[1])[None, :]
    right: dict[Which, NDArray[np.float64]] = {}
    for name in ALL:
        query, gallery = (
            _vectors(fused, name, own.plain, image.plain, centred=False).mean(axis=1) for own, image in (asked, there)
        )
        cosine_QG = np.where(other_QG, similarities(query, gallery), -2)
        near_Q = cosine_QG.argmax(axis=1)
        right[name] = (np.asarray(labels_there)[near_Q] == np.asarray(labels)).astype(np.float64)
    return decide(right, groups[0], by="R@1", cost=cost)


def _vectors(fused: FusedEncoder, name: Which, own_VMD: Vectors, image_VMD: Vectors, *, centred: bool) -> Vectors:
    """Of one of the three, from the parts' vectors."""
    V, M = own_VMD.shape[:2]
    own, image = (torch.from_numpy(np.ascontiguousarray(v.reshape(V * M, -1))).float() for v in (own_VMD, image_VMD))
    if name == "own":
        found = fused.mapped[0](own) if centred else own
    else:
        found = fused.mapped[1](image) if name == "frozen" else fused.fuse(own, image)
    vectors: Vectors = found.numpy().reshape(V, M, -1)
    return vectors
