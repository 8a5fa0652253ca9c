"""What a list says: its entries, and the words that name parts of a data set."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cacl.data.media.cut import Box

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One video, or one part of it, as a list names it.

    Attributes:
        name: path or name in the list's own words.
        labels: its classes: none, one or several.
        split: ``"train"``, ``"val"``, ``"test"``, another word or ``None``.
        start: seconds from the first frame.
        end: seconds; ``None`` for the end of the file.
        readings: other names under which the file may lie, each with the labels that are then meant; those that come
            first are tried first, and all before ``name``.
        region: the part of each frame that is seen, ``(x, y, width, height)`` in pixels; ``None``: all of it.
        fps: frames a second, of pictures that do not say; 0: unknown.
    """

    name: str
    labels: tuple[str, ...] = ()
    split: str | None = None
    start: float = 0.0
    end: float | None = None
    readings: tuple[tuple[str, tuple[str, ...]], ...] = ()
    region: Box | None = None
    fps: float = 0.0


@dataclass(frozen=True)
class Listing:
    """The videos that list files name.

    Attributes:
        entries: what they name, in their order.
        files: the list files that were read.
        absent: why a video that they do not name is skipped, e.g. ``"in neither list of split 1"``.
        unique_names: whether the file's name alone tells a video from all others, whatever folder it lies in.
        split: which of the official splits they are of; ``None`` where there is but one.
    """

    entries: tuple[Entry, ...]
    files: tuple[Path, ...]
    absent: str
    unique_names: bool
    split: int | None = None


def split_of_name(name: str) -> str | None:
    """``"train"``, ``"val"`` or ``"test"`` for a folder or list called so (``Training``, ``val_list``), or ``None``."""
    word = re.split(r"[^a-z]", name.lower())[0]
    return SPLIT_NAMES.get(word)


def split_of_list(path: Path) -> str | None:
    """The same for a list of a data set, which may have the word behind the name: ``kinetics700_2020_train.csv``."""
    words = [word for word in re.split(r"[^a-z]+", path.stem.lower()) if word in SPLIT_NAMES]
    return SPLIT_NAMES[words[-1]] if words else None
