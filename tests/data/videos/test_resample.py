"""Frames at another rate against a search of every frame, and cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacl.data.videos.resample import file_spans, nearest_frames, resampled_count


def even(n_frames: int, fps: float) -> np.ndarray:
    return np.arange(n_frames + 1) / fps


@pytest.mark.parametrize(
    ("n_frames", "fps", "rate", "frames"),
    [
        (6, 25, 25, [0, 1, 2, 3, 4, 5]),
        (6, 25, 12.5, [0, 2, 4]),
        (6, 30, 20, [0, 1, 3, 4]),  # 0, 50, 100 and 150 ms: 50 is as near to 33 as to 67, the earlier is taken
        (4, 10, 20, [0, 0, 1, 1, 2, 2, 3, 3]),
        (3, 25, 1, [0]),
        (7, 7, 2, [0, 3]),  # half a second is frame 3.5
    ],
)
def test_even_frames_worked_by_hand(n_frames: int, fps: float, rate: float, frames: list[int]) -> None:
    count = resampled_count(n_frames, fps, rate)
    assert nearest_frames(even(n_frames, fps), count, rate).tolist() == frames


gaps = st.lists(st.integers(1, 3000), min_size=1, max_size=40)  # milliseconds


@given(gaps, st.floats(0.2, 90))
def test_each_tick_shows_the_frame_nearest_to_it(milliseconds: list[int], rate: float) -> None:
    seconds = np.concatenate([[0], np.cumsum(milliseconds)]) / 1000
    count = resampled_count(len(milliseconds), len(milliseconds) / seconds[-1], rate)
    assert abs(count - seconds[-1] * rate) <= 0.5 + 1e-6 or count == 1
    frames = nearest_frames(seconds, count, rate)
    assert (np.diff(frames) >= 0).all()
    for tick, frame in enumerate(frames.tolist()):
        distance = np.abs(seconds[:-1] - tick / rate)
        assert distance[frame] <= distance.min() + 3e-6
        assert (distance[:frame] > distance[frame] - 3e-6).all()


@given(st.integers(1, 300), st.sampled_from([10.0, 23.976, 25.0, 29.97, 60.0]))
def test_at_its_own_rate_a_video_stays_as_it_is(n_frames: int, fps: float) -> None:
    """Also with timestamps in whole milliseconds, as Matroska has them."""
    assert resampled_count(n_frames, fps, fps) == n_frames
    for seconds in (even(n_frames, fps), np.round(even(n_frames, fps), 3)):
        assert nearest_frames(seconds, n_frames, fps).tolist() == list(range(n_frames))


def test_a_video_without_times_is_taken_frame_by_frame() -> None:
    assert resampled_count(5, 0, 10) == 5
    assert nearest_frames(np.full(6, np.nan), 5, 10).tolist() == [0, 1, 2, 3, 4]


def test_stretches_become_stretches_of_the_file_and_none_is_empty() -> None:
    frames = nearest_frames(even(4, 10), 8, 20)  # each frame twice
    bounds = np.array([[0, 4], [4, 8], [1, 2]])
    assert file_spans(frames, 4, bounds).tolist() == [[0, 2], [2, 4], [0, 1]]
