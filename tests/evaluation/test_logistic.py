from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from cacl.evaluation.probes import PENALTIES, fit_logistic, fit_probe


def mixed(count=200, width=6, classes=4, seed=0):
    """Overlapping classes of features with very different units."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, count)
    centres = rng.normal(size=(classes, width))
    x = (centres[y] + rng.normal(size=(count, width))) * 10.0 ** rng.integers(-3, 4, width) + rng.normal(size=width)
    return x, y


@pytest.mark.parametrize("penalty", [10.0, 0.1, 1e-3])
def test_the_optimum_is_that_of_scikit_learn(penalty):
    x, y = mixed()
    found = fit_logistic(x, y, classes=4, penalty=penalty)
    scaled = StandardScaler().fit_transform(x)
    # mean loss + penalty / 2 w² is C times sum of losses + w² / 2 with C = 1 / (N penalty)
    other = LogisticRegression(C=1 / (len(x) * penalty), tol=1e-10, max_iter=10000).fit(scaled, y)
    np.testing.assert_allclose(found.weight.T.numpy(), other.coef_, atol=1e-5)
    probability = found.scores(x).softmax(dim=1).numpy()
    np.testing.assert_allclose(probability, other.predict_proba(scaled), atol=1e-5)


def test_the_gradient_vanishes_and_the_start_does_not_matter():
    x, y = mixed(width=30)
    cold = fit_logistic(x, y, classes=4, penalty=1e-3)
    warm = fit_logistic(x, y, classes=4, penalty=1e-3, start=fit_logistic(x, y, classes=4, penalty=1.0))
    torch.testing.assert_close(warm.weight, cold.weight, rtol=0, atol=1e-5)
    z = (x - x.mean(0)) / x.std(0)
    error = cold.scores(x).softmax(dim=1).numpy() - np.eye(4)[y]
    assert np.abs(z.T @ error / len(x) + 1e-3 * cold.weight.numpy()).max() < 1e-6
    assert np.abs(error.mean(axis=0)).max() < 1e-6  # of the bias, which has no penalty


def test_missing_classes_and_constant_features_do_no_harm():
    x, y = mixed(classes=3)
    x = np.concatenate([x, np.full((len(x), 1), 7.0)], axis=1)
    found = fit_logistic(x, y, classes=5, penalty=0.1)
    assert bool(found.scores(x).isfinite().all())
    assert set(found.scores(x).argmax(dim=1).tolist()) <= {0, 1, 2}
    assert float(found.weight[-1].abs().max()) == 0


def test_equal_features_answer_with_the_shares_of_the_classes():
    y = np.array([0, 0, 0, 1])
    found = fit_logistic(np.ones((4, 2)), y, classes=2, penalty=0.1)
    np.testing.assert_allclose(found.scores(np.ones((1, 2))).softmax(dim=1)[0], [0.75, 0.25], atol=1e-6)


def test_whole_videos_are_held_out():
    """Features that name the video and nothing else: clips of one video on both sides would choose a small penalty."""
    rng = np.random.default_rng(0)
    video = np.repeat(np.arange(40), 6)
    classes = rng.integers(0, 2, 40)[video]
    found = fit_probe(np.eye(40, dtype=np.float32)[video], classes, video, classes=2)
    assert found.penalty == max(PENALTIES)


def test_the_penalty_follows_the_data():
    rng = np.random.default_rng(0)
    video = np.repeat(np.arange(60), 4)
    y = np.tile([0, 1], 120)
    clear = np.stack([y + 0.01 * rng.normal(size=240), rng.normal(size=240)], axis=1).astype(np.float32)
    assert fit_probe(clear, y, video, classes=2).penalty == min(PENALTIES)
    noise = rng.normal(size=(240, 100)).astype(np.float32)
    assert fit_probe(noise, y, video, classes=2).penalty >= 1


def test_probes_repeat_bit_for_bit_and_leave_the_random_state_alone():
    x, y = mixed()
    video, state = np.arange(200) // 4, torch.random.get_rng_state()
    one, two = (fit_probe(x.astype(np.float32), y, video, classes=4) for _ in range(2))
    assert torch.equal(one.weight, two.weight)
    assert torch.equal(one.bias, two.bias)
    assert torch.equal(state, torch.random.get_rng_state())
    with torch.no_grad():
        assert torch.equal(fit_probe(x.astype(np.float32), y, video, classes=4).weight, one.weight)


def test_too_few_videos_are_refused():
    with pytest.raises(ValueError, match="3 videos or more"):
        fit_probe(np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), classes=2)
