"""Progress on stderr: a bar with rate and time left on a terminal, a line every 30 seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

_LINE_SECONDS = 30.0
_SHOWN = {"loss": "loss", "nce": "contrast", "degree_loss": "degree", "degree_accuracy": "degree right"}


class Progress:
    """Steps done of a total, with the last numbers beside it.

    Attributes:
        rate: steps a second over the last fifty calls of ``advance``, 0 before the first.
    """

    def __init__(self, name: str, *, total: int, done: int = 0, unit: str = "steps") -> None:
        self._name, self._total, self._done, self._unit = name, total, done, unit
        self._times: deque[tuple[float, int]] = deque([(time.monotonic(), done)], maxlen=51)  # when, how many done
        self._last_line = time.monotonic()
        self._smooth: dict[str, float] = {}
        console = Console(stderr=True)
        self._bar = (
            Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[numbers]}"),
                TimeRemainingColumn(),
                console=console,
            )
            if console.is_terminal
            else None
        )

    @property
    def rate(self) -> float:
        """Steps a second."""
        (began, first), (now, last) = self._times[0], self._times[-1]
        return (last - first) / (now - began) if now > began else 0.0

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self._name, total=self._total, completed=self._done, numbers="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None and self._done:
            self._line()

    def advance(self, row: Mapping[str, Any] | None = None, count: int = 1) -> None:
        """``count`` more are done; ``row`` has numbers to show, smoothed."""
        self._done += count
        self._times.append((time.monotonic(), self._done))
        for key, label in _SHOWN.items():
            if row and key in row:
                self._smooth[label] = 0.95 * self._smooth.get(label, row[key]) + 0.05 * row[key]
        if self._bar is not None:
            numbers = f"{self.rate:.2f} {self._unit}/s  {self._numbers()}"
            self._bar.update(self._task, completed=self._done, numbers=numbers)
        elif time.monotonic() - self._last_line > _LINE_SECONDS:
            self._line()

    def _numbers(self) -> str:
        return "  ".join(f"{label} {value:.3g}" for label, value in self._smooth.items())

    def _line(self) -> None:
        self._last_line = time.monotonic()
        left = (self._total - self._done) / self.rate if self.rate else 0.0
        share = f"{self._done}/{self._total} {self._unit}"
        print(
            f"{self._name}: {share}, {self.rate:.2f}/s, {left / 60:.0f} min left  {self._numbers()}".rstrip(),
            file=sys.stderr,
            flush=True,
        )
