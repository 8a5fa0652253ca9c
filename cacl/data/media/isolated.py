"""Work on files that nobody has looked at, done in a process of its own, which may crash, hang or run out of memory.

A decoder is a million lines of C that parse what somebody sent. Here it takes down a process that is made for it: the
file is reported, the process is replaced, and the caller goes on with the next file. Processes are kept for the next
piece of work, so that a call costs some tenths of a millisecond.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import Any, ParamSpec, TypeVar, cast
from weakref import WeakSet

import numpy as np

from cacl.data.media.pictures import size_of
from cacl.data.remote.servers import is_url
from cacl.errors import UserError, VideoError

P = ParamSpec("P")
T = TypeVar("T")

# For hangs only: whole files decode at some ten megabytes a second on one core, a busy machine is several times slower.
SECONDS = 60.0
SECONDS_PER_MEGABYTE = 10.0
SECONDS_FOR_SERVERS = 300.0  # for tries of what a server does not give at once
MEMORY = 4 * 2**30  # bytes of address space of one decode process
ISOLATING = os.name == "posix"
_START = 120.0  # seconds in which Python must be up


class LostProcess(Exception):
    """A process of one's own cannot be had here, or died: of a want of memory, most likely."""


class LostVideo(VideoError):
    """The process that decoded a video died of it, hung, or had not enough memory."""


def time_limit(path: str | os.PathLike[str]) -> float:
    """Seconds that any work on a file (or folder of pictures) may take: 60, 10 for each megabyte, 300 for servers."""
    patience = SECONDS_FOR_SERVERS if is_url(path) else 0.0
    return patience + SECONDS + SECONDS_PER_MEGABYTE * size_of(path) / 1e6


