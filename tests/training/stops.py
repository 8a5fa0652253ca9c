"""Requests to stop, made by the test."""

from __future__ import annotations

import signal

from cacl.training.stop import StopRequest


class StopAfter(StopRequest):
    """Asks to stop after so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    @property
    def requested(self) -> bool:
        self.left -= 1
        if self.left == 0:
            self._signal = signal.SIGTERM
        return super().requested
