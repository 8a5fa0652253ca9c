from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from array_videos import clip_of, data_of

from cacl.data.clips.shuffle import DegreeSampler, possible_degrees
from cacl.evaluation.degree_baseline import (
    DegreePairs,
    degree_baseline,
    difference_features,
    draw_pairs,
    score,
)


def slow_seven(frames):
    """The seven numbers of a list of frames (fewer below five), from their definition."""

    def difference(a, b):
        return sum(abs(float(x) - float(y)) for x, y in zip(a.ravel(), b.ravel(), strict=True)) / a.size

    lags = [lag for lag in (1, 2, 3, 4) if lag < len(frames)]
    means = [np.mean([difference(frames[i], frames[i + lag]) for i in range(len(frames) - lag)]) for lag in lags]
    steps = [difference(a, b) for a, b in pairwise(frames)]
    return [math.log(v + 0.1 / 255) for v in [*means, max(steps), float(np.median(steps)), min(steps)]]


@pytest.mark.parametrize(("count", "numbers"), [(2, 8), (3, 10), (4, 12), (5, 14), (8, 14)])
def test_features_are_those_of_the_definition(count, numbers):
    rng = np.random.default_rng(0)
    clip = rng.random((3, count, 4, 5)).astype(np.float32)
    permutation = rng.permutation(count)
    frames = [clip[:, t] for t in range(count)]
    assert difference_features(torch.from_numpy(clip), permutation).shape == (numbers,)
    expected = [*slow_seven(frames), *slow_seven([frames[t] for t in permutation])]
    np.testing.assert_allclose(difference_features(torch.from_numpy(clip), permutation), expected, atol=1e-5)


def test_still_frames_have_finite_features():
    assert np.isfinite(difference_features(torch.full((3, 16, 4, 4), 0.5), np.arange(16))).all()


def test_pairs_repeat_and_do_not_depend_on_threads(make_videos):
    source, videos = make_videos(count=4, broken=(2,))
    one = draw_pairs(data_of(source, videos), clip_of(12), purpose="train", draws=3, seed=1, threads=1)
    two = draw_pairs(data_of(source, videos), clip_of(12), purpose="train", draws=3, seed=1, threads=3)
    np.testing.assert_array_equal(one.features, two.features)
    np.testing.assert_array_equal(one.classes, two.classes)
    assert one.features.shape == (9, 14)
    assert [s.path for s in one.skipped] == ["v2.mp4"]
    other = draw_pairs(data_of(source, videos), clip_of(12), purpose="test", draws=3, seed=1)
    assert (other.classes != one.classes).any()


def test_a_network_meets_the_pairs_that_the_features_describe(make_videos):
    source, videos = make_videos(count=3)
    met = []

    def network(clip, twin):
        assert clip.shape == twin.shape == (2, 3, 16, 12, 12)
        for x, y in zip(clip, twin, strict=True):
            permutation = [next(t for t in range(16) if torch.equal(x[:, t], y[:, s])) for s in range(16)]
            met.append(difference_features(x, np.array(permutation)))
        return torch.zeros(len(clip), 16)

    pairs = draw_pairs(data_of(source, videos), clip_of(12), purpose="test", draws=2, seed=0, network=network)
    np.testing.assert_allclose(np.stack(met), pairs.features, atol=1e-5)
    assert pairs.logits is not None
    assert pairs.network_result().cross_entropy == pytest.approx(math.log(16))


def test_asking_for_a_network_that_was_not_given_is_refused(make_videos):
    source, videos = make_videos(count=1)
    with pytest.raises(ValueError, match="without a network"):
        draw_pairs(data_of(source, videos), clip_of(12), purpose="test", draws=1, seed=0).network_result()


def test_score_by_hand():
    logits = torch.full((4, 16), -50.0)
    for row, predicted in enumerate([0, 1, 5, 0]):
        logits[row, predicted] = 0.0
    result = score(logits, torch.tensor([0, 1, 3, 1]))
    assert result.accuracy == 50
    assert result.mean_error == pytest.approx((0 + 0 + 2 + 2) / 4)  # classes 0 and 1 are degrees 0 and 2
    assert result.cross_entropy == pytest.approx((0 + 0 + 50 + 50) / 4, rel=1e-3)


def drifting_pairs(count, seed):
    """Pairs whose frames move steadily, so that differences grow with the lag."""
    rng, sampler = np.random.default_rng(seed), DegreeSampler(16)
    features, classes = [], []
    for _ in range(count):
        base, move = rng.random((3, 4, 4)), rng.normal(size=(3, 4, 4)) * 0.02
        clip = np.stack([base + t * move for t in range(16)], axis=1).astype(np.float32)
        permutation, degree = sampler.draw(rng)
        features.append(difference_features(torch.from_numpy(clip), permutation))
        classes.append(max(degree - 1, 0))
    return DegreePairs(np.stack(features), np.array(classes, np.int64), None, ())


def test_frame_differences_tell_degrees_of_steady_motion_far_above_chance():
    train, test = drifting_pairs(600, 0), drifting_pairs(300, 1)
    state = torch.random.get_rng_state()
    result = degree_baseline(train, test, steps=600)
    assert result.accuracy > 20
    assert result.cross_entropy < 2.3
    assert result.pairs == 300
    assert torch.equal(state, torch.random.get_rng_state())
    assert degree_baseline(train, test, steps=600) == result


@pytest.mark.parametrize("frames", [2, 3, 4, 8])
def test_clips_of_other_lengths_have_as_many_classes_as_degrees(make_videos, frames):
    source, videos = make_videos(count=3)
    classes = len(possible_degrees(frames))
    train, test = (
        draw_pairs(data_of(source, videos), clip_of(12, frames=frames), purpose=purpose, draws=8, seed=0)
        for purpose in ("train", "test")
    )
    assert set(train.classes) <= set(range(classes))
    result = degree_baseline(train, test, classes=classes, steps=40)
    assert result.pairs == len(test.classes) == 24
    assert 0 < result.cross_entropy < 3 * math.log(classes) + 1  # finite, and about what guessing costs


def test_labels_that_mean_nothing_stay_at_chance():
    train, test = drifting_pairs(400, 0), drifting_pairs(400, 1)
    mixed = DegreePairs(train.features, np.random.default_rng(0).integers(0, 16, 400), None, ())
    assert degree_baseline(mixed, test, steps=200).accuracy < 15
