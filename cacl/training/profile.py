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
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from cacl.errors import counted
from cacl.sections import Stopwatch

WARM, TIMED, TRACED = 3, 20, 2  # steps; between timing and tracing is one in which the tracer warms up


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
        self._step, self._began = 0, 0.0
        self._untraced = WARM + TIMED + 1
        self._watch = Stopwatch(finish=self._finish)
        self._trace = profile(
            activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda"),
            schedule=schedule(wait=WARM + TIMED, warmup=1, active=TRACED, repeat=1),
            on_trace_ready=self._write,
        )

    def __enter__(self) -> Profile:
        if self._folder is not None:
            self._trace.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """A training that ends earlier is told of as far as it came, and what it would have taken."""
        if self._folder is None:
            return
        if WARM < self._step < WARM + TIMED:
            self._end_timing()
        self._watch.__exit__(None, None, None)
        self._trace.stop()
        if self._step <= self._untraced:
            what = "profile" if self._step <= WARM else "trace"
            self._say(
                f"{self._name}: too short for a {what}. {WARM} steps to warm up, {TIMED} that are timed, 1 for the "
                f"tracer to warm up and {TRACED} that are traced are {self._untraced + TRACED}; this had {self._step}. "
                "Give it more epochs."
            )

    def step_done(self) -> None:
        """A step has ended."""
        if self._folder is None or self._step == self._untraced + TRACED:
            return
        self._step += 1
        if self._step == WARM:
            self._watch.__enter__()
            self._finish()
            self._began = time.perf_counter()
        elif self._step == WARM + TIMED:
            self._end_timing()
        elif self._step == self._untraced:
            self._watch = Stopwatch(mark=record_function).__enter__()
        elif self._step == self._untraced + TRACED:
            self._watch.__exit__(None, None, None)
        self._trace.step()

    def _finish(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()

    def _end_timing(self) -> None:
        self._finish()
        whole = time.perf_counter() - self._began
        self._watch.__exit__(None, None, None)
        steps = self._step - WARM
        title = f"{self._name}: where the time of a step goes, mean of {counted(steps, 'step')}"
        self._say(time_table(title, self._watch.seconds, whole, steps))

    def _write(self, trace: profile) -> None:
        traced = self._step - self._untraced
        if self._folder is None or traced == 0:  # the training has ended as the trace began
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{self._name}.json"
        partial = file.with_suffix(".partial.json")
        trace.export_chrome_trace(str(partial))
        partial.replace(file)
        self._say(f"Trace of {counted(traced, 'step')}: {file}; open it in ui.perfetto.dev or chrome://tracing.")


def time_table(title: str, seconds: dict[str, float], whole: float, steps: int) -> str:
    """Lines of section, ms a step and share of the whole; what lies in no section is the last but one."""
    rows = {**seconds, "everything else": whole - sum(seconds.values()), "whole step": whole}
    lines = [f"  {name:<34} {1000 * s / steps:>10.2f} ms {100 * s / whole:>6.1f} %" for name, s in rows.items()]
    return "\n".join([title, *lines])
