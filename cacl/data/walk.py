"""Every file below a folder, and whether its first bytes rule out that it is a video.

Links are followed, but a link back to a folder above itself ends there. Nothing is passed over in silence: what is not
returned as a file is returned with a reason.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_HEAD = 512  # bytes


def walk(root: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """All files below ``root``, sorted, relative to it with ``/``; and what is none of them, with the reason."""
    files: list[str] = []
    others: list[tuple[str, str]] = []
    _walk(root, "", (_identity(root),), files, others)
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
    return "not a video (text file)" if _is_text(head) else ""


def _is_text(head: bytes) -> bool:
    if b"\0" in head or head.startswith(b"YUV4MPEG2"):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return len(head) == _HEAD and error.start >= len(head) - 3  # a character cut in two at the end
    return True


def _identity(path: Path | os.DirEntry[str]) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _walk(
    folder: Path, prefix: str, above: tuple[tuple[int, int], ...], files: list[str], others: list[tuple[str, str]]
) -> None:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        others.append((prefix.rstrip("/") or ".", f"folder cannot be read ({(error.strerror or str(error)).lower()})"))
        return
    for entry in entries:
        path = prefix + entry.name
        try:
            found = os.stat(entry.path)
        except OSError:
            others.append((path, "broken link" if entry.is_symlink() else "cannot be read"))
            continue
        if stat.S_ISDIR(found.st_mode):
            identity = (found.st_dev, found.st_ino)
            if identity in above:
                others.append((path, "link to a folder above it"))
            elif entry.name.startswith("."):
                others.append((path, "hidden folder"))
            else:
                _walk(Path(entry.path), path + "/", (*above, identity), files, others)
        elif stat.S_ISREG(found.st_mode):
            files.append(path)
        else:
            others.append((path, "not a regular file"))
