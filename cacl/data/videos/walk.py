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

from cacl.data.media.stream import HEAD, TEXT, is_text
from cacl.data.remote.listing import objects
from cacl.data.remote.place import RemotePath, forget, remember
from cacl.data.videos.lists.plain import SUFFIXES

NO_SUFFIX = "not opened (its name ends as no video's does)"  # of what lies on a server


def walk(root: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """All files below ``root``, sorted, relative to it with ``/``; and what is none of them, with the reason.

    A folder is entered once, however many links lead to it: folders themselves before links to folders. Below an
    address nothing is opened: there a name tells what may be a video.

    Raises:
        UserError: an address that cannot be listed.
    """
    if isinstance(root, RemotePath):
        return _listed(root)
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
    if isinstance(path, RemotePath):
        return ""  # whoever opens it says so
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        return f"cannot be read ({(error.strerror or str(error)).lower()})"
    if not head:
        return "empty file"
    return TEXT if is_text(head) else ""


def _listed(root: RemotePath) -> tuple[list[str], list[tuple[str, str]]]:
    """The same of a prefix of an object store."""
    forget()
    files: list[str] = []
    others: list[tuple[str, str]] = []
    for name, facts in objects(str(root)):
        last = name.rsplit("/", 1)[-1]
        if not last or facts.folder:
            continue  # stands for a folder
        if last.startswith("."):
            others.append((name, "hidden file"))
        elif last.lower().rpartition(".")[2] not in SUFFIXES:
            others.append((name, NO_SUFFIX))
        elif str(root / name) != f"{root}/{name}":
            others.append((name, "its name has an empty part (//), or a part . in it"))
        else:
            remember(str(root / name), facts)
            files.append(name)
    return sorted(files), sorted(others)


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
