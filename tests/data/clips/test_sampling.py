from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacl.data.clips.sampling import ClipPlan, TooShort, clip_window, evaluation_clips, training_clip
from cacl.data.randomness import generator


def chi_square(counts: np.ndarray) -> float:
    """Standard deviations by which a chi-square of equal cells exceeds its mean."""
    expected = counts.sum() / len(counts)
    freedom = len(counts) - 1
    return float((((counts - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom))


@pytest.mark.parametrize(
    ("n_frames", "stride", "length", "starts"),
    [
        (1, 1, 16, 1),
        (15, 1, 16, 1),
        (16, 1, 16, 1),
        (30, 1, 16, 15),
        (31, 2, 31, 1),
        (40, 2, 31, 10),
        (300, 2, 31, 270),
    ],
)
def test_window_of_hand_worked_lengths(n_frames: int, stride: int, length: int, starts: int) -> None:
    window = clip_window(n_frames)
    assert (window.stride, window.length, window.starts) == (stride, length, starts)


@given(st.integers(1, 200), st.integers(1, 20), st.integers(1, 5))
def test_window_is_the_largest_stride_that_fits(n_frames: int, frames: int, stride: int) -> None:
    window = clip_window(n_frames, frames=frames, stride=stride)
    fitting = [s for s in range(1, stride + 1) if len(range(0, (frames - 1) * s + 1)) <= n_frames]
    if not fitting:
        assert (window.stride, window.starts) == (1, 1)
    else:
        assert window.stride == max(fitting)
        assert window.starts == sum(start + window.length <= n_frames for start in range(n_frames))


@given(st.integers(1, 120), st.integers(0, 2**32), st.integers(1, 3))
def test_training_clip_stays_inside_and_keeps_its_stride(n_frames: int, seed: int, moments: int) -> None:
    clips = training_clip(n_frames, generator(seed, "t"), moments=moments)
    assert clips.shape == (moments, 16)
    assert clips.dtype == np.int64
    assert clips.min() >= 0
    assert clips.max() < n_frames
    if n_frames >= 16:
        assert (np.diff(clips, axis=1) == (2 if n_frames >= 31 else 1)).all()
    else:
        assert (clips == np.arange(16) % n_frames).all()


def test_starts_are_uniform_over_every_start_that_fits() -> None:
    starts = [training_clip(40, generator(0, "t", i))[0, 0] for i in range(4000)]
    counts = np.bincount(starts, minlength=10)
    assert len(counts) == 10
    assert chi_square(counts) < 4


def test_released_start_rule_draws_as_if_the_window_were_longer() -> None:
    starts = [training_clip(50, generator(0, "t", i), start_window=46)[0, 0] for i in range(2000)]
    assert set(starts) == {0, 1, 2, 3, 4}
    assert chi_square(np.bincount(starts)) < 4
    assert training_clip(46, generator(0, "t"), start_window=46)[0].tolist() == list(range(0, 31, 2))
    with pytest.raises(TooShort, match=r"45 frames, data\.start_window is 46"):
        training_clip(45, generator(0, "t"), start_window=46)
    with pytest.raises(ValueError, match="shorter than the window of 31"):
        training_clip(100, generator(0, "t"), start_window=20)


def test_moments_are_independent() -> None:
    free = np.array([training_clip(40, generator(0, "t", i), moments=2)[:, 0] for i in range(8000)])
    assert chi_square(np.bincount(free[:, 0] * 10 + free[:, 1], minlength=100)) < 4


@pytest.mark.parametrize("n_frames", [1, 7, 16, 30, 31, 32, 40, 45, 100, 299, 1777])
def test_evaluation_starts_are_the_rounded_linspace(n_frames: int) -> None:
    window = 31 if n_frames >= 31 else 16
    starts = np.round(np.linspace(0, max(n_frames - window, 0), 10)).astype(int)
    clips = evaluation_clips(n_frames)
    assert clips.shape == (10, 16)
    assert clips.dtype == np.int64
    assert (clips[:, 0] == starts).all()
    assert (clips == (starts[:, None] + np.arange(16) * (2 if n_frames >= 31 else 1)) % n_frames).all()


@given(st.integers(31, 5000), st.integers(2, 13))
def test_evaluation_starts_round_exact_halves_to_even(n_frames: int, clips: int) -> None:
    wanted = [round(Fraction(k * (n_frames - 31), clips - 1)) for k in range(clips)]
    assert evaluation_clips(n_frames, clips=clips)[:, 0].tolist() == wanted


def released_evaluation(n_frames: int, clips: int) -> list[list[int]]:
    """What the authors' evaluation cuts out of a video, by slices of its frame numbers."""
    video = list(range(n_frames))
    found = []
    for where in np.linspace(0, n_frames - 16 * 2, clips):
        start = max(int(where), 0)
        cut = video[start : start + 16 * 2 - 1 : 2]
        found.append(cut if len(cut) == 16 else video[start : start + 16])
    return found


@pytest.mark.parametrize("clips", [1, 2, 10])
def test_padded_evaluation_clips_are_those_of_the_authors(clips: int) -> None:
    for n_frames in range(16, 400):
        found = evaluation_clips(n_frames, clips=clips, window="padded")
        assert found.tolist() == released_evaluation(n_frames, clips), n_frames


def test_padded_training_starts_are_those_of_the_authors() -> None:
    """Their fine-tuning: a start in 0 … N - 32 at stride 2 where N is above 32, else in 0 … N - 16 at stride 1."""
    for n_frames in (16, 20, 31, 32, 33, 36):
        stride, starts = (2, n_frames - 31) if n_frames > 32 else (1, n_frames - 15)
        drawn = [training_clip(n_frames, generator(1, "t", i), window="padded")[0] for i in range(40 * starts)]
        assert {clip[0] for clip in drawn} == set(range(starts)), n_frames
        assert all((np.diff(clip) == stride).all() for clip in drawn), n_frames


@given(st.integers(1, 15), st.integers(1, 5))
def test_padded_clips_of_a_video_shorter_than_a_clip_are_looped(n_frames: int, stride: int) -> None:
    looped = (np.arange(16) % n_frames).tolist()
    assert evaluation_clips(n_frames, stride=stride, window="padded").tolist() == [looped] * 10
    assert training_clip(n_frames, generator(0, "t"), stride=stride, window="padded").tolist() == [looped]


def test_one_evaluation_clip_is_the_first() -> None:
    assert evaluation_clips(100, clips=1)[:, 0].tolist() == [0]


def test_bad_counts_are_refused() -> None:
    for call in (
        lambda: clip_window(0),
        lambda: clip_window(10, stride=0),
        lambda: evaluation_clips(10, clips=0),
        lambda: training_clip(10, generator(0, "t"), moments=0),
    ):
        with pytest.raises(ValueError, match="1 or more"):
            call()


def test_plan_checks_itself() -> None:
    clips = training_clip(40, generator(0, "t"), moments=2)
    plan = ClipPlan((clips[0], clips[1][:8]), {"degree": np.zeros((), np.int64), "weight": np.ones(3, np.float32)})
    assert "16 frames" in repr(plan)
    assert "8 frames" in repr(plan)
    assert "degree []" in repr(plan)
    for clip in (np.zeros(16, np.int32), np.zeros((1, 16), np.int64), np.zeros(0, np.int64)):
        with pytest.raises(ValueError, match="int64"):
            ClipPlan((clip,))
    with pytest.raises(ValueError, match="0 or more"):
        ClipPlan((np.full(16, -1),))
    with pytest.raises(ValueError, match="at least one"):
        ClipPlan(())
