"""The nearest neighbours of all points at once, nearly: for the map, where a few missed ones change nothing to be seen.

Comparing all with all takes minutes for 10⁵ points. Instead the points are split in half along a random direction, the
halves again, until groups are small, and compared within these; several such trees, as what one splits another does not
(Dasgupta & Freund 2008). Searches never use this: they are exact.

Shapes: N points, P numbers each, k neighbours, g groups of at most s points.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from cacl.data.randomness import generator

LEAF = 160  # points of a group at most
TREES = 16
_GROUPS = 64  # compared at a time: 64 · 160² · 4 bytes

Points = NDArray[np.float32]
Numbers = NDArray[np.int64]


def near(points_NP: Points, k: int, *, progress: Callable[[int, int], None] = lambda done, total: None) -> Numbers:
    """Neighbours of every point by Euclidean distance, nearest first, int64 ``[N, k]``; of few points exactly.

    Args:
        points_NP: more than ``k`` of them.
        k: at most a quarter of ``LEAF``.
        progress: called with trees done, and how many there are; may raise to end it.
    """
    count = len(points_NP)
    trees = 1 if count <= LEAF else TREES
    found = np.full((count, k), -1, np.int64)
    far = np.full((count, k), np.inf, np.float32)
    for tree in range(trees):
        for members in _groups(points_NP, tree):
            own, others, distance = _within(points_NP, members, k)
            found[own], far[own] = _merged(found[own], far[own], others, distance)
        progress(tree + 1, trees)
    return found


def _groups(points_NP: Points, tree: int) -> list[Numbers]:
    """Some groups at a time: int64 ``[g, s]``, -1 where a group is smaller."""
    count = len(points_NP)
    block = np.zeros(count, np.int64)
    order, level = np.arange(count), 0
    while (sizes := np.bincount(block)).max() > LEAF:
        direction = generator(0, "map split", tree, level).standard_normal(points_NP.shape[1], np.float32)
        order = np.lexsort((points_NP @ direction, block))
        first = np.cumsum(sizes) - sizes
        place = np.arange(count) - first[block[order]]
        block[order] = 2 * block[order] + (place >= sizes[block[order]] // 2)
        level += 1
    order = np.argsort(block, kind="stable")
    first = np.cumsum(sizes) - sizes
    table = np.full((len(sizes), int(sizes.max())), -1, np.int64)
    table[block[order], np.arange(count) - first[block[order]]] = order
    return [table[start : start + _GROUPS] for start in range(0, len(table), _GROUPS)]


def _within(points_NP: Points, members_gs: Numbers, k: int) -> tuple[Numbers, Numbers, NDArray[np.float32]]:
    """Of every member its number, and of its ``k`` nearest in its group numbers and squared distances."""
    part = torch.from_numpy(points_NP[members_gs])
    square = (part * part).sum(dim=2)
    distance = square[:, :, None] + square[:, None] - 2 * torch.bmm(part, part.transpose(1, 2))
    nobody = torch.from_numpy(members_gs < 0)
    distance.masked_fill_(nobody[:, None], torch.inf)
    distance.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    least, place = distance.topk(min(k, distance.shape[2]), dim=2, largest=False)
    others = np.take_along_axis(members_gs[:, None].repeat(members_gs.shape[1], axis=1), place.numpy(), axis=2)
    there = members_gs >= 0
    others = np.where(np.isinf(least.numpy()), -1, others)
    return members_gs[there], others[there], least.numpy()[there]


def _merged(
    found: Numbers, far: NDArray[np.float32], others: Numbers, distance: NDArray[np.float32]
) -> tuple[Numbers, NDArray[np.float32]]:
    """The nearest of both, each once, nearest first."""
    distance = np.where((others[:, :, None] == found[:, None]).any(axis=2), np.inf, distance)
    number, length = np.concatenate([found, others], axis=1), np.concatenate([far, distance], axis=1)
    least, place = torch.from_numpy(length).topk(found.shape[1], dim=1, largest=False)
    return np.take_along_axis(number, place.numpy(), 1), least.numpy()
