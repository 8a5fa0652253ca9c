"""Several processes of one machine: started here, watched, and ended together with one sentence.

Each is the same command line once more, with the variables by which torchrun's processes know of each other. What
torchrun does besides (several machines, restarts) is left to it. Ctrl-C and SIGTERM are handed on to each process once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import typer

from cacl.errors import UserError, counted, quoted
from cacl.files import read_object

GRACE = 60.0  # seconds that the others have to end by themselves when one has failed
LOST = 75  # exit status of a process that ended because another one was gone ("try again", sysexits.h)
_SAID_WHY = (2, 130, 143)  # a UserError, Ctrl-C, SIGTERM
_MEETING, _WATCH = (
    "CACL_MEETING",
    "CACL_WATCH",
)  # read in processes.py, which imports PyTorch


def started_by_another() -> bool:
    """Whether this process is one of several, of ours or of torchrun's."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def restarted(run: Path) -> bool:
    """Whether torchrun has started this command again, so that ``run`` is its own.

    After a death here it counts that; after one on another machine it does not, but the run says whose it is.
    """
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0:
        return True
    return (mine := job()) is not None and read_object(run / "data.json").get("job") == mine


def job() -> str | None:
    """What torchrun calls this job, the same in all its attempts: ``--rdzv-id``; ``None`` where it has no name."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return None if name == "none" else name


def is_first() -> bool:
    """Whether results are printed here."""
    return not started_by_another() or os.environ["RANK"] == "0"


def as_many() -> str:
    """What to add to a command that goes on with this one."""
    return f" --processes {os.environ['WORLD_SIZE']}" if _WATCH in os.environ else ""


@contextmanager
def one_of_them(*, go_on: str) -> Iterator[None]:
    """A process that must end because another has gone; the words are left to the one that started it, if it is ours.

    Args:
        go_on: the command.
    """
    from cacl.distributed.processes import LostProcess

    try:
        yield
    except LostProcess as error:
        if _WATCH not in os.environ:
            print(f"{error}. To go on: {go_on}", file=sys.stderr)
        raise typer.Exit(LOST) from None


def check_count(processes: int | None, gpus: int | None = None) -> int:
    """How many processes to start here: 1 for none. Raises UserError for a number that cannot be."""
    option, count = ("--gpus", gpus) if processes is None and gpus is not None else ("--processes", processes)
    if count is not None and count < 1:
        raise UserError(f"{option} is {count}; it must be 1 or more.")
    if gpus is not None:
        _check_gpus(gpus, processes)
    if not started_by_another():
        return count or 1
    if count is not None and str(count) != os.environ["WORLD_SIZE"]:
        raise UserError(f"{option} is {count}, but torchrun started {os.environ['WORLD_SIZE']}; leave it out.")
    return 1


def _check_gpus(gpus: int, processes: int | None) -> None:
    """Raise UserError where this machine has not so many GPUs; torchrun's processes may be on several machines."""
    if processes is not None:
        raise UserError("--gpus and --processes both say how many processes: leave one of them out.")
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not found:
        raise UserError(
            f"--gpus is {gpus}, but PyTorch finds no NVIDIA GPU here: leave it out, or share the work among processors "
            f"with --processes {gpus}."
        )
    if gpus > found and not started_by_another():
        raise UserError(f"--gpus is {gpus}, but this machine has {counted(found, 'GPU')}: take --gpus {found}.")


def run_processes(count: int, *, run: Path | None = None, verb: str = "pretrain") -> int:
    """Run this command line in ``count`` processes; their common exit status.

    Args:
        count: 2 or more.
        run: the run folder to resume after one was killed; None where the same command goes on.
        verb: the command that resumes it.

    Raises:
        UserError: one of them was killed, or broke.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cacl-")))
        watch, held = os.pipe()  # its other end closes with this process, however that ends
        stack.callback(os.close, held)
        errors = [stack.enter_context((folder / f"{rank}").open("w+b")) for rank in range(count)]
        children = [_start(rank, count, folder, watch, errors[rank]) for rank in range(count)]
        os.close(watch)
        _hand_on_signals(children, stack)
        silent = _wait(children)
        again = "Give the same command again."
        if run is not None and (run / "config.yaml").exists():
            again = f"Go on from the last checkpoint: cacl {verb} --resume {quoted(run)} --processes {count}"
        return _status(children, errors, silent, again)


def _start(rank: int, count: int, folder: Path, watch: int, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    environment = {
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count)),
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        _MEETING: f"file://{folder}/meeting",
        _WATCH: str(watch),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "cacl", *sys.argv[1:]],
        env=environment,
        stdout=None if rank == 0 else subprocess.DEVNULL,
        stderr=None if rank == 0 else errors,  # shown where the first process does not know what happened
        pass_fds=[watch],
        start_new_session=True,  # so that Ctrl-C comes once, from here
    )


def _hand_on_signals(children: list[subprocess.Popen[bytes]], stack: ExitStack) -> None:
    def hand_on(number: int, frame: object) -> None:
        for child in children:
            child.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        stack.callback(signal.signal, number, signal.signal(number, hand_on))


def _wait(children: list[subprocess.Popen[bytes]]) -> set[int]:
    """Until all have ended; when one has failed the others have ``GRACE`` seconds. Which did not use them."""
    until, silent = float("inf"), set[int]()
    while any(child.poll() is None for child in children):
        if until == float("inf") and any(child.returncode for child in children):
            until = time.monotonic() + GRACE
        if time.monotonic() > until:
            silent |= {rank for rank, child in enumerate(children) if child.poll() is None}
            for child in children:
                child.kill()
        time.sleep(0.05)
    return silent


def _status(children: list[subprocess.Popen[bytes]], errors: Sequence[IO[bytes]], silent: set[int], again: str) -> int:
    codes = [child.returncode for child in children]
    for rank, code in enumerate(codes):
        if code in _SAID_WHY:
            sys.stderr.write(_written(errors[rank]))
            return code
    failed = sorted((rank in silent, rank) for rank, code in enumerate(codes) if code not in (0, LOST))
    if not failed:
        return max(codes)
    rank = failed[0][1]
    killed = f"was killed ({signal.Signals(max(1, -codes[rank])).name})"
    what = "answered no more" if rank in silent else killed if codes[rank] < 0 else f"broke (status {codes[rank]})"
    sys.stderr.write(_written(errors[rank]))
    raise UserError(f"Process {rank + 1} of {len(codes)} {what}, which ends them all. {again}")


def _written(errors: IO[bytes]) -> str:
    """What a process other than the first had to say."""
    errors.seek(0)
    return errors.read().decode(errors="backslashreplace")
