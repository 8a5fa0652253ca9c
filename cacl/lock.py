"""A lock on a folder that dies with its process: nobody ever has to delete one by hand."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TextIO

from cacl.errors import UserError
from cacl.files import writing

NAME = ".lock"
_WAIT = 10.0  # seconds for a change that takes milliseconds
_HELD: set[TextIO] = set()


if sys.platform == "win32":
    import msvcrt

    _FAR = 2**30  # a byte that no file of ours has: Windows keeps others from reading what is locked

    def try_lock(file: IO[Any], *, shared: bool = False) -> None:
        """Lock an open file until it is closed, or its process ends.

        Args:
            file: open for writing, but for a shared lock.
            shared: with others who share it; Windows has none, and then nothing is locked.

        Raises:
            BlockingIOError: another holds it.
            OSError: the disk has no locks.
        """
        if shared:
            return
        at = file.tell()
        file.seek(_FAR)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EDEADLK):
                raise BlockingIOError(errno.EAGAIN, "locked by another") from error
            raise
        finally:
            file.seek(at)

else:
    import fcntl

    def try_lock(file: IO[Any], *, shared: bool = False) -> None:
        """Lock an open file until it is closed, or its process ends.

        Args:
            file: open.
            shared: with others who share it.

        Raises:
            BlockingIOError: another holds it.
            OSError: the disk has no locks.
        """
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


class InUse(UserError):
    """Another process is in the folder."""


def _leave_locks_to_the_parent() -> None:
    """In a forked child: its copy of a lock would outlive the process that took it."""
    for file in _HELD:
        file.close()
    _HELD.clear()


if hasattr(os, "register_at_fork"):  # elsewhere nothing forks
    os.register_at_fork(after_in_child=_leave_locks_to_the_parent)


class FolderLock:
    """While entered, no other process enters it; the file says who is in.

    The system lets go of it when the process ends, whatever ends it. The file stays where it is; it means nothing.
    """

    def __init__(self, folder: Path, *, file: str | None = None) -> None:
        """``folder`` must be there; ``file``: only what is called so in it is locked."""
        self._folder, self._place = folder, folder / (NAME if file is None else f".{file}{NAME}")
        self._what, self._kind = (folder, "folder") if file is None else (folder / file, "file")
        self._file: TextIO | None = None

    def __enter__(self) -> FolderLock:
        """Raises InUse: another process is in it (it is named); UserError: the folder cannot be written."""
        try:
            file = self._place.open("a+")
        except OSError as error:
            raise UserError(f"{self._folder}: the folder cannot be written ({error.strerror or error}).") from error
        try:
            try_lock(file)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise InUse(
                f"{self._what} is in use by {holder}; wait until it is done, or choose another {self._kind}."
            ) from error
        except OSError as error:
            file.close()
            raise UserError(
                f"{self._folder}: its disk has no file locks ({error.strerror or error}); choose another folder."
            ) from error
        self._file = file
        _HELD.add(file)
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
        except OSError as error:
            self.__exit__(None, None, None)
            raise UserError(
                f"{self._folder}: the folder cannot be written ({error.strerror or error}); make room."
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            _HELD.discard(self._file)
            file, self._file = self._file, None
            with suppress(OSError):  # a full disk: who is in was never written
                file.close()


@contextmanager
def locked(folder: Path, *, file: str | None = None) -> Iterator[None]:
    """Alone in a folder, made where it is missing, for a change of milliseconds: whoever is in it is waited for.

    Args:
        folder: where.
        file: alone with what is called so in it only.

    Raises:
        InUse: another process stays in it.
        UserError: the folder cannot be made or written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + _WAIT
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(FolderLock(folder, file=file))
                break
            except InUse:
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)
        yield


@contextmanager
def taken_back(folder: Path, *own: str) -> Iterator[None]:
    """A folder in which nothing was begun goes again; it is locked meanwhile, so nobody else has begun there.

    Args:
        folder: that was made, and locked, for what the block does.
        own: names of files that say what is to be made, and nothing of what was.
    """
    try:
        yield
    except BaseException:
        if {file.name for file in folder.iterdir()} <= {NAME, *own}:
            shutil.rmtree(folder, ignore_errors=True)
        raise
