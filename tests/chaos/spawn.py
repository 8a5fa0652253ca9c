"""Commands started as forks of a process that has PyTorch loaded: a victim lives for its work, not for its imports.

Each is a session of its own with the very command line of ``python -m cacl``. The parent has one thread when it forks,
so that a child is in the state of a process that has just imported its modules.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import children
from children import every_process, forked

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

    def begin() -> None:
        os.setsid()
        before()

    return forked(arguments, log, before=begin, append=True)


def wait(child: int) -> int:
    """Its exit status. Raises TimeoutError for one that hangs, which is killed with its session."""
    return children.wait(child, 1800, give_up=partial(kill, everyone=True))


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
    found = [number for number, fields in every_process() if int(fields[3]) == leader and fields[0] != "Z"]
    return sorted(found, key=lambda number: (number != leader, number))
