from __future__ import annotations

import numpy as np
import pytest

from cacl.config import resolve
from cacl.evaluation.health import feature_health, warnings_from
from cacl.methods.curves import Curve
from cacl.presets import PRESETS

rng = np.random.default_rng(0)


def test_even_directions_have_std_one_and_nearly_full_rank():
    health = feature_health(rng.normal(size=(4000, 32)).astype(np.float32))
    assert health["std"] == pytest.approx(1, abs=0.02)
    assert 31 < health["effective_rank"] <= 32


def test_equal_rows_are_collapsed():
    same = np.repeat(rng.normal(size=(1, 64)).astype(np.float32), 50, axis=0)
    health = feature_health(same)
    assert health["std"] < 1e-6
    assert health["effective_rank"] == 1


def test_scale_of_rows_does_not_count():
    x = rng.normal(size=(40, 8)).astype(np.float32)
    scaled = x * rng.uniform(0.1, 10, size=(40, 1)).astype(np.float32)
    assert feature_health(scaled) == pytest.approx(feature_health(x), rel=1e-4)


def test_rank_by_hand():
    # Four unit vectors with mean zero: singular values sqrt(2) (1, 1), then with half the weight on one axis.
    x = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)
    assert feature_health(x)["effective_rank"] == pytest.approx(2)
    x = np.array([[1, 0, 0]] * 3 + [[-1, 0, 0]] * 3 + [[0, 1, 0], [0, -1, 0]], np.float32)
    p = np.array([6**0.5, 2**0.5]) / (6**0.5 + 2**0.5)
    assert feature_health(x)["effective_rank"] == pytest.approx(np.exp(-(p * np.log(p)).sum()))


def test_one_row_is_refused():
    with pytest.raises(ValueError, match="at least two"):
        feature_health(np.ones((1, 4), np.float32))


GOOD = {
    "kind": "train",
    "degree_accuracy": 0.3,
    "similarity_gq_gk": 0.8,
    "similarity_gq_tq": 0.7,
    "similarity_gq_tk": 0.6,
    "similarity_tq_tk": 0.97,
    "grad_nce": 0.1,
    "grad_degree": 0.05,
    "feature_std": 0.7,
    "feature_rank": 40.0,
}


def warned(rows, *, frames=16, **method):
    """What the end of a run of CACL says of these rows."""
    flags = {f"method.{key}": value for key, value in method.items()}
    settings = resolve(PRESETS["paper"], flags=flags).settings.method
    return [*warnings_from(rows, settings.curves(frames)), *settings.warnings(rows)]


def rows(**changed):
    return [{**GOOD, **changed, "step": step} for step in range(40)]


def test_a_healthy_run_has_no_warning():
    assert warned(rows()) == []
    assert warned([]) == []
    assert warned([{"kind": "evaluation"}]) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"degree_accuracy": 0.07}, ["degree task has not started", "7.0%", "6.2%"]),
        (
            {"similarity_gq_gk": 0.2, "similarity_gq_tq": 0.1, "similarity_gq_tk": 0.1, "similarity_tq_tk": 0.99},
            ["(Tq,Tk)", "0.99", "released form"],
        ),
        ({"grad_nce": 1e-5}, ["Almost no gradient", "1.0e-05"]),
        ({"feature_std": 0.01}, ["collapsed", "standard deviation 0.01"]),
        ({"feature_rank": 1.4}, ["collapsed", "effective rank 1.4"]),
    ],
)
def test_each_failure_has_its_sentence(changed, words):
    (sentence,) = warned(rows(**changed))
    assert all(word in sentence for word in words)
    assert "Try" in sentence or "try" in sentence


def test_chance_follows_the_number_of_degrees():
    (sentence,) = warned(rows(degree_accuracy=0.18), frames=8)
    assert "guessing gives 12.5%" in sentence
    assert warned(rows(degree_accuracy=0.19), frames=8) == []


@pytest.mark.parametrize(
    ("chance", "begun", "not_begun"),
    [(0.5, 0.56, 0.54), (0.25, 0.33, 0.32), (1 / 6, 0.251, 0.249), (1 / 16, 0.094, 0.093)],
)
def test_of_few_classes_a_task_has_begun_well_before_half_again_of_guessing(chance, begun, not_begun):
    curve = Curve("Speed accuracy", {"accuracy": "training clips"}, chance=chance, advice="Try it.")
    assert warnings_from([{"accuracy": begun}] * 8, [curve]) == []
    (sentence,) = warnings_from([{"accuracy": not_begun}] * 8, [curve])
    assert "The speed task has not started" in sentence


def test_only_the_last_quarter_counts():
    started = rows(degree_accuracy=0.06)[:30] + rows()[30:]
    assert warned(started) == []


def test_a_vanishing_gradient_is_seen_without_a_degree_loss():
    train = rows(grad_degree=None)
    for row in train[20:]:
        row["grad_nce"] = 1e-4
    assert "Almost no gradient" in warned(train)[0]


def test_an_ablation_without_a_part_gets_no_warning_about_it():
    vmoco = [{"kind": "train", "similarity_gq_gk": 0.99, "degree_accuracy": float("nan"), "feature_std": 0.7}] * 10
    assert warned(vmoco, pairs=["gq_gk"]) == []
    unlearnt = [{"kind": "train", "degree_accuracy": 0.01, "feature_std": 0.7}] * 10  # measured, of weight 0
    assert warned(unlearnt, degree_weight=0.0) == []