def isolated(path: str, seconds: float, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``work(*args, **kwargs)``, done in a decode process; to be called from any thread.

    Args:
        path: the file that the work is about, for the error.
        seconds: the process is killed when the work takes longer.
        work: a function that can be imported; it, its arguments and its result are pickled.

    Raises:
        LostVideo: the process died twice, the work took too long, or needed more than ``MEMORY``.
        Exception: whatever ``work`` raised.

    Where a process cannot be given one end of a pipe (Windows), the work is done in this one, without limits.
    """
    if not ISOLATING:
        return _here_and_now(path, work, *args, **kwargs)
    for attempt in range(2):
        # A file before this one may have left the process with a damaged heap: a death counts in a fresh process only.
        process = _borrow() if attempt == 0 else _DecodeProcess()
        try:
            process.connection.send((_here(), work, args, kwargs))
            if not process.connection.poll(seconds):
                raise LostVideo(path, f"took longer than {seconds:.0f} s to decode, given up")
            good, result = _receive(process.connection)
        except (EOFError, OSError):
            died = process.kill()
        except BaseException:
            process.kill()
            raise
        else:
            _give_back(process)
            if good:
                return cast(T, result)
            if isinstance(result, MemoryError):
                raise LostVideo(path, f"needs more than {MEMORY / 2**30:.0f} GiB of memory to decode")
            raise result
    raise LostVideo(path, f"the process that decoded it died ({died})")


def _here_and_now(path: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return work(*args, **kwargs)
    except MemoryError as error:
        raise LostVideo(path, "needs more memory to decode than there is") from error


class OwnProcess:
    """A process that does one piece of work after the other for one thread, and keeps what it has made in between.

    It has one thread for arithmetic, and all the memory it wants; decoders run in further processes that it starts.

    Raises:
        LostProcess: there are none such (Windows).
    """

    def __init__(self) -> None:
        if not ISOLATING:
            raise LostProcess
        self._process = _DecodeProcess(limited=False)

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``work(*args, **kwargs)``, done there; a function that can be imported, everything pickled.

        Raises:
            LostProcess: it died.
            Exception: whatever ``work`` raised.
        """
        try:
            self._process.connection.send((_here(), work, args, kwargs))
            good, result = _receive(self._process.connection)
        except (EOFError, OSError):
            self._process.kill()
            raise LostProcess from None
        if not good:
            raise result
        return cast(T, result)

    def end(self) -> None:
        """End it; what it does just now is done to its end."""
        self._process.leave()


class _DecodeProcess:
    """A Python that does one piece of work after the other; it ends with its parent, whatever ends that."""

    def __init__(self, *, limited: bool = True) -> None:
        try:
            self.connection, theirs = Pipe()
            with theirs:
                self._process = _start(theirs.fileno(), limited=limited)
        except OSError as error:
            raise UserError(
                f"No process for decoding videos can be started ({error.strerror or error}): raise the limits of "
                "processes and open files (ulimit -u, ulimit -n), or lower data.workers."
            ) from error
        _all.add(self)
        try:
            if not self.connection.poll(_START):
                raise EOFError
            self.connection.recv()
        except (EOFError, OSError):
            raise RuntimeError(f"the process for decoding videos did not start ({self.kill()})") from None
        except BaseException:
            self.kill()
            raise

    def kill(self) -> str:
        """End it at once; what it had died of before, if it had."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)  # its end of the pipe closes a little before it is dead
        if self._process.poll() is None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # waits for a disk that does not answer: let it
                self._process.wait(5)
        self.connection.close()
        code = self._process.returncode
        if code is None or code >= 0:
            return f"exit status {code}"
        return signal.Signals(-code).name

    def leave(self) -> None:
        """Close the pipe, upon which the process ends."""
        self.connection.close()


def _start(descriptor: int, *, limited: bool) -> subprocess.Popen[bytes]:
    # Not multiprocessing: that would import the user's own script again in every process.
    code = f"import sys; sys.path[:] = {sys.path!r}; from cacl.data.media.isolated import serve"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", f"{code}; serve({descriptor}, limited={limited})"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[descriptor],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        process_group=0,  # Ctrl-C is for the parent, which finishes its step
    )


_all: WeakSet[_DecodeProcess] = WeakSet()
_idle: list[_DecodeProcess] = []
_lock = threading.Lock()


def _borrow() -> _DecodeProcess:
    with _lock:
        if _idle:
            return _idle.pop()
    return _DecodeProcess()


def _give_back(process: _DecodeProcess) -> None:
    with _lock:
        _idle.append(process)


def _here() -> str:
    """The folder that relative paths mean; it may have changed since a process was started."""
    with contextlib.suppress(OSError):
        return os.getcwd()
    return "."


def _forget() -> None:
    """In a forked child: these are the parent's; two cannot talk through one pipe."""
    global _lock
    _lock = threading.Lock()
    _idle.clear()
    for process in _all:
        process.leave()
    _all.clear()


@atexit.register
def end_idle() -> None:
    """End the processes that nobody waits for; they are started anew when needed."""
    with _lock:
        while _idle:
            _idle.pop().leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def serve(descriptor: int, *, limited: bool) -> None:
    """The life of such a process: do what is asked for, until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to all processes of a job: the parent decides when to end
    _limit(MEMORY if limited else None)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    connection = Connection(descriptor)
    connection.send(None)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # what a dying decoder has to say helps nobody
    while True:
        try:
            here, work, args, kwargs = connection.recv()
            with contextlib.suppress(OSError):
                os.chdir(here)
            reply = _reply(work, args, kwargs)
            try:
                _send(connection, reply)
            except (AttributeError, TypeError, pickle.PicklingError) as error:
                _send(connection, (False, RuntimeError(f"{error}, in place of {reply}")))
        except (EOFError, OSError):
            return


def _send(connection: Connection, reply: tuple[bool, object]) -> None:
    """The reply, and behind it the content of its arrays as it lies in memory."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(reply, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    connection.send((head, [view.nbytes for view in views]))
    for view in views:
        sent = 0
        while sent < view.nbytes:
            sent += os.write(connection.fileno(), view[sent:])


def _receive(connection: Connection) -> tuple[bool, Any]:
    """What ``_send`` sent; arrays are read into their places, not copied."""
    head, sizes = connection.recv()
    buffers = [np.empty(size, np.uint8) for size in sizes]
    for buffer in buffers:
        view, got = buffer.data, 0
        while got < len(view):
            count = os.readv(connection.fileno(), [view[got:]])
            if not count:
                raise EOFError
            got += count
    reply: tuple[bool, Any] = pickle.loads(head, buffers=buffers)
    return reply


def _end_with(parent: int) -> None:
    """A parent that was killed cannot end what hangs here, and whoever continues its work must not meet this."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _reply(work: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[bool, object]:
    try:
        return True, work(*args, **kwargs)
    except MemoryError as error:
        return False, MemoryError(str(error))
    except Exception as error:
        if not isinstance(error, VideoError):
            error.add_note("In the process for decoding videos:\n" + "".join(traceback.format_exception(error)))
        return False, error


def _limit(memory: int | None) -> None:
    """More memory than this is asked for by damaged headers only; no core dumps; and where memory ends, this goes."""
    import resource

    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="utf-8") as file:
        file.write("500")

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory is None:
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = memory if most == resource.RLIM_INFINITY else min(memory, most)
    with contextlib.suppress(ValueError, OSError):  # not every system has it
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))
