"""Tests of a temporal task: which examples are drawn, what the network sees of them, and the classifier beside it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from cacl.data.clips.shuffle import DegreeSampler, possible_degrees
from cacl.data.videos.catalog import Catalog
from cacl.data.videos.dataset import Dataset
from cacl.evaluation.task_test import TaskExamples, difference_baseline, draw_examples, score
from cacl.methods.degree import ShuffleDegree
from cacl.methods.differences import pair_differences
from cacl.models.encoder import ClipSpec

SPEC = ClipSpec(size=12)
DEGREE = ShuffleDegree(4)


def drawn(made, *, task=DEGREE, **options):
    source, videos = made
    data = Dataset(Catalog(Path("."), tuple(videos)), source)
    values = {"purpose": "test", "draws": 2, "seed": 0, **options}
    return draw_examples(task, data, SPEC, **values)


def test_examples_repeat_and_do_not_depend_on_threads(make_videos):
    made = make_videos(count=4, broken=(2,))
    one = drawn(made, purpose="train", draws=3, seed=1, threads=1)
    two = drawn(made, purpose="train", draws=3, seed=1, threads=3)
    np.testing.assert_array_equal(one.differences, two.differences)
    np.testing.assert_array_equal(one.classes, two.classes)
    assert one.differences.shape == (9, 14)
    assert [s.path for s in one.skipped] == ["v2.mp4"]
    other = drawn(made, draws=3, seed=1)
    assert (other.classes != one.classes).any()


def test_a_network_meets_the_examples_that_the_differences_describe(make_videos):
    met = []

    class Watched(ShuffleDegree):
        def forward(self, clip, twin, uniforms=None):
            assert clip.shape == twin.shape == (2, 3, 16, 12, 12)
            for x, y in zip(clip, twin, strict=True):
                permutation = [next(t for t in range(16) if torch.equal(x[:, t], y[:, s])) for s in range(16)]
                met.append(pair_differences(x, np.array(permutation)))
            return torch.zeros(len(clip), 16)

    task = Watched(4)
    examples = drawn(make_videos(count=3), task=task, encoder=torch.nn.Identity())
    np.testing.assert_allclose(np.stack(met), examples.differences, atol=1e-5)
    assert examples.logits is not None
    assert examples.network_result(task).cross_entropy == pytest.approx(math.log(16))


def test_asking_for_a_network_that_was_not_given_is_refused(make_videos):
    with pytest.raises(ValueError, match="without a network"):
        drawn(make_videos(count=1), draws=1).network_result(DEGREE)


def test_score_by_hand():
    logits = torch.full((4, 16), -50.0)
    for row, predicted in enumerate([0, 1, 5, 0]):
        logits[row, predicted] = 0.0
    result = score(DEGREE, logits, torch.tensor([0, 1, 3, 1]))
    assert result.accuracy == 50
    assert result.mean_error == pytest.approx((0 + 0 + 2 + 2) / 4)  # classes 0 and 1 are degrees 0 and 2
    assert result.cross_entropy == pytest.approx((0 + 0 + 50 + 50) / 4, rel=1e-3)


def test_classes_without_an_order_have_no_mean_error():
    class Unordered(ShuffleDegree):
        ordered = False

    assert score(Unordered(4), torch.zeros(2, 16), torch.tensor([0, 1])).mean_error is None


def drifting_pairs(count, seed):
    """Pairs whose frames move steadily, so that differences grow with the lag."""
    rng, sampler = np.random.default_rng(seed), DegreeSampler(16)
    features, classes = [], []
    for _ in range(count):
        base, move = rng.random((3, 4, 4)), rng.normal(size=(3, 4, 4)) * 0.02
        clip = np.stack([base + t * move for t in range(16)], axis=1).astype(np.float32)
        permutation, degree = sampler.draw(rng)
        features.append(pair_differences(torch.from_numpy(clip), permutation))
        classes.append(max(degree - 1, 0))
    return TaskExamples(np.stack(features), np.array(classes, np.int64), None, ())


def test_frame_differences_tell_degrees_of_steady_motion_far_above_chance():
    train, test = drifting_pairs(600, 0), drifting_pairs(300, 1)
    state = torch.random.get_rng_state()
    result = difference_baseline(DEGREE, train, test, steps=600)
    assert result.accuracy > 20
    assert result.cross_entropy < 2.3
    assert result.examples == 300
    assert torch.equal(state, torch.random.get_rng_state())
    assert difference_baseline(DEGREE, train, test, steps=600) == result


@pytest.mark.parametrize("frames", [2, 3, 4, 8])
def test_clips_of_other_lengths_have_as_many_classes_as_degrees(make_videos, frames):
    task, classes = ShuffleDegree(4, frames=frames), len(possible_degrees(frames))
    train, test = (drawn(make_videos(count=3), task=task, purpose=purpose, draws=8) for purpose in ("train", "test"))
    assert set(train.classes) <= set(range(classes))
    result = difference_baseline(task, train, test, steps=40)
    assert result.examples == len(test.classes) == 24
    assert 0 < result.cross_entropy < 3 * math.log(classes) + 1  # finite, and about what guessing costs


def test_labels_that_mean_nothing_stay_at_chance():
    train, test = drifting_pairs(400, 0), drifting_pairs(400, 1)
    mixed = TaskExamples(train.differences, np.random.default_rng(0).integers(0, 16, 400), None, ())
    assert difference_baseline(DEGREE, mixed, test, steps=200).accuracy < 15
