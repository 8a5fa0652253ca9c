"""Nearest neighbours by cosine similarity, and Recall@k: does any of the k nearest have the query's class?

The protocol of the paper (section 4.3, Table 4): each test video queries the training videos. Equal similarities are
broken by the lower gallery index, so that the result never depends on the order in which a library happens to sort.

Shapes: Q queries, G gallery items, D feature width, K neighbours.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cacl.data.videos.dataset import Dataset
from cacl.evaluation.multilabel import average_precision, related

KS = (1, 5, 10, 20, 50)

Labels = Sequence[str] | Sequence[int] | NDArray[np.int64] | NDArray[np.str_]


def nearest(
    query_QD: NDArray[np.float32], gallery_GD: NDArray[np.float32], k: int, *, chunk: int = 256
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The ``k`` gallery items most similar to each query, best first.

    Similarity is the cosine; a vector of zeros has similarity 0 to everything. Products are summed in float64 and
    rounded to float32 before sorting, so that equal gallery rows are ties however the matrix product groups them; ties
    go to the lower gallery index.

    Args:
        query_QD: query features, ``[Q, D]``.
        gallery_GD: gallery features, ``[G, D]``.
        k: neighbours a query, at least 1; above G it means the whole gallery.
        chunk: queries compared at once; bounds memory to about ``chunk * G * 12`` bytes.

    Returns:
        ``(indices, similarities)``: int64 and float32, both ``[Q, min(k, G)]``; similarities are in [-1, 1].

    Raises:
        ValueError: if k or chunk is below 1, the gallery is empty, or the widths differ.
    """
    if k < 1 or chunk < 1:
        raise ValueError(f"k and chunk must be at least 1, got k={k}, chunk={chunk}")
    if query_QD.ndim != 2 or gallery_GD.ndim != 2 or query_QD.shape[1] != gallery_GD.shape[1]:
        raise ValueError(f"features must be [Q, D] and [G, D], got {query_QD.shape} and {gallery_GD.shape}")
    if len(gallery_GD) == 0:
        raise ValueError("the gallery is empty")
    k = min(k, len(gallery_GD))
    indices_QK = np.empty((len(query_QD), k), np.int64)
    similarities_QK = np.empty((len(query_QD), k), np.float32)
    for start in range(0, len(query_QD), chunk):
        rows = slice(start, start + chunk)
        similarity_qG = similarities(query_QD[rows], gallery_GD)
        indices_QK[rows] = np.argsort(-similarity_qG, axis=1, kind="stable")[:, :k]
        similarities_QK[rows] = np.take_along_axis(similarity_qG, indices_QK[rows], axis=1)
    return indices_QK, similarities_QK


