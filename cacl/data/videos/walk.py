"""Every file below a folder, and whether its first bytes rule out that it is a video.

Links are followed, but a link back to a folder above itself ends there. Nothing is passed over in silence: what is not
returned as a file is returned with a reason.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from pathlib import Path
from typing import NamedTuple

TEXT = "not a video (text file)"  # why a text file is no video
_HEAD = 512  # bytes


def walk(root: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """All files below ``root``, sorted, relative to it with ``/``; and what is none of them, with the reason.

    A folder is entered once, however many links lead to it: folders themselves before links to folders.
    """
    files: list[str] = []
    others: list[tuple[str, str]] = []
    entered = {_identity(root)}
    folders, links = deque([_Folder(root, "", (_identity(root),))]), deque[_Folder]()
    while folders or links:
        folder = folders.popleft() if folders else links.popleft()
        if folder.is_link:
            if folder.above[-1] in entered:
                others.append((folder.prefix.rstrip("/"), "folder that is listed already"))
                continue
            entered.add(folder.above[-1])
        for below in _list(folder, files, others):
            if below.is_link:
                links.append(below)
            elif below.above[-1] in entered:
                others.append((below.prefix.rstrip("/"), "folder that is listed already"))
            else:
                entered.add(below.above[-1])
                folders.append(below)
    return sorted(files), sorted(others)


def why_no_video(path: Path) -> str:
    """Why a file is no video, as far as its name and first bytes tell; an empty string where they do not."""
    if path.name.startswith("."):
        return "hidden file"
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        return f"cannot be read ({(error.strerror or str(error)).lower()})"
    if not head:
        return "empty file"
    return TEXT if _is_text(head) else ""


def _is_text(head: bytes) -> bool:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):  # marks UTF-16
        odd = head[2 + (head[0] == 0xFF) :: 2]
        return len(head) > 2 and odd.count(0) > len(odd) * 0.7
    if b"\0" in head or head.startswith(b"YUV4MPEG2"):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return len(head) == _HEAD and error.start >= len(head) - 3  # a character cut in two at the end
    return True


class _Folder(NamedTuple):
    """A folder to be listed: where it is, what its files' names begin with, which folders are above it, and itself."""

    path: Path
    prefix: str
    above: tuple[tuple[int, int], ...]
    is_link: bool = False


def _identity(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _list(folder: _Folder, files: list[str], others: list[tuple[str, str]]) -> list[_Folder]:
    """Sort what lies in one folder into files, folders (returned) and others."""
    try:
        entries = sorted(os.scandir(folder.path), key=lambda entry: entry.name)
    except OSError as error:
        reason = f"folder cannot be read ({(error.strerror or str(error)).lower()})"
        others.append((folder.prefix.rstrip("/") or ".", reason))
        return []
    folders: list[_Folder] = []
    for entry in entries:
        path = folder.prefix + entry.name
        try:
            found = os.stat(entry.path)
        except OSError as error:
            reason = "broken link" if entry.is_symlink() else f"cannot be read ({(error.strerror or '').lower()})"
            others.append((path, reason))
            continue
        if stat.S_ISDIR(found.st_mode):
            identity = (found.st_dev, found.st_ino)
            if identity in folder.above:
                others.append((path, "link to a folder above it"))
            elif entry.name.startswith("."):
                others.append((path, "hidden folder"))
            else:
                above = (*folder.above, identity)
                folders.append(_Folder(Path(entry.path), path + "/", above, entry.is_symlink()))
        elif stat.S_ISREG(found.st_mode):
            files.append(path)
        else:
            others.append((path, "not a regular file"))
    return folders
