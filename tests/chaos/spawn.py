"""Commands started as forks of a process that has PyTorch loaded: a victim lives for its work, not for its imports.

Each is a session of its own with the very command line of ``python -m cacl``. The parent has one thread when it forks,
so that a child is in the state of a process that has just imported its modules.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

WARM = (
    "cacl.cli",
    "cacl.experiments.evaluate",
    "cacl.experiments.recognition",
    "cacl.experiments.reproduce",
    "cacl.training.pretrain",
    "jinja2",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "matplotlib.image",
    "torch._dynamo",  # by the optimisers
)


def warm() -> None:
    """Load what the verbs load."""
    for name in WARM:
        importlib.import_module(name)
    sys.modules["torch"].set_num_threads(1)


def start(arguments: list[str], log: Path, *, before: Callable[[], None] = lambda: None) -> int:
    """``cacl ARGUMENTS`` in a child, which leads a session; its process number. What it says is added to ``log``."""
    threads = len(list(Path("/proc/self/task").iterdir()))
    assert threads == 1, f"a process of {threads} threads must not fork"
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    from cacl import cli

    try:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
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
    done, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def wait(child: int, seconds: float = 1800) -> int:
    """Its exit status. Raises TimeoutError for one that hangs, which is killed."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (status := ended(child)) is not None:
            return status
        time.sleep(0.01)
    kill(child, everyone=True)
    raise TimeoutError(f"no end after {seconds:.0f} s")


def kill(child: int, *, everyone: bool) -> None:
    """SIGKILL to a child that lives: alone, or together with every process of its session."""
    for number in session(child) if everyone else [child]:
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue  # ended by itself
    os.waitpid(child, 0)


def session(leader: int) -> list[int]:
    """The living processes of a session, its leader first."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = stat.read_text().rpartition(")")
        except OSError:
            continue  # it has just ended
        if int(rest.split()[3]) == leader and rest.split()[0] != "Z":
            found.append(int(number.split()[0]))
    return sorted(found, key=lambda number: (number != leader, number))