def similarities(query_QD: NDArray[np.float32], gallery_GD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosine of every query with every gallery item, float32 ``[Q, G]`` in [-1, 1]."""
    unit_QD = _unit(query_QD)
    cosine_QG = np.empty((len(query_QD), len(gallery_GD)), np.float32)
    for start in range(0, len(gallery_GD), 4096):  # float64 copies of a slice only, never of the whole gallery
        rows = slice(start, start + 4096)
        cosine_QG[:, rows] = unit_QD @ _unit(gallery_GD[rows]).T
    return np.clip(cosine_QG, -1.0, 1.0, out=cosine_QG)


def recall_at_k(
    query_QD: NDArray[np.float32],
    gallery_GD: NDArray[np.float32],
    query_labels: Labels,
    gallery_labels: Labels,
    *,
    ks: Sequence[int] = KS,
) -> dict[str, float]:
    """Recall@k in percent: the share of queries with at least one item of their class among the k nearest.

    A query whose class the gallery lacks is a miss at every k. A k above the gallery's size means the whole gallery.
    Paper section 4.3; ties as in :func:`nearest`.

    Args:
        query_QD: query features, ``[Q, D]``, at least one.
        gallery_GD: gallery features, ``[G, D]``, at least one.
        query_labels: class of each query, Q of them.
        gallery_labels: class of each gallery item, G of them, of the same kind.
        ks: the numbers of neighbours.

    Returns:
        ``{"R@1": 43.2, "R@5": …}`` in the order of ``ks``, each in [0, 100].

    Raises:
        ValueError: if labels and features differ in number, or either side is empty.
    """
    query, gallery = _checked_labels(query_labels, gallery_labels)
    if len(query) != len(query_QD) or len(gallery) != len(gallery_GD):
        raise ValueError(f"{len(query)} and {len(gallery)} labels for {len(query_QD)} and {len(gallery_GD)} features")
    indices_QK, _ = nearest(query_QD, gallery_GD, max(ks))
    right_QK = gallery[indices_QK] == query[:, None]
    return {f"R@{k}": 100.0 * float(right_QK[:, :k].any(axis=1).mean()) for k in ks}


def class_recall(
    query_QD: NDArray[np.float32],
    gallery_GD: NDArray[np.float32],
    data: Dataset,
    query: Sequence[int],
    gallery: Sequence[int],
    *,
    ks: Sequence[int] = KS,
) -> dict[str, float]:
    """``recall_at_k`` of labelled videos, by their numbers; ``related_at_k`` where one of them has several labels."""
    asked, there = data.videos(list(query)), data.videos(list(gallery))
    if any(video.several for video in (*asked, *there)):
        return related_at_k(query_QD, gallery_GD, related(data, query, gallery), ks=ks)
    labels, labels_there = ([video.label or "" for video in side] for side in (asked, there))
    return recall_at_k(query_QD, gallery_GD, labels, labels_there, ks=ks)


def related_at_k(
    query_QD: NDArray[np.float32],
    gallery_GD: NDArray[np.float32],
    related_QG: NDArray[np.bool_],
    *,
    ks: Sequence[int] = KS,
) -> dict[str, float]:
    """Recall@k where videos have several classes, and mAP beside it, in percent.

    A hit is any item among the k nearest that shares a class with the query. mAP is the mean over the queries of the
    average precision of their ranking; a query that nothing is related to counts 0.

    Args:
        related_QG: which items share a class with which query.

    Returns:
        ``{"R@1": …, …, "mAP": …}``.

    Raises:
        ValueError: shapes that do not belong together, or an empty side.
    """
    if not related_QG.size or related_QG.shape != (len(query_QD), len(gallery_GD)):
        raise ValueError(f"{related_QG.shape} relations of {len(query_QD)} queries and {len(gallery_GD)} gallery items")
    similarity_QG = similarities(query_QD, gallery_GD)
    ranked_QG = np.argsort(-similarity_QG, axis=1, kind="stable")
    right_QG = np.take_along_axis(related_QG, ranked_QG, axis=1)
    found = {f"R@{k}": 100.0 * float(right_QG[:, :k].any(axis=1).mean()) for k in ks}
    pairs = zip(similarity_QG, related_QG, strict=True)
    precisions = [average_precision(scores, true) if true.any() else 0.0 for scores, true in pairs]
    return {**found, "mAP": 100.0 * float(np.mean(precisions))}


def related_chance(related_QG: NDArray[np.bool_], *, ks: Sequence[int] = KS) -> dict[str, float]:
    """Expected ``related_at_k`` of a random ranking, in percent, exactly.

    Recall as in :func:`chance`. With m of G items related, place i holds one with probability m / G, and then each of
    the i - 1 places before it with probability (m - 1) / (G - 1): the mean precision there is
    (1 + (i - 1)(m - 1) / (G - 1)) / i.
    """
    members_Q, size = related_QG.sum(axis=1), related_QG.shape[1]

    def missed(m: int, k: int) -> float:
        return math.comb(size - m, min(k, size)) / math.comb(size, min(k, size))

    found = {f"R@{k}": 100.0 * float(np.mean([1 - missed(int(m), k) for m in members_Q])) for k in ks}
    places = np.arange(1, size + 1)
    each = [((1 + (places - 1) * (m - 1) / max(1, size - 1)) / places).mean() if m else 0.0 for m in members_Q]
    return {**found, "mAP": 100.0 * float(np.mean(each))}


def chance(query_labels: Labels, gallery_labels: Labels, *, ks: Sequence[int] = KS) -> dict[str, float]:
    """Expected Recall@k of a random ranking, in percent, exactly.

    With m of G gallery items in the query's class, k drawn without replacement all miss with probability
    C(G-m, k) / C(G, k) (hypergeometric); the mean over the queries of one minus that.

    Raises:
        ValueError: if either side is empty.
    """
    query, gallery = _checked_labels(query_labels, gallery_labels)
    size = len(gallery)
    count = Counter(gallery.tolist())
    members = Counter(count[label] for label in query.tolist())  # class size in the gallery -> queries with it

    def expected(k: int) -> float:
        k = min(k, size)
        hits = sum(n * (1.0 - math.comb(size - m, k) / math.comb(size, k)) for m, n in members.items())
        return 100.0 * hits / len(query)

    return {f"R@{k}": expected(k) for k in ks}


def _unit(x_ND: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rows scaled to length 1 in float64; rows of zeros stay zero."""
    x = np.asarray(x_ND, np.float64)
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(x, norm, out=np.zeros_like(x), where=norm > 0)
    return unit


def _checked_labels(query_labels: Labels, gallery_labels: Labels) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    query, gallery = np.asarray(query_labels), np.asarray(gallery_labels)
    if len(query) == 0 or len(gallery) == 0:
        raise ValueError(f"retrieval needs queries and a gallery, got {len(query)} and {len(gallery)}")
    return query.astype(np.str_), gallery.astype(np.str_)
