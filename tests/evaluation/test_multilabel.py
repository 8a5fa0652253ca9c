"""mAP against scikit-learn, top-k and relations against loops, chance against every ranking."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from cacl.evaluation.multilabel import average_precision, multilabel, truth_matrix
from cacl.evaluation.retrieval import related_at_k, related_chance


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40))
def test_average_precision_is_scikit_learns_ties_and_all(rows: list[tuple[int, bool]]) -> None:
    scores, truth = np.array([r[0] for r in rows], float), np.array([r[1] for r in rows])
    if not truth.any():
        with pytest.raises(ValueError, match="at least one"):
            average_precision(scores, truth)
        return
    assert average_precision(scores, truth) == pytest.approx(average_precision_score(truth, scores))


def test_map_is_the_mean_over_classes_that_a_video_has_and_top_k_takes_any_of_its_classes() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((30, 9))
    labels = [sorted(set(rng.integers(0, 8, rng.integers(1, 4)).tolist())) for _ in range(30)]  # nobody has class 8
    truth, names = truth_matrix(labels, 9), tuple("abcdefghi")
    found = multilabel(scores, truth, names)
    each = {names[k]: 100 * average_precision_score(truth[:, k], scores[:, k]) for k in range(8)}
    assert found.per_class == pytest.approx(each)
    assert found.map == pytest.approx(np.mean(list(each.values())))
    first = [np.argsort(-row).tolist() for row in scores]
    for k, value in ((1, found.top1), (5, found.top5)):
        assert value == pytest.approx(
            100 * np.mean([bool(set(f[:k]) & set(own)) for f, own in zip(first, labels, strict=True)])
        )
    assert found.numbers == {"mAP": found.map, "top-1": found.top1, "top-5": found.top5}
    with pytest.raises(ValueError, match="scores for"):
        multilabel(scores, truth, names[:3])


def test_relations_of_queries_that_share_a_class() -> None:
    rng = np.random.default_rng(1)
    query, gallery = rng.normal(size=(7, 5)).astype(np.float32), rng.normal(size=(12, 5)).astype(np.float32)
    related = rng.random((7, 12)) < 0.3
    related[3] = False
    found = related_at_k(query, gallery, related, ks=(1, 3, 50))
    cosine = query @ gallery.T / np.linalg.norm(query, axis=1)[:, None] / np.linalg.norm(gallery, axis=1)
    for k in (1, 3, 50):
        hits = [any(related[q, g] for g in np.argsort(-cosine[q])[:k]) for q in range(7)]
        assert found[f"R@{k}"] == pytest.approx(100 * np.mean(hits))
    precisions = [average_precision_score(related[q], cosine[q]) if related[q].any() else 0.0 for q in range(7)]
    assert found["mAP"] == pytest.approx(100 * np.mean(precisions))


def test_chance_is_the_mean_over_every_ranking() -> None:
    related = np.array([[1, 0, 0, 0, 0], [1, 1, 0, 1, 0], [0] * 5, [1] * 5], bool)
    found = related_chance(related, ks=(1, 2, 9))
    recalls = {k: [] for k in (1, 2, 9)}
    precisions = []
    for row in related:
        orders = [row[list(order)] for order in permutations(range(5))]
        for k in recalls:
            recalls[k].append(np.mean([order[:k].any() for order in orders]))
        scores = -np.arange(5.0)
        precisions.append(np.mean([average_precision_score(order, scores) for order in orders]) if row.any() else 0.0)
    assert found == pytest.approx(
        {**{f"R@{k}": 100 * np.mean(v) for k, v in recalls.items()}, "mAP": 100 * np.mean(precisions)}
    )
