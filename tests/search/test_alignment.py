"""Alignment of made courses of vectors whose true line is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cacl.search.alignment import Times, lines

FPS = 25


def course(seconds: float, seed: int) -> NDArray[np.float64]:
    """Something that changes every .8 s, ``[T, 32]``."""
    count = round(seconds * FPS)
    keys = np.random.default_rng(seed).normal(size=(count // 20 + 2, 32))
    at = np.arange(count) / 20
    share = (at % 1)[:, None]
    mixed: NDArray[np.float64] = keys[at.astype(int)] * (1 - share) + keys[at.astype(int) + 1] * share
    return mixed


def stretches(frames: NDArray[np.float64]) -> tuple[NDArray[np.float64], Times]:
    start = np.arange(0, len(frames) - 31, 16)
    z = np.stack([frames[i : i + 32].mean(0) for i in start])
    return z / np.linalg.norm(z, axis=1, keepdims=True), Times(start / FPS, (start + 32) / FPS)


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.0, 1.25, 2.0])
@pytest.mark.parametrize("cut", [(0.0, 40.0), (12.0, 30.0)])
def test_a_trimmed_embedded_copy_at_another_speed_is_one_line(speed: float, cut: tuple[float, float]) -> None:
    """``speed``: seconds of the copy for a second of the original."""
    original = course(40, 1)
    part = original[round(cut[0] * FPS) : round(cut[1] * FPS)]
    part = part[(np.arange(len(part) * speed) / speed).astype(int)]
    noise = np.random.default_rng(5).normal(size=part.shape) * 0.2
    copy = np.concatenate([course(7, 2), part + noise, course(9, 3)])
    (za, ta), (zb, tb) = stretches(original), stretches(copy)
    line, *more = lines(za @ zb.T, ta, tb, threshold=0.5)
    assert line.speed == pytest.approx(speed, rel=0.04)
    assert line.a == pytest.approx(cut, abs=1.0)
    assert line.b == pytest.approx((7, 7 + (cut[1] - cut[0]) * speed), abs=1.2)
    assert all(other.stretches < line.stretches / 2 for other in more)
    if speed == 1:
        assert line.speed == pytest.approx(1, abs=0.005)


def test_a_part_cut_out_of_the_middle_makes_two_lines() -> None:
    original = course(60, 1)
    copy = np.concatenate([original[: 20 * FPS], original[40 * FPS :]])
    (za, ta), (zb, tb) = stretches(original), stretches(copy)
    found = sorted(lines(za @ zb.T, ta, tb, threshold=0.5), key=lambda line: line.a)
    assert len(found) == 2
    assert found[0].b == pytest.approx((0, 20), abs=1.2)
    assert found[1].a == pytest.approx((40, 60), abs=1.2)
    assert found[1].b == pytest.approx((20, 40), abs=1.2)


def test_a_disturbed_part_does_not_break_a_line() -> None:
    original = course(40, 1)
    copy = original.copy()
    copy[18 * FPS : 21 * FPS] = course(3, 9)
    (za, ta), (zb, tb) = stretches(original), stretches(copy)
    (line,) = lines(za @ zb.T, ta, tb, threshold=0.5)
    assert line.a == pytest.approx((0, 40), abs=1)


def test_single_pairs_that_are_very_alike_do_not_hide_a_weaker_copy() -> None:
    """One pair alone votes more than the copy: .49 against 6 times .06."""
    times = Times(np.arange(40) * 1.0, np.arange(40) + 2.0)
    similarity = np.zeros((40, 40))
    similarity[np.arange(10, 16), np.arange(22, 28)] = 0.56
    alone = similarity.copy()
    for row, column in [(2, 35), (7, 12), (20, 3), (24, 18), (30, 31), (38, 9)]:
        similarity[row, column] = 0.99
    (line,) = lines(similarity, times, times, threshold=0.5)
    assert [line] == lines(alone, times, times, threshold=0.5)
    assert (line.a, line.b) == ((10, 17), (22, 29))
    for row, column in [(2, 36), (3, 36), (2, 35), (3, 35)]:  # alike in a block, which is a line too short
        similarity[row, column] = 0.99
    assert line in lines(similarity, times, times, threshold=0.5, least=4)


def test_unrelated_videos_have_no_line() -> None:
    for seed in range(10):
        (za, ta), (zb, tb) = stretches(course(40, seed)), stretches(course(40, seed + 100))
        assert lines(za @ zb.T, ta, tb, threshold=0.7, least=3) == []


def test_videos_of_one_stretch() -> None:
    one = Times(np.array([0.0]), np.array([2.0]))
    (line,) = lines(np.array([[0.9]]), one, one, threshold=0.5, least=1)
    assert line.a == line.b == (0, 2)
    assert lines(np.array([[0.3]]), one, one, threshold=0.5, least=1) == []
