"""How good an encoder is for some videos, without labels.

What stands here looks at pairs of moments of one video among moments of all: vectors that tell one video's moments from
other videos', and go on doing so when framing and colours change, know something of what is shown. Vectors that do not
find other moments better than chance even as they are know nothing, and never win. The spread of the vectors (their
effective rank) says whether they have collapsed, and nothing more: **random numbers have the largest spread of all**.
It is never used to choose.

Shapes: V videos, M moments, N = V * M clips, D features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cacl.evaluation.choice.moments import Moments
from cacl.evaluation.retrieval import similarities

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class LabelFree:
    """Numbers of one encoder on some videos.

    Attributes:
        other_moments: how well other moments of the same video are found among the moments of all, percent: the mean
            reciprocal rank of the first.
        changed: the same, where the moment that asks is seen under another framing and light.
        rank: effective rank of the moments, ``effective_rank``; random numbers win it.
        knows: whether ``other_moments`` is above chance.
        each: float64 ``[V]``, ``changed`` of each video in [0, 1], for paired differences.
    """

    other_moments: float
    changed: float
    rank: float
    knows: bool
    each: NDArray[np.float64]

    @property
    def score(self) -> float:
        """What choices are made by: ``changed``, or 0 for vectors that know nothing."""
        return self.changed if self.knows else 0.0


def measure(moments: Moments, *, centre: Vectors | None = None) -> LabelFree:
    """All numbers of one encoder.

    Args:
        moments: of the videos, three or more.
        centre: what is subtracted from every vector, ``[D]``; ``None``: their own mean.
    """
    mean = moments.plain.mean(axis=(0, 1)) if centre is None else centre
    plain, changed = moments.plain - mean, moments.changed - mean
    as_they_are, each = (found_among_all(query, plain).mean(axis=1) for query in (plain, changed))
    return LabelFree(
        100 * float(as_they_are.mean()),
        100 * float(each.mean()),
        effective_rank(moments.plain.reshape(-1, moments.plain.shape[-1])),
        above_chance(as_they_are, plain.shape[1]),
        each,
    )


def above_chance(found_V: NDArray[np.float64], moments: int) -> bool:
    """Whether the mean over videos is more than three of its standard errors above what a random order gives.

    Args:
        found_V: reciprocal ranks, the mean over each video's moments.
        moments: M.
    """
    error = float(found_V.std(ddof=1)) / math.sqrt(len(found_V))
    return float(found_V.mean()) > chance_rank(len(found_V) * moments - 1, moments - 1) + 3 * error


def chance_rank(others: int, same: int) -> float:
    """Expected reciprocal rank of the first of ``same`` among ``others`` in random order, exactly (hypergeometric)."""
    every = math.comb(others, same)
    return sum(math.comb(others - r, same - 1) / every / r for r in range(1, others - same + 2))


def found_among_all(query_VMD: Vectors, gallery_VMD: Vectors) -> NDArray[np.float64]:
    """``reciprocal_ranks`` by cosine: ``[V, M]``, of each moment that asks among the moments of all videos."""
    queries, gallery = (vectors.reshape(-1, vectors.shape[-1]) for vectors in (query_VMD, gallery_VMD))
    return reciprocal_ranks(similarities(queries, gallery), query_VMD.shape[1])


def reciprocal_ranks(cosine_NN: NDArray[np.float32], moments: int) -> NDArray[np.float64]:
    """For each moment ``[V, M]``: the reciprocal rank of the first other moment of its video among the clips of all.

    The moment itself is not among the clips that are looked through; equal similarities count as half before, half
    behind. Vectors that are all alike, or random, get next to nothing.

    Args:
        cosine_NN: of every clip that asks with every clip, both in the order video, moment.
        moments: M.
    """
    N = len(cosine_NN)
    own_NM = np.arange(N).reshape(-1, moments).repeat(moments, axis=0)  # clips of the same video
    found = np.empty(N)
    for start in range(0, N, 512):
        rows = np.arange(start, min(start + 512, N))
        cosine = cosine_NN[rows].copy()
        same = cosine[np.arange(len(rows))[:, None], own_NM[rows]]
        best = np.where(own_NM[rows] == rows[:, None], -np.inf, same).max(axis=1)
        cosine[np.arange(len(rows))[:, None], own_NM[rows]] = -np.inf
        before = (cosine > best[:, None]).sum(axis=1) + 0.5 * (cosine == best[:, None]).sum(axis=1)
        found[rows] = 1 / (1 + before)
    return found.reshape(-1, moments)


def effective_rank(vectors_ND: Vectors) -> float:
    """Exponential of the entropy of the singular values of centred vectors, 1 … min(N, D) (Garrido et al. 2023).

    RankMe's form. Random numbers have nearly the full rank and know nothing: a low number warns of a collapse, a high
    one says nothing.
    """
    centred = vectors_ND.astype(np.float64) - vectors_ND.mean(axis=0, dtype=np.float64)
    values = np.linalg.svd(centred, compute_uv=False)
    if not values.sum() > 0:
        return 1.0
    share = values / values.sum() + 1e-12
    return float(np.exp(-(share * np.log(share)).sum()))


def paired_interval(
    a: NDArray[np.float64], b: NDArray[np.float64], groups: Sequence[str], *, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean difference ``a - b`` and its 95 % interval, source videos drawn with replacement (percentile bootstrap).

    Args:
        a, b: a number a video of each, ``[V]``.
        groups: which source each video was cut from: clips of one film are not independent.
        draws: resamplings.
        seed: of them.
    """
    names, index_V = np.unique(np.asarray(groups), return_inverse=True)
    size_G = np.bincount(index_V, minlength=len(names)).astype(np.float64)
    sum_G = np.bincount(index_V, weights=a - b, minlength=len(names))
    rng = np.random.default_rng(seed)
    times_RG = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    means_R = (times_RG @ sum_G) / (times_RG @ size_G)
    low, high = np.percentile(means_R, [2.5, 97.5])
    return float((a - b).mean()), float(low), float(high)
