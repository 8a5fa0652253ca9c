"""Two dimensions for many points: PCA at once, then a layout in which neighbours are near.

PCA is a shadow: what differs in other directions falls together. In the layout every point is drawn to one of its
nearest neighbours at a time and pushed from some others that are drawn by chance: the loss of contrastive neighbour
embedding (negative sampling with a Cauchy kernel, Damrich et al. 2023), on which UMAP stands, by plain steps for all
points at once. Nothing is drawn but from the seed, so the same vectors give the same map.

Distances between groups far from each other mean little, as in every such layout.

Shapes: N points, D numbers each, P axes that are kept.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cacl.data.randomness import generator
from cacl.exploring.near import near

AXES = 32  # of most variance, in which neighbours are looked for
NEIGHBOURS = 15
_PUSHES = 5  # others that a point is pushed from, each step
_STEP, _MOST = 0.25, 4.0  # of the first step; what one pull or push moves at most
_SIZE = 5.0  # spread of the PCA that it begins with

Points = NDArray[np.float32]
Progress = Callable[[int, int], None]


def principal(x_ND: NDArray[np.float32], axes: int = AXES) -> Points:
    """Coordinates along the directions of most variance, float32 ``[N, P]``; the largest weight of each is positive."""
    x_ND = x_ND - x_ND.mean(axis=0)
    variance, directions = np.linalg.eigh((x_ND.T @ x_ND).astype(np.float64) / max(len(x_ND), 1))
    best = directions[:, np.argsort(-variance, kind="stable")[:axes]]
    best *= np.where(best[np.abs(best).argmax(axis=0), np.arange(best.shape[1])] < 0, -1.0, 1.0)
    return (x_ND @ best.astype(np.float32)).astype(np.float32)


def layout(points_NP: Points, *, progress: Progress = lambda done, total: None) -> Points:
    """Where to draw each point, float32 ``[N, 2]``.

    Args:
        points_NP: principal coordinates, at least 2 of them.
        progress: called with steps done, and how many there are; may raise to end it.
    """
    count = len(points_NP)
    begin = points_NP[:, :2] / max(float(points_NP[:, 0].std()), 1e-12) * _SIZE
    if count <= NEIGHBOURS + 1:
        return begin.astype(np.float32)
    steps, looked = (500 if count < 20_000 else 250), 100  # looking for neighbours is shown as the first 100
    neighbours = near(points_NP, NEIGHBOURS, progress=lambda done, of: progress(looked * done // of, looked + steps))
    y = begin.astype(np.float32)
    everyone = np.arange(count)
    for step in range(steps):
        random = generator(0, "map layout", step)
        other = neighbours[everyone, random.integers(0, NEIGHBOURS, count)]
        other = np.where(other < 0, everyone, other)
        gap = y - y[other]
        pull = np.clip(-2 * gap / (1 + (gap * gap).sum(axis=1, keepdims=True)), -_MOST, _MOST)
        move = pull.copy()
        for axis in (0, 1):
            move[:, axis] -= np.bincount(other, weights=pull[:, axis], minlength=count).astype(np.float32)
        mixed = y[random.permutation(count)]
        for shift in random.integers(0, count, _PUSHES).tolist():
            gap = y - np.roll(mixed, shift, axis=0)
            square = (gap * gap).sum(axis=1, keepdims=True)
            move += np.clip(2 * gap / ((0.001 + square) * (1 + square)), -_MOST, _MOST)
        y += np.float32(_STEP * (1 - step / steps)) * move
        progress(looked + step + 1, looked + steps)
    return y
