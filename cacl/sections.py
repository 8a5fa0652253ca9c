"""Named sections of a training step, timed only while somebody listens; otherwise they do nothing.

``with section("augmentation"):`` marks a part of the work where it is done. One ``Stopwatch`` at a time listens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import TypeVar

Item = TypeVar("Item")
_listener: Stopwatch | None = None


def section(name: str) -> AbstractContextManager[None]:
    """A part of the step. Sections may lie in others; time counts for the innermost."""
    return nullcontext() if _listener is None else _listener.section(name)


def waited(name: str, items: Iterable[Item]) -> Iterator[Item]:
    """The items; the time that each is waited for belongs to a section."""
    iterator = iter(items)
    while True:
        with section(name):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item


class Stopwatch:
    """Listens while it is entered.

    Attributes:
        seconds: of each section by name, in the order of their first end; time in inner sections is theirs alone.
    """

    def __init__(
        self,
        *,
        finish: Callable[[], object] = lambda: None,
        mark: Callable[[str], AbstractContextManager[object]] = lambda name: nullcontext(),
    ) -> None:
        """
        Args:
            finish: waits until the device has done what it was given, so that its time counts where it belongs.
            mark: entered with the name of each section, to have it in a trace.
        """
        self.seconds: dict[str, float] = {}
        self._finish, self._mark = finish, mark
        self._within: list[float] = []  # seconds of inner sections, an entry for every open section

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Time what is done within."""
        self._finish()
        self._within.append(0.0)
        began = time.perf_counter()
        try:
            with self._mark(name):
                yield
        finally:
            self._finish()
            took = time.perf_counter() - began
            self.seconds[name] = self.seconds.get(name, 0.0) + took - self._within.pop()
            if self._within:
                self._within[-1] += took

    def __enter__(self) -> Stopwatch:
        global _listener
        _listener = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _listener
        _listener = None
