"""Progress on stderr: a bar with rate and time left on a terminal, a line every 30 seconds elsewhere."""

from __future__ import annotations

import itertools
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from cacl.methods.curves import Curve
    from cacl.training.stop import StopRequest

_LINE_SECONDS = 30.0


class Progress:
    """Steps done of a total, with the last numbers beside it.

    Attributes:
        rate: steps a second over the last fifty calls of ``advance``, 0 before the first.
    """

    def __init__(
        self,
        name: str,
        *,
        total: int,
        done: int = 0,
        unit: str = "steps",
        last_line: bool = True,
        shown: bool = True,
        keys: Mapping[str, str] = MappingProxyType({"loss": "loss"}),
    ) -> None:
        """Prepare.

        Args:
            last_line: print one at the end too, where there is no terminal.
            shown: print anything at all.
            keys: numbers of the rows to show -> what they are called.
        """
        self._keys = dict(keys)
        self._last, self._shown = last_line, shown
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
            if console.is_terminal and shown
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
        elif kind is None and self._done and self._last:
            self._line()

    def advance(self, *rows: Mapping[str, Any], count: int = 1) -> None:
        """``count`` more are done; ``rows`` have numbers to show, smoothed."""
        self._done += count
        self._times.append((time.monotonic(), self._done))
        for row, (key, label) in itertools.product(rows, self._keys.items()):
            if key in row:
                self._smooth[label] = 0.95 * self._smooth.get(label, row[key]) + 0.05 * row[key]
        if self._bar is not None:
            numbers = f"{self.rate:.2f} {self._unit}/s  {self._numbers()}"
            self._bar.update(self._task, completed=self._done, numbers=numbers)
        elif time.monotonic() - self._last_line > _LINE_SECONDS:
            self._line()

    def _numbers(self) -> str:
        return "  ".join(f"{label} {value:.3g}" for label, value in self._smooth.items())

    def _line(self) -> None:
        if not self._shown:
            return
        self._last_line = time.monotonic()
        left = (self._total - self._done) / self.rate if self.rate else 0.0
        share = f"{self._done}/{self._total} {self._unit}"
        print(
            f"{self._name}: {share}, {self.rate:.2f}/s, {left / 60:.0f} min left  {self._numbers()}".rstrip(),
            file=sys.stderr,
            flush=True,
        )


def shown_of(curves: Sequence[Curve]) -> dict[str, str]:
    """The loss, and what else a method's curves want shown."""
    return {"loss": "loss", **{key: label for curve in curves for key, label in curve.shown.items()}}


class VideoProgress:
    """Progress of what is done before a training, a bar a task; ends it where a stop is asked for."""

    def __init__(self, stop: StopRequest | None = None) -> None:
        self._stop = stop
        self._what, self._done = "", 0
        self._bar: Progress | None = None

    def __enter__(self) -> VideoProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def __call__(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` files or videos are ready; fewer than before begin the task anew. Raises Stopped."""
        if what != self._what or done < self._done:
            self._end()
            self._what, self._done = what, 0
            self._bar = Progress(what, total=total, unit=what.split()[0], last_line=False).__enter__()
        if self._bar is not None:
            self._bar.advance(count=done - self._done)
        self._done = done
        if self._stop is not None:
            self._stop.raise_if_requested()

    def of(self, what: str) -> Callable[[int, int], None]:
        """The same for one task: called with what is done and the total."""
        return partial(self, what)

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
