"""Folders of numbered pictures among the files of a tree: each is one video."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from cacl.data.media.pictures import SUFFIXES, sequences
from cacl.data.videos.lists.plain import SUFFIXES as VIDEO_SUFFIXES

FEWEST = 8  # pictures; fewer are photos rather than the frames of a video, unless a list names their folder
_VIDEOS = VIDEO_SUFFIXES - SUFFIXES - {"gif", "apng"}


def frame_folders(files: Iterable[str]) -> dict[str, list[str]]:
    """The videos of pictures, by name, each with its files: all that may be some, were they named.

    Args:
        files: relative to the folder of videos, with ``/``.

    Returns:
        ``{"walk/a": ["walk/a/img_1.jpg", …]}``; where several lie in one folder, or in the folder of videos itself,
        ``"walk/a/img_*.jpg"``.
    """
    found: dict[str, list[str]] = {}
    for folder, names in _folders(files).items():
        rows = sequences(names)
        for row in rows:
            place = folder + row.pattern if len(rows) > 1 or not folder else folder.rstrip("/")
            found[place] = [folder + name for name in row.names]
    return found


def by_themselves(files: Iterable[str], candidates: dict[str, list[str]]) -> set[str]:
    """Those that are videos though no list names them: enough pictures, and no video file beside them."""
    with_videos = {
        folder
        for folder, names in _folders(files).items()
        if any(name.rpartition(".")[2].lower() in _VIDEOS for name in names)
    }
    return {
        place
        for place, pictures in candidates.items()
        if len(pictures) >= FEWEST and pictures[0].rpartition("/")[0] + "/" * ("/" in pictures[0]) not in with_videos
    }


def _folders(files: Iterable[str]) -> dict[str, list[str]]:
    """The names in each folder; the folder with ``/`` behind it, or empty for the folder of videos itself."""
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for path in files:
        folder, slash, name = path.rpartition("/")
        folders[folder + slash].append(name)
    return folders
