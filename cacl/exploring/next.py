"""What to label next: the stretches that the classes are least sure of, and those least like all that has a label.

The first are where a label moves the border between classes (margin sampling, Scheffer et al. 2001); the second are
what the labels do not speak of at all, where a classifier is often sure and wrong (farthest first, Gonzalez 1985). Each
list has a video once, as neighbours in one video ask the same.

Shapes: n vectors, d numbers each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cacl.exploring.classes import Told
from cacl.exploring.examples import Examples
from cacl.indexing.reader import Index
from cacl.search.rows import chunks

MOST = 12
_POOL = 500  # of files whose most unlike stretch may be chosen

Numbers = NDArray[np.int64]


def least_sure(told: Told, index: Index, examples: Examples, *, k: int = MOST) -> Numbers:
    """Rows of the stretches whose two best classes are nearest to each other, least sure first."""
    margin = told.margin.astype(np.float64)
    margin[examples.covered] = np.inf
    order = np.argsort(margin, kind="stable")
    return _one_a_file(order[np.isfinite(margin[order])], _files(index))[:k]


def most_unlike(index: Index, examples: Examples, *, k: int = MOST) -> Numbers:
    """Rows of stretches that are least like all that is labelled, and like each other, most unlike first.

    Like is what a search means by it: the score in the space of the index.
    """
    space, vectors, files = index.space, index.vectors, _files(index)
    starts = np.flatnonzero(np.diff(examples.entry, prepend=-1))
    sums = np.add.reduceat(space.prepared(np.asarray(vectors[examples.rows], np.float64))[0], starts)
    labelled = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    nearest = np.concatenate([(space.prepared(part)[0] @ labelled.T).max(axis=1) for _, part in chunks(vectors)])
    nearest[examples.covered] = np.inf
    pool = _one_a_file(np.argsort(nearest, kind="stable"), files)[:_POOL]
    pool = pool[np.isfinite(nearest[pool])]
    near, z = nearest[pool], space.prepared(np.asarray(vectors[pool], np.float64))[0]
    found = list[int]()
    while len(found) < min(k, len(pool)):
        best = int(near.argmin())
        found.append(int(pool[best]))
        near = np.maximum(near, z @ z[best])
        near[best] = np.inf
    return np.array(found, np.int64)


def _one_a_file(order: Numbers, files: Numbers) -> Numbers:
    """The first row of each file, in the order given."""
    _, first = np.unique(files[order], return_index=True)
    return order[np.sort(first)]


def _files(index: Index) -> Numbers:
    """Number of the file that each vector is of, int64 ``[n]``."""
    _, number = np.unique([video.path for video in index.videos], return_inverse=True)
    return np.asarray(number.reshape(-1)[index.spans.video], np.int64)
