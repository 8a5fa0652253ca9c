from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from cacl.evaluation.retrieval import chance, nearest, recall_at_k


def brute_force(query, gallery, query_labels, gallery_labels, ks):
    hits = dict.fromkeys(ks, 0)
    for q, label in zip(query, query_labels, strict=True):
        ranking = []
        for i, g in enumerate(gallery):
            cosine = sum(float(a) * float(b) for a, b in zip(q, g, strict=True))
            cosine /= sum(float(a) ** 2 for a in q) ** 0.5 * sum(float(b) ** 2 for b in g) ** 0.5
            ranking.append((-cosine, i))
        ranking.sort()
        for k in ks:
            hits[k] += any(gallery_labels[i] == label for _, i in ranking[:k])
    return {f"R@{k}": 100 * hits[k] / len(query) for k in ks}


def features(seed, queries=23, gallery=57, width=6):
    rng = np.random.default_rng(seed)
    query = rng.normal(size=(queries, width)).astype(np.float32)
    other = rng.normal(size=(gallery, width)).astype(np.float32)
    return query, other, [f"c{i}" for i in rng.integers(0, 5, queries)], [f"c{i}" for i in rng.integers(0, 5, gallery)]


@pytest.mark.parametrize("seed", range(5))
def test_recall_is_that_of_a_brute_force_loop(seed):
    query, gallery, query_labels, gallery_labels = features(seed)
    ks = (1, 2, 5, 10)
    expected = brute_force(query, gallery, query_labels, gallery_labels, ks)
    assert recall_at_k(query, gallery, query_labels, gallery_labels, ks=ks) == pytest.approx(expected)


@pytest.mark.parametrize("chunk", [1, 7, 256])
def test_neighbours_are_those_of_scikit_learn(chunk):
    query, gallery, _, _ = features(1)
    distances, expected = NearestNeighbors(n_neighbors=9, metric="cosine").fit(gallery).kneighbors(query)
    indices, similarity = nearest(query, gallery, 9, chunk=chunk)
    assert (indices == expected).all()
    np.testing.assert_allclose(similarity, 1 - distances, atol=1e-5)


def test_ties_go_to_the_lower_gallery_index():
    rng = np.random.default_rng(0)
    distinct = rng.normal(size=(4, 300)).astype(np.float32)
    gallery = distinct[rng.integers(0, 4, 5003)]  # many copies, at every place of the matrix product
    indices, similarity = nearest(rng.normal(size=(3, 300)).astype(np.float32), gallery, len(gallery))
    for order, values in zip(indices, similarity, strict=True):
        assert len(np.unique(values)) == 4
        for value in np.unique(values):
            assert (np.diff(order[values == value]) > 0).all()


def test_a_tie_decides_recall_by_the_lower_index():
    gallery = np.array([[1, 0], [1, 0]], np.float32)
    query = np.array([[2, 0]], np.float32)
    assert recall_at_k(query, gallery, ["a"], ["a", "b"], ks=(1,)) == {"R@1": 100.0}
    assert recall_at_k(query, gallery, ["a"], ["b", "a"], ks=(1,)) == {"R@1": 0.0}


def test_scale_does_not_count_and_zeros_are_similar_to_nothing():
    gallery = np.array([[0, 0], [-1, 0], [5, 5]], np.float32)
    indices, similarity = nearest(np.array([[0.1, 0.1]], np.float32), gallery, 3)
    assert indices.tolist() == [[2, 0, 1]]
    np.testing.assert_allclose(similarity, [[1, 0, -np.sqrt(0.5)]], atol=1e-6)


def test_k_above_the_gallery_means_the_whole_gallery():
    query, gallery, query_labels, gallery_labels = features(2, gallery=8)
    scores = recall_at_k(query, gallery, query_labels, gallery_labels, ks=(8, 50))
    assert scores["R@8"] == scores["R@50"]
    assert nearest(query, gallery, 50)[0].shape == (23, 8)


def test_a_class_that_the_gallery_lacks_is_a_miss():
    query, gallery, _, gallery_labels = features(3)
    assert recall_at_k(query, gallery, ["new"] * 23, gallery_labels)["R@50"] == 0


@given(st.integers(0, 1000))
def test_recall_grows_with_k_and_does_not_depend_on_the_order_of_the_queries(seed):
    query, gallery, query_labels, gallery_labels = features(seed, queries=9, gallery=20)
    scores = recall_at_k(query, gallery, query_labels, gallery_labels, ks=(1, 5, 10, 20))
    values = list(scores.values())
    assert values == sorted(values)
    turned = recall_at_k(query[::-1], gallery, query_labels[::-1], gallery_labels, ks=(1, 5, 10, 20))
    assert turned == pytest.approx(scores)


def test_chance_is_what_random_rankings_give():
    rng = np.random.default_rng(0)
    gallery = ["a"] * 3 + ["b"] * 12 + ["c"] * 5
    query = ["a"] * 4 + ["b"] * 2 + ["missing"]
    ks = (1, 5, 10, 50)
    hits = np.zeros(len(ks))
    for _ in range(20000):
        ranking = rng.permutation(gallery)
        label = query[rng.integers(len(query))]
        hits += [(ranking[:k] == label).any() for k in ks]
    expected = chance(query, gallery, ks=ks)
    np.testing.assert_allclose(list(expected.values()), hits / 200, atol=1.5)
    assert expected["R@1"] == pytest.approx(100 * (4 * 3 / 20 + 2 * 12 / 20) / 7)
    assert expected["R@50"] == pytest.approx(100 * 6 / 7)


@pytest.mark.parametrize("k", [0, -1])
def test_impossible_k_is_refused(k):
    with pytest.raises(ValueError, match="at least 1"):
        nearest(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32), k)


def test_mismatched_input_is_refused():
    one = np.ones((1, 2), np.float32)
    with pytest.raises(ValueError, match="features must be"):
        nearest(one, np.ones((1, 3), np.float32), 1)
    with pytest.raises(ValueError, match="empty"):
        nearest(one, np.ones((0, 2), np.float32), 1)
    with pytest.raises(ValueError, match="labels for"):
        recall_at_k(one, one, ["a", "b"], ["a"])
    with pytest.raises(ValueError, match="needs queries"):
        chance([], ["a"])
