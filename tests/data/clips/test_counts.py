"""How often videos are read: cases worked by hand, and laws that hold for all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacl.data.clips.counts import balanced_counts, drawn_videos, duration_counts
from cacl.data.randomness import generator


def test_two_hours_among_clips_of_ten_seconds_are_seen_in_proportion() -> None:
    frames = [250] * 9 + [180_000, 100]
    assert duration_counts(frames).tolist() == [1] * 9 + [720, 1]
    assert duration_counts([250] * 5).tolist() == [1] * 5


def test_every_class_is_read_as_often() -> None:
    counts = balanced_counts([[0], [0], [0], [1], [2], [2]], np.ones(6))
    assert counts == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2, 1, 1])
    longer = balanced_counts([[0], [0], [1]], np.array([1.0, 3.0, 2.0]))
    assert longer == pytest.approx([0.75, 2.25, 3])
    several = balanced_counts([[0], [0, 1], [1]], np.ones(3))
    assert several == pytest.approx([1, 1, 1])
    rare = balanced_counts([[0], [0], [0], [0, 1]], np.ones(4))
    assert rare[3] > rare[0] == rare[1]


@given(st.lists(st.floats(0.05, 30), min_size=1, max_size=40), st.integers(0, 2**32))
def test_each_video_comes_as_often_as_its_count_rounded_down_or_up(counts: list[float], seed: int) -> None:
    counts_V = np.array(counts)
    counts_V *= max(1, round(counts_V.sum())) / counts_V.sum()
    drawn = drawn_videos(counts_V, generator(seed, "t"))
    assert len(drawn) == round(counts_V.sum())
    times = np.bincount(drawn, minlength=len(counts))
    assert (times >= np.floor(counts_V - 1e-9)).all()
    assert (times <= np.ceil(counts_V + 1e-9)).all()


def test_over_many_epochs_the_counts_hold() -> None:
    counts = np.array([0.25, 0.5, 1.75, 2.5])
    total = sum(np.bincount(drawn_videos(counts, generator(3, "t", e)), minlength=4) for e in range(4000))
    assert np.abs(total / 4000 - counts).max() < 0.04
