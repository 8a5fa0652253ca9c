"""Processes that tests start, watch and end: forks with the command line, and what ``/proc`` says of them."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path


def forked(arguments: list[str], log: Path, *, before: Callable[[], None] = lambda: None, append: bool = False) -> int:
    """``cacl ARGUMENTS`` in a child of this process, which has PyTorch loaded already; its process number.

    What it says goes to ``log``; ``before`` is called in it first. Its exit status is that of the command line, 70
    where that itself fails.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    gc.collect()
    child = os.fork()
    if child:
        return child
    gc.freeze()  # it must not tidy up what has threads in the parent
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC))
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        from cacl import cli

        sys.modules["torch"].set_num_threads(1)
        sys.argv = ["cacl", *arguments]
        before()
        cli.main()
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(end.code or 0))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(70)


def ended(child: int) -> int | None:
    """Exit status of a child, negative for a signal; None while it lives."""
    done, code = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(code) if done else None


def kill(child: int) -> None:
    """SIGKILL to a child that lives."""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def wait(child: int, seconds: float = 120, *, give_up: Callable[[int], None] = kill) -> int:
    """Its exit status. Raises TimeoutError for one that hangs, after ``give_up`` was called with it."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (code := ended(child)) is not None:
            return code
        time.sleep(0.01)
    give_up(child)
    raise TimeoutError(f"no end after {seconds:.0f} s")


def wait_for(path: Path, pattern: str, lives: Callable[[], bool], seconds: float = 240) -> None:
    """Until a file is there; an error when who is to write it ends before."""
    until = time.monotonic() + seconds
    while not any(path.glob(pattern)):
        assert time.monotonic() < until, f"no {pattern} after {seconds} s"
        assert lives(), f"ended before {pattern}"
        time.sleep(0.002)


def every_process() -> Iterator[tuple[int, list[str]]]:
    """Numbers of the processes of this machine, with the fields of ``/proc/N/stat`` from the state on."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = stat.read_text().rpartition(")")
        except OSError:
            continue  # it has just ended
        yield int(number.split()[0]), rest.split()


def children_of(process: int) -> list[int]:
    """Numbers of its child processes, the oldest first."""
    return sorted(number for number, fields in every_process() if int(fields[1]) == process)


def resident_mib(process: int | str) -> float:
    """Memory that a process really has, in MiB; 0 for one that is gone, or where there is no ``/proc``."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    return float(text.split("VmRSS:")[1].split()[0]) / 1024 if "VmRSS:" in text else 0.0
