"""How to put an own encoder beside a frozen one, chosen without labels: weight, centring and whitening.

Chosen is what finds other moments of the same video best among all moments, the moment that asks being seen under
another framing and light (``label_free``). Plain centring stays unless whitening the own part is better beyond what
drawing other videos would change; the frozen part is always centred alone, since whitened it finds more moments and
fewer classes. Of the weights that cannot be told apart from the best one, it is that nearest to 1: what finds
another moment of the same video leans on its scenery, and a class is less scenery than a video is.

Shapes: V videos, M moments, N = V * M clips, D features, K of them kept by whitening.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cacl.evaluation.choice.label_free import paired_interval, reciprocal_ranks
from cacl.evaluation.choice.moments import Moments
from cacl.evaluation.retrieval import similarities
from cacl.models.fused import Mapped

Vectors = NDArray[np.float32]
Way = Literal["centred", "whitened"]
WAYS: tuple[Way, ...] = ("centred", "whitened")
WEIGHTS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0)
WEIGHT = 0.7  # where nothing can be measured
KEPT, SHRINK = 128, 0.1  # directions that whitening keeps; what is added to their variances, of the mean one


@dataclass(frozen=True, eq=False)
class Fusion:
    """What was chosen.

    Attributes:
        weight: of the own part.
        ways: of the own part and of the frozen one.
        mapped: the same, for ``FusedEncoder``.
        found: percent, by weight: how well other moments are found, for the ways chosen.
        by_labels: the weight that labels would have chosen, and what of it is lost; empty without labels.
    """

    weight: float
    ways: tuple[Way, Way]
    mapped: tuple[Mapped, Mapped]
    found: dict[float, float]
    by_labels: dict[str, float]

    @property
    def numbers(self) -> dict[str, Any]:
        """For ``config.json``."""
        own, image = self.ways
        return {
            "how": "by other moments of the same video, without labels",
            "own": own,
            "image": image,
            "found, percent, by weight": {f"{weight:g}": round(value, 2) for weight, value in self.found.items()},
            **({"labels would have chosen": self.by_labels} if self.by_labels else {}),
        }


def choose_fusion(
    own: Moments, image: Moments, *, groups: Sequence[str], labels: Sequence[str] | None = None
) -> Fusion:
    """Weight, centring and whitening.

    Args:
        own, image: vectors of the same moments by both parts.
        groups: the source that each video was cut from, or the video itself.
        labels: of the videos; they choose nothing, but what they would have chosen is told.
    """
    owns, images = {way: _products(own, way) for way in WAYS}, _products(image, "centred")
    videos, moments = own.plain.shape[:2]
    ranks = {}
    for way in WAYS:
        ways: tuple[Way, Way] = way, "centred"
        for weight in WEIGHTS:
            cosine = _fused(owns[way], images, weight)
            ranks[ways, weight] = reciprocal_ranks(cosine, moments).mean(axis=1)
    plain: tuple[Way, Way] = ("centred", "centred")
    best = _best(ranks, plain)
    for ways in dict.fromkeys(ways for ways, _ in ranks):
        rival = _best(ranks, ways)
        if rival[1] and ranks[rival].mean() > ranks[best].mean():
            _, low, _ = paired_interval(ranks[rival], ranks[best], groups)
            best = rival if low > 0 else best
    ways, weight = best[0], _nearest_to_equal(ranks, best, groups)
    mapped = (fit_map(own.plain, ways[0]), fit_map(image.plain, ways[1]))
    found = {w: 100 * float(ranks[ways, w].mean()) for w in WEIGHTS}
    told = {} if labels is None else _by_labels(own, image, mapped, weight, groups, labels)
    assert len(groups) == videos
    return Fusion(weight, ways, mapped, found, told)


def fit_map(vectors_VMD: Vectors, way: Way) -> Mapped:
    """What becomes of a part's vectors, from the vectors of some videos."""
    vectors_ND = vectors_VMD.reshape(-1, vectors_VMD.shape[-1]).astype(np.float64)
    centre_D = vectors_ND.mean(axis=0)
    if way != "whitened":
        return _of_length_1(Mapped(torch.from_numpy(centre_D.astype(np.float32))), vectors_ND)
    _, values, directions_KD = np.linalg.svd(vectors_ND - centre_D, full_matrices=False)
    count = max(1, min(KEPT, len(vectors_ND) // 4, int((values > 1e-6 * values[0]).sum())))
    variances = values[:count] ** 2 / len(vectors_ND)
    scale = 1 / np.sqrt(variances + SHRINK * variances.mean() + 1e-12)
    whitening_DK = (directions_KD[:count] * scale[:, None]).T
    mapped = Mapped(torch.from_numpy(centre_D.astype(np.float32)), torch.from_numpy(whitening_DK.astype(np.float32)))
    return _of_length_1(mapped, vectors_ND)


def _of_length_1(mapped: Mapped, vectors_ND: NDArray[np.float64]) -> Mapped:
    """With the length that these vectors have, root mean square; vectors that are all the same have none."""
    length = mapped(torch.from_numpy(vectors_ND.astype(np.float32))).square().sum(dim=1).mean().sqrt()
    return replace(mapped, length=torch.where(length > 0, length, torch.ones(())))


def _best(ranks: dict[tuple[tuple[Way, Way], float], NDArray[np.float64]], ways: tuple[Way, Way]) -> Any:
    """The weight that finds most; of equal ones the middle one."""
    means = {weight: float(ranks[ways, weight].mean()) for weight in WEIGHTS}
    most = [weight for weight in WEIGHTS if means[weight] >= max(means.values()) - 1e-12]
    return ways, most[len(most) // 2]


def _nearest_to_equal(
    ranks: dict[tuple[tuple[Way, Way], float], NDArray[np.float64]],
    best: tuple[tuple[Way, Way], float],
    groups: Sequence[str],
) -> float:
    """Of the weights that are no worse than the best as far as can be told: that nearest to 1, by its logarithm.

    Where 0 is one of them, the own part was not seen to help, and the best stays.
    """
    ways, most = best
    same = [w for w in WEIGHTS if w == most or paired_interval(ranks[best], ranks[ways, w], groups)[1] <= 0]
    return most if 0.0 in same else min(same, key=lambda w: abs(np.log(w)))


@dataclass(frozen=True, eq=False)
class _Products:
    """Of every changed moment with every plain one ``[N, N]``, and each with itself ``[N]``, float32."""

    between: NDArray[np.float32]
    changed: NDArray[np.float32]
    plain: NDArray[np.float32]


def _products(moments: Moments, way: Way) -> _Products:
    mapped = fit_map(moments.plain, way)
    changed, plain = (_flat(mapped, vectors) for vectors in (moments.changed, moments.plain))
    return _Products(changed @ plain.T, (changed**2).sum(axis=1), (plain**2).sum(axis=1))


def _fused(own: _Products, image: _Products, weight: float) -> NDArray[np.float32]:
    """Cosine of both parts beside each other, the first of which counts ``weight`` times."""
    between, changed, plain = (
        np.float32(weight**2) * getattr(own, name) + getattr(image, name) for name in ("between", "changed", "plain")
    )
    fused: NDArray[np.float32] = between / np.sqrt(np.maximum(changed[:, None] * plain, 1e-12))
    return fused


def _flat(mapped: Mapped, vectors_VMD: Vectors) -> Vectors:
    flat = torch.from_numpy(np.ascontiguousarray(vectors_VMD.reshape(-1, vectors_VMD.shape[-1])))
    made: Vectors = mapped(flat.float()).numpy()
    return made


def _by_labels(
    own: Moments,
    image: Moments,
    mapped: tuple[Mapped, Mapped],
    chosen: float,
    groups: Sequence[str],
    labels: Sequence[str],
) -> dict[str, float]:
    """R@1 in percent at the best weight and the chosen: each video looks for its class among those of other sources."""
    parts = [
        _flat(m, e.plain).reshape(*e.plain.shape[:2], -1).mean(axis=1)
        for m, e in zip(mapped, (own, image), strict=True)
    ]
    same_VV = np.asarray(groups)[:, None] == np.asarray(groups)[None, :]
    label_V = np.asarray(labels)
    if same_VV.all() or len(set(labels)) < 2:
        return {}
    right = {}
    for weight in WEIGHTS:
        both = np.concatenate([weight * parts[0], parts[1]], axis=1)
        cosine = similarities(both, both)
        cosine[same_VV] = -2
        right[weight] = 100 * float((label_V[cosine.argmax(axis=1)] == label_V).mean())
    best = max(WEIGHTS, key=lambda weight: right[weight])
    return {"weight": best, "R@1 there": right[best], "R@1 here": right[chosen], "R@1 of image alone": right[0.0]}
