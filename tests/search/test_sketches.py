"""Small pictures of videos: those nearest to some times, decoded once, and anew where they were let go of."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from cacl.search import sketches
from cacl.search.register import HEIGHT
from cacl.search.sketches import RATE, Sketches

LENGTHS = (40.0, 0.3, 25.05)


class Videos:
    """Grey pictures whose level says which video and which half second it is."""

    def __init__(self) -> None:
        self.read = Counter[tuple[int, float]]()

    def __call__(self, number: int, times: NDArray[np.float64]) -> NDArray[np.uint8]:
        self.read.update((number, time) for time in times.tolist())
        assert times.min() >= 0
        assert times.max() < LENGTHS[number]
        levels = (80 * number + (times * 2).astype(int)).astype(np.uint8)
        return np.broadcast_to(levels[:, None, None, None], (len(times), 96, 128, 3))


def test_the_nearest_picture_is_told_and_each_is_read_once() -> None:
    videos = Videos()
    made = Sketches(videos, LENGTHS)
    for number, times in ((0, np.arange(0, 41, 0.07)), (2, np.arange(3, 24, 0.11)), (0, np.arange(12, 36.0))):
        found = made.film(number).sketches(times)
        assert found.dtype == np.uint8
        assert found.shape == (len(times), HEIGHT, 64)
        nearest = np.minimum((times * RATE).round() / RATE, LENGTHS[number] - 1 / RATE)
        np.testing.assert_array_equal(found[:, 7, 9], 80 * number + (nearest * 2).astype(int))
    assert set(videos.read.values()) == {1}
    assert Sketches(videos, LENGTHS).film(1).sketches(np.array([0.0, 5.0])).shape == (2, HEIGHT, 64)


def test_what_was_let_go_of_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    videos, few = Videos(), Videos()
    monkeypatch.setattr(sketches, "_KEPT", 150 * HEIGHT * 64)  # hardly more than sixteen seconds of a video
    some, times = Sketches(few, LENGTHS), np.arange(0, 40, 0.5)
    expected = Sketches(videos, LENGTHS).film(0).sketches(times)
    for _ in range(2):
        np.testing.assert_array_equal(some.film(0).sketches(times), expected)
        assert len(some._kept) == 1
    assert max(few.read.values()) == 2
