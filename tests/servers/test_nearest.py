"""Vectors that are read from a server as they are used: by several threads, and of another state than was opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from cacl.errors import UserError
from cacl.servers import nearest
from cacl.servers.nearest import ServedRows
from cacl.servers.server import VectorServer


class Vectors:
    """A server that holds stretches of videos, a number each."""

    shown = "postgresql://here"

    def __init__(self, held: dict[str, list[float]]) -> None:
        self.held = held

    def read(self, keys: Sequence[str]) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float32]]]:
        for key in keys:
            yield key, np.arange(len(self.held[key])), np.array(self.held[key], np.float32)[:, None]


def rows_of(held: dict[str, list[float]]) -> ServedRows:
    """Rows of videos a and b of two and one stretches, as they were when the index was opened."""
    return ServedRows(cast(VectorServer, Vectors(held)), ["a", "b"], np.array([0, 2, 3]), 1)


class Turn:
    """A lock; whoever waits for it comes as soon as it is free."""

    def __init__(self, waiting: list[Callable[[], object]]) -> None:
        self.depth, self.waiting = 0, waiting

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *error: object) -> None:
        self.depth -= 1
        if not self.depth and self.waiting:
            self.waiting.pop()()


def test_a_thread_that_lets_go_of_a_video_takes_it_from_nobody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nearest, "_KEPT", 0)  # the last video only
    rows = rows_of({"a": [1.0, 2.0], "b": [3.0]})
    other = list[Any]()
    rows._turn = cast(Any, Turn([lambda: other.append(rows[2:3].tolist())]))
    assert rows[0:2].tolist() == [[1.0], [2.0]]
    assert other == [[[3.0]]]


@pytest.mark.parametrize("held", [{"a": [1.0, 2.0, 9.0], "b": [3.0]}, {"a": [1.0], "b": [3.0]},
                                  {"a": [1.0, 2.0], "b": [3.0, 9.0]}])  # fmt: skip
def test_another_state_is_told(held: dict[str, list[float]]):
    with pytest.raises(UserError, match="push the index again"):
        np.asarray(rows_of(held))
    with pytest.raises(UserError, match="another state"):
        rows_of(held)[[0, 2]]
