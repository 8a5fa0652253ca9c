from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, mean_absolute_error

from cacl.data.clips.shuffle import possible_degrees
from cacl.evaluation.task_test import score, task_confusion
from cacl.methods.degree import ShuffleDegree
from cacl.reports.figures import save_figure
from cacl.reports.heatmap import confusion_figure

DEGREES = possible_degrees(16)


def drawn(count, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 16, count)
    return true, np.clip(true + rng.integers(-2, 3, count), 0, 15)


def test_counts_and_numbers_are_those_of_scikit_learn():
    true, predicted = drawn(300)
    found = task_confusion(true, predicted, DEGREES)
    np.testing.assert_array_equal(found.counts, confusion_matrix(true, predicted, labels=range(16)))
    degrees = np.array(DEGREES)
    numbers = found.numbers()
    assert numbers["accuracy"] == pytest.approx(100 * accuracy_score(true, predicted))
    assert numbers["mean error"] == pytest.approx(mean_absolute_error(degrees[true], degrees[predicted]))
    assert numbers["within one"] == pytest.approx(
        100 * np.mean([abs(degrees[t] - degrees[p]) <= 1 for t, p in zip(true, predicted, strict=True)])
    )
    best = min(mean_absolute_error(degrees[true], np.full(300, degree)) for degree in DEGREES)
    assert numbers["error of one answer"] == pytest.approx(best)
    assert numbers["pairs"] == 300


def test_the_numbers_are_those_of_the_training_s_end():
    true, predicted = drawn(50, seed=1)
    logits = torch.nn.functional.one_hot(torch.from_numpy(predicted), 16).float()
    expected = score(ShuffleDegree(4), logits, torch.from_numpy(true))
    numbers = task_confusion(true, predicted, DEGREES).numbers()
    assert (numbers["accuracy"], numbers["mean error"]) == pytest.approx((expected.accuracy, expected.mean_error))


def test_degree_one_does_not_exist_so_nought_and_two_are_two_apart():
    numbers = task_confusion(np.array([0, 1]), np.array([1, 1]), DEGREES).numbers()
    assert numbers["mean error"] == 1
    assert numbers["within one"] == 50


@pytest.mark.parametrize("frames", [2, 16])
def test_the_picture_is_drawn_when_degrees_are_missing(tmp_path, frames):
    found = task_confusion(np.array([0, 0]), np.array([0, 1]), possible_degrees(frames))
    save_figure(confusion_figure(found.counts, [str(d) for d in found.values], what="degree"), tmp_path / "d.png")
    assert min(Image.open(tmp_path / "d.png").size) > 400


@pytest.mark.parametrize(("true", "predicted"), [([], []), ([0], [0, 1]), ([16], [0]), ([0], [-1])])
def test_what_cannot_be_counted_is_refused(true, predicted):
    with pytest.raises(ValueError, match=r"degrees|classes"):
        task_confusion(np.array(true, np.int64), np.array(predicted, np.int64), DEGREES)
