"""Files that are whole or not there: written beside their place, forced to the disk, renamed.

A kill or a full disk at any moment leaves the old file or the new one. What a kill leaves beside it, ``.NAME.partial``,
is written over by the next one who writes the file.
"""

from __future__ import annotations

import difflib
import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from cacl.errors import UserError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # what the system calls a disk without room
_NAMES = 2000  # of files among which a near name is looked for
CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR}  # and a place that lets nobody in


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write what is to be at ``path``; it is brought there when the block is through.

    Raises:
        UserError: the disk is full, or the folder cannot be written. ``path`` is as it was.
    """
    partial = path.with_name(partial_name(path.name))
    try:
        with writing(path):
            yield partial
            descriptor = os.open(partial, os.O_RDWR)  # Windows brings to the disk only what may be written
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def write_whole(path: Path, content: str | bytes) -> None:
    """A small file; text as UTF-8, with ``?`` for the bytes of a file name that are no text. Raises UserError."""
    with whole(path) as partial:
        partial.write_bytes(content.encode("utf-8", "replace") if isinstance(content, str) else content)


def write_synced(file: Path, content: bytes) -> None:
    """A file in a folder that is not yet in its place: what is written is on the disk before it is renamed."""
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; does nothing where folders cannot be opened (Windows)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object, empty where the file is missing or damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def check_there(path: Path) -> None:
    """Raise UserError where there is no such file or folder, with the nearest name that is there."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        names: list[str] = []
        with suppress(OSError):
            names = [p.name for p in islice(path.parent.iterdir(), _NAMES)]
        near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.7)
        hint = f"did you mean {path.parent / near[0]}?" if near else "check the name."
        raise UserError(f"{path} does not exist; {hint}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); check the name.") from None


def check_parent(path: Path) -> None:
    """Raise UserError where there is no folder to write a file in: before the work, not after."""
    if not path.parent.is_dir():
        raise UserError(f"{path} could not be written: there is no folder {path.parent}; name another place.")


def check_replaceable(path: Path, own: Callable[[Path], bool], *, by: str) -> None:
    """Raise UserError where a file that is not the command's own would be lost.

    Args:
        path: where the command is asked to write a file.
        own: whether a file there is one that the same command wrote; empty files are never asked about.
        by: the command.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a file in it.")
    if not os.path.lexists(path) or (path.is_file() and not path.stat().st_size):
        return
    if not path.is_file() or not own(path):
        raise UserError(f"{path} exists and was not written by {by}: name another file, or move it away.")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system says while ``path`` is written, as a sentence. Raises UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} could not be written ({error.strerror or error}): make room, check its folder or name another "
            "place, then give the command again; what was saved before is whole."
        ) from error


def partial_name(name: str) -> str:
    """What a file is called while it is being written."""
    return f".{name}.partial"
