"""The probes against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from cacl.evaluation.probes import fit_linear, neighbour_scores


def clouds(per_class=20, classes=4, width=6, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, width))
    labels = np.repeat(np.arange(classes), per_class)
    return (centres[labels] + 1.5 * rng.normal(size=(len(labels), width))).astype(np.float32), labels


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_the_linear_probe_is_scikit_learns_logistic_regression(strength):
    features, labels = clouds()
    features = features * np.array([1, 10, 0.1, 1, 1, 1], np.float32) + 5  # standardised inside
    scaler = StandardScaler().fit(features)
    reference = LogisticRegression(C=strength, tol=1e-10, max_iter=10000).fit(scaler.transform(features), labels)
    linear = fit_linear(features, labels[:, None].tolist(), classes=4, strength=strength)
    fresh = 5 + np.random.default_rng(1).normal(size=(50, 6)).astype(np.float32)
    with torch.no_grad():
        found = linear(torch.from_numpy(fresh)).softmax(dim=1).numpy()
    assert found == pytest.approx(reference.predict_proba(scaler.transform(fresh)), abs=2e-3)


def test_the_linear_probe_is_the_same_every_time_and_leaves_the_random_state():
    features, labels = clouds()
    torch.manual_seed(3)
    first = fit_linear(features, labels[:, None].tolist(), classes=4, strength=1.0)
    torch.manual_seed(7)
    second = fit_linear(features, labels[:, None].tolist(), classes=4, strength=1.0)
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)


def test_features_that_never_change_and_classes_without_a_sample_do_no_harm():
    features, labels = clouds(classes=3)
    features = np.concatenate([features, np.full((len(features), 1), 7.25, np.float32)], axis=1)
    linear = fit_linear(features, labels[:, None].tolist(), classes=5, strength=1.0)
    assert torch.isfinite(linear.weight).all()
    with torch.no_grad():
        told = linear(torch.from_numpy(features)).argmax(dim=1)
    assert set(told.tolist()) <= {0, 1, 2}


def test_neighbours_vote_as_in_scikit_learn():
    gallery, labels = clouds(per_class=15)
    query, _ = clouds(per_class=5, seed=0)
    query = query + 0.3
    reference = KNeighborsClassifier(
        n_neighbors=10, metric="cosine", algorithm="brute", weights=lambda d: np.exp(-d / 0.07)
    ).fit(gallery, labels)
    scores = neighbour_scores(query, gallery, labels[:, None].tolist(), classes=4, neighbours=10, temperature=0.07)
    found = scores / scores.sum(axis=1, keepdims=True)
    assert found == pytest.approx(reference.predict_proba(query), abs=1e-4)


def test_one_label_a_class_is_the_nearest_neighbour():
    gallery, query = np.eye(3, dtype=np.float32), np.array([[0.1, 0.9, 0.2], [1, 0, 0.9]], np.float32)
    assert neighbour_scores(query, gallery, [[2], [0], [1]], classes=3).argmax(axis=1).tolist() == [0, 2]


def several(seed=0, count=80):
    features, first = clouds(per_class=count // 4)
    rng = np.random.default_rng(seed)
    return features, [sorted({int(a), int(b)}) for a, b in zip(first, rng.integers(0, 4, count), strict=True)]


def test_of_several_classes_the_linear_probe_is_scikit_learns_one_model_a_class():
    features, labels = several()
    scaler = StandardScaler().fit(features)
    truth = np.array([[k in own for k in range(4)] for own in labels])
    reference = OneVsRestClassifier(LogisticRegression(C=0.5, tol=1e-10, max_iter=10000))
    reference.fit(scaler.transform(features), truth)
    linear = fit_linear(features, labels, classes=4, strength=0.5)
    fresh = np.random.default_rng(1).normal(size=(50, 6)).astype(np.float32)
    with torch.no_grad():
        found = linear(torch.from_numpy(fresh)).sigmoid().numpy()
    assert found == pytest.approx(reference.predict_proba(scaler.transform(fresh)), abs=2e-3)


def test_a_neighbour_of_several_classes_votes_for_each():
    features, labels = several()
    query = features[:7] + 0.2
    found = neighbour_scores(query, features, labels, classes=4, neighbours=5, temperature=0.07)
    cosine = query @ features.T / np.linalg.norm(query, axis=1)[:, None] / np.linalg.norm(features, axis=1)
    for row, scores in zip(cosine, found, strict=True):
        votes = np.zeros(4)
        for g in np.argsort(-row)[:5]:
            for label in labels[g]:
                votes[label] += np.exp((row[g] - 1) / 0.07)
        assert scores == pytest.approx(votes, rel=1e-3)
