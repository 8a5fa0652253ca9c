"""What a training costs: seconds, processor time, memory, and energy where the machine tells it.

Energy is that of all processors of the machine (RAPL), whoever uses them; most systems let only root read it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

RAPL = Path("/sys/class/powercap")


class Meter:
    """From now on, added to what was spent before."""

    def __init__(self, before: Mapping[str, float] | None = None) -> None:
        """Begin; ``before`` is what ``so_far`` gave in an earlier process."""
        self._before = dict(before or {})
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the largest memory counts from here
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._wall, self._processor, self._energy = time.monotonic(), time.process_time(), joules()

    def so_far(self) -> dict[str, float]:
        """``wall seconds``, ``processor seconds``, ``peak bytes``; ``peak device bytes`` of a GPU; ``joules``."""
        spent = {
            "wall seconds": time.monotonic() - self._wall,
            "processor seconds": time.process_time() - self._processor,
        }
        if self._energy is not None and (now := joules()) is not None and now >= self._energy:  # the counter wraps
            spent["joules"] = now - self._energy
        peaks = {"peak bytes": float(peak_bytes())}
        if torch.cuda.is_available():
            peaks["peak device bytes"] = float(torch.cuda.max_memory_allocated())
        summed = {key: round(value + self._before.get(key, 0.0), 3) for key, value in spent.items()}
        if self._before and "joules" not in self._before:
            summed.pop("joules", None)  # a part of it is not known
        return summed | {key: max(value, self._before.get(key, 0.0)) for key, value in peaks.items()}


def peak_bytes() -> int:
    """The most memory that this process had at once; 0 where the system does not tell."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    if resource is None:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def joules(place: Path = RAPL) -> float | None:
    """Energy counters of all processor packages, summed; None where they cannot be read."""
    try:
        found = [int((zone / "energy_uj").read_text()) for zone in sorted(place.glob("intel-rapl:[0-9]"))]
    except (OSError, ValueError):
        return None
    return sum(found) / 1e6 if found else None
