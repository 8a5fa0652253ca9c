"""A command in a process of its own: seconds by the clock and of processor, and the most memory that it held."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_EVERY = 0.2  # seconds from one look at memory to the next


@dataclass(frozen=True)
class Spent:
    """What a command took, its child processes included: seconds by the clock and of processor, most memory."""

    clock: float
    processor: float
    peak_mib: float


def watched(command: Sequence[object], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Spent:
    """Run a command to its end; what it says is shown where it fails.

    Memory is what is resident of the command, and what its child processes hold for themselves besides. Not
    ``ru_maxrss``, which begins at what the parent held when it was forked; and not proportional shares, which are small
    while other programs use the same libraries.

    Raises:
        SystemExit: the command failed.
    """
    words = [str(word) for word in command]
    with tempfile.TemporaryFile() as said:
        began, most, over = time.perf_counter(), [0.0], threading.Event()
        process = subprocess.Popen(words, env=env, cwd=cwd, stdout=said, stderr=said)
        watch = threading.Thread(target=_watch, args=(process.pid, most, over))
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        clock = time.perf_counter() - began
        over.set()
        watch.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            said.seek(0)
            raise SystemExit(f"{' '.join(words)}: {said.read().decode(errors='replace')[-2000:]}")
    return Spent(clock, usage.ru_utime + usage.ru_stime, most[0])


def _watch(process: int, most: list[float], over: threading.Event) -> None:
    while not over.wait(_EVERY):
        children = sum(_mib(child, "Private_Clean:", "Private_Dirty:") for child in _children(process))
        most[0] = max(most[0], _mib(process, "Rss:") + children)


def _children(process: int) -> Iterator[int]:
    """The child processes of a process, theirs, and so on."""
    for listed in Path(f"/proc/{process}").glob("task/*/children"):
        try:
            children = [int(child) for child in listed.read_text().split()]
        except OSError:  # it has ended
            continue
        yield from children
        for child in children:
            yield from _children(child)


def _mib(process: int, *kinds: str) -> float:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith(kinds)) / 1024
