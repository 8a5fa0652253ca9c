"""Frame differences against their definition."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from cacl.methods.differences import pair_differences


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
    assert pair_differences(torch.from_numpy(clip), permutation).shape == (numbers,)
    expected = [*slow_seven(frames), *slow_seven([frames[t] for t in permutation])]
    np.testing.assert_allclose(pair_differences(torch.from_numpy(clip), permutation), expected, atol=1e-5)


def test_still_frames_have_finite_features():
    assert np.isfinite(pair_differences(torch.full((3, 16, 4, 4), 0.5), np.arange(16))).all()
