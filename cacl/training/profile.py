"""``--profile``: where the time of a step goes, in one table, and a trace of two steps.

The training goes on as without it. After some steps to warm up, sections of the step are timed (on a GPU each waits for
the device, which slows these steps a little), then two steps are traced. What is computed does not change.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from cacl.errors import counted
from cacl.sections import Stopwatch

WARM, TIMED, TRACED = 3, 20, 2  # steps


class Profile:
    """Counts steps: warms up, times, traces, and then does nothing more. Without a folder it never does anything."""

    def __init__(self, folder: Path | None, *, name: str, device: torch.device, say: Callable[[str], None]) -> None:
        """
        Args:
            folder: where ``NAME.json`` is written, or None.
            name: of the stage.
            device: that the networks are on.
            say: told the table.
        """
        self._folder, self._name, self._device, self._say = folder, name, device, say
        self._step = 0
        self._watch: Stopwatch | None = None
        self._trace: profile | None = None
        self._timed, self._began = 0, 0.0

    def __enter__(self) -> Profile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A training that ends earlier is told of as far as it came, and what it would have taken."""
        if self._folder is None or self._step >= WARM + TIMED + TRACED:
            return
        if self._trace is not None:
            self._end_trace()
        elif self._watch is not None:
            self._end_timing()
        if self._step <= WARM + TIMED:
            what = "profile" if self._step <= WARM else "trace"
            self._say(
                f"{self._name}: too short for a {what}. {WARM} steps to warm up, {TIMED} that are timed and {TRACED} "
                f"that are traced are {WARM + TIMED + TRACED}; this had {self._step}. Give it more epochs."
            )

    def step_done(self) -> None:
        """A step has ended."""
        if self._folder is None or self._step > WARM + TIMED + TRACED:
            return
        self._step += 1
        if self._step == WARM:
            self._watch = Stopwatch(finish=self._finish).__enter__()
            self._finish()
            self._began = time.perf_counter()
        elif self._step == WARM + TIMED:
            self._end_timing()
            self._start_trace()
        elif self._step == WARM + TIMED + TRACED:
            self._end_trace()

    def _finish(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()

    def _end_timing(self) -> None:
        assert self._watch is not None
        self._finish()
        whole = time.perf_counter() - self._began
        self._watch.__exit__(None, None, None)
        steps, watch, self._watch = self._step - WARM, self._watch, None
        if steps:
            title = f"{self._name}: where the time of a step goes, mean of {steps} step{'s' * (steps > 1)}"
            self._say(time_table(title, watch.seconds, whole, steps))

    def _start_trace(self) -> None:
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (self._device.type == "cuda")
        self._watch = Stopwatch(mark=record_function).__enter__()
        self._trace = profile(activities=activities)
        self._trace.start()

    def _end_trace(self) -> None:
        assert self._trace is not None
        assert self._watch is not None
        assert self._folder is not None
        self._finish()
        self._trace.stop()
        self._watch.__exit__(None, None, None)
        if self._step == WARM + TIMED:  # the training has ended here
            self._trace = self._watch = None
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{self._name}.json"
        partial = file.with_suffix(".partial.json")
        self._trace.export_chrome_trace(str(partial))
        partial.replace(file)
        self._trace = self._watch = None
        self._say(
            f"Trace of {counted(self._step - WARM - TIMED, 'step')}: {file}; open it in ui.perfetto.dev or chrome://tracing."
        )


def time_table(title: str, seconds: dict[str, float], whole: float, steps: int) -> str:
    """Lines of section, ms a step and share of the whole; what lies in no section is the last but one."""
    rows = {**seconds, "everything else": whole - sum(seconds.values()), "whole step": whole}
    lines = [f"  {name:<34} {1000 * s / steps:>10.2f} ms {100 * s / whole:>6.1f} %" for name, s in rows.items()]
    return "\n".join([title, *lines])
