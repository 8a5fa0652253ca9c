from __future__ import annotations

import numpy as np
import pytest
import torch
from array_videos import clip_of, data_of

from cacl.data.clips.shuffle import possible_degrees
from cacl.data.videos.catalog import Video
from cacl.errors import UserError
from cacl.evaluation.temporal.clips import TaskSamples, temporal_samples
from cacl.evaluation.temporal.probe import probe_time


class Brightness:
    """Videos whose brightness follows a course of 20 frames, with noise."""

    height = width = 8

    def __init__(self, course, seed):
        self.course, self.seed = course, seed

    def read(self, video, indices):
        rng = np.random.default_rng([self.seed, video])
        value = 60 + 120 * self.course[(indices + int(rng.integers(20))) % 20]
        noise = rng.integers(-10, 11, (len(indices), 8, 8, 3))
        return np.clip(value[:, None, None, None] + noise, 0, 255).astype(np.uint8)


class Jumps(torch.nn.Module):
    """A handmade feature: the steepest rise and the steepest fall of the brightness."""

    def forward(self, x_BCTHW):
        steps = x_BCTHW.mean(dim=(1, 3, 4)).diff(dim=1)
        return torch.stack([steps.amax(dim=1), -steps.amin(dim=1)], dim=1)


def arrow(course):
    """Probe results on videos of one course, 20 to learn from and 20 to test."""
    sides = []
    for seed, purpose in enumerate(("train", "test")):
        videos = [Video(f"v{i}.mp4", f"v{i}", None, None, 80, 25.0, 8, 8) for i in range(20)]
        sides.append(
            temporal_samples(
                {"jumps": Jumps()},
                data_of(Brightness(course, seed), videos),
                clip_of(8),
                purpose=purpose,
                draws=2,
                seed=0,
                speeds=(1, 2),
                skipped=[],
            )
        )
    return probe_time(*sides, frames=16, speeds=(1, 2))


def test_the_arrow_of_time_is_told_where_motion_cannot_be_reversed():
    """A sawtooth rises slowly and falls at once; backwards it jumps up."""
    found = arrow(np.arange(20) / 19)["arrow of time"]
    assert found["chance"] == 50
    assert found["rows"]["jumps"]["accuracy"] >= 95
    assert found["rows"]["frame differences"]["accuracy"] == 50  # the same forwards and backwards
    assert (found["train videos"], found["test videos"], found["clips"]) == (20, 20, 80)


def test_it_is_not_told_where_motion_looks_the_same_backwards():
    """A triangle rises as it falls."""
    found = arrow(1 - np.abs(np.arange(20) - 10) / 10)["arrow of time"]["rows"]["jumps"]
    assert abs(found["accuracy"] - 50) < 15


def test_speed_is_told_by_a_feature_that_knows_it():
    found = arrow(1 - np.abs(np.arange(20) - 10) / 10)["playback speed"]
    assert found["classes"] == ["1x", "2x"]
    assert found["rows"]["jumps"]["accuracy"] >= 95
    assert found["rows"]["frame differences"]["accuracy"] >= 95


def known(classes, per_video, *, size=16, shift=0, row="net"):
    """Samples whose features say the class; ``shift`` makes them say another."""
    classes = np.array(classes)
    features = 5 * np.eye(size, dtype=np.float32)[(classes + shift) % size]
    return {"shuffle degree": TaskSamples({row: features}, classes, np.arange(len(classes)) // per_video)}


def test_accuracy_and_errors_by_hand():
    train = known(np.tile(np.arange(16), 6), 8)
    good = probe_time(train, known(np.arange(16), 4), frames=16, speeds=())["shuffle degree"]
    assert good["rows"]["net"]["accuracy"] == 100
    assert good["rows"]["net"]["standard error"] == good["rows"]["net"]["mean error"] == 0
    assert good["classes"] == [str(degree) for degree in possible_degrees(16)]
    test = known([0, 1, 2, 3], 2)
    test["shuffle degree"].features["net"][:2] = 5 * np.eye(16, dtype=np.float32)[[1, 2]]  # one class too high
    half = probe_time(train, test, frames=16, speeds=())["shuffle degree"]["rows"]["net"]
    assert half["accuracy"] == 50
    assert half["mean error"] == pytest.approx((2 + 1) / 4)  # degree 2 for 0, 3 for 2
    assert half["standard error"] == pytest.approx(100 * np.std([0, 1], ddof=1) / np.sqrt(2))


def test_too_few_videos_to_learn_from_are_refused():
    with pytest.raises(UserError, match="5 training videos or more, found 4"):
        probe_time(known(np.arange(16), 4), known(np.arange(16), 4), frames=16, speeds=())


def test_tasks_without_samples_on_both_sides_are_missing_and_one_test_video_has_no_error():
    train, test = known(np.tile(np.arange(16), 6), 8), known(np.arange(16), 16)
    found = probe_time({**train, "arrow of time": train["shuffle degree"]}, test, frames=16, speeds=())
    assert list(found) == ["shuffle degree"]
    assert np.isnan(found["shuffle degree"]["rows"]["net"]["standard error"])
