"""SIGTERM and Ctrl-C end a training after the step that is running, with everything saved."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType, TracebackType


class Stopped(Exception):
    """The training was asked to stop and has saved.

    Attributes:
        code: the exit status, 130 (Ctrl-C) or 143 (SIGTERM).
        run: the run folder, for the command that goes on with it; None where that is not known.
    """

    def __init__(self, code: int, run: Path | None = None) -> None:
        super().__init__(f"stopped by signal {code - 128}")
        self.code, self.run = code, run


class StopRequest:
    """While entered, the first SIGTERM or Ctrl-C is noted; a second one interrupts at once."""

    def __init__(self, run: Path | None = None) -> None:
        """Prepare; ``run`` is the run folder that ``Stopped`` will name."""
        self._run = run
        self._signal = 0
        self._previous: dict[int, object] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal came."""
        return self._signal != 0

    @property
    def signal(self) -> int:
        """The signal that came, 0 for none."""
        return self._signal

    def ask(self, number: int) -> None:
        """Ask for a stop as signal ``number`` does, 0 for none: another process of the job was asked."""
        self._signal = self._signal or number

    def raise_if_requested(self) -> None:
        """Raise ``Stopped`` when a signal came."""
        if self._signal:
            raise Stopped(128 + self._signal, self._run)

    def __enter__(self) -> StopRequest:
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        except ValueError:  # not the main thread: signals go to somebody else
            self._previous.clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signal:
            raise KeyboardInterrupt
        self._signal = number
