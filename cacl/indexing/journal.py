"""What a run has embedded so far: parts that are whole or not there, from which an interrupted run goes on.

A part is ``NUMBER.npy``, vectors, and ``NUMBER.npz``, what they are of; it counts once the second is there. The journal
says nothing of order: what becomes of it is the same whoever made which part.

Shapes: S segments of some videos, D features.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cacl.files import whole, writing
from cacl.indexing.known import Looked, looked_from_json, looked_to_json


@dataclass(frozen=True, eq=False)
class Piece:
    """The stretches of one video.

    Attributes:
        vectors: float32 ``[S, D]``.
        frames: first frame and one after the last in the file, int64 ``[S, 2]``.
        seconds: start and end, float64 ``[S, 2]``.
        problem: why they end before the video does, or an empty string.
    """

    vectors: NDArray[np.float32]
    frames: NDArray[np.int64]
    seconds: NDArray[np.float64]
    problem: str = ""


@dataclass
class Journal:
    """What parts hold.

    Attributes:
        made: pieces by their videos' keys.
        failed: why videos could not be embedded, by their keys.
        looked: what was found in files, by their paths.
    """

    made: dict[str, Piece] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    looked: dict[str, Looked] = field(default_factory=dict)


def write_part(
    folder: Path,
    *,
    request: str,
    made: Mapping[str, Piece],
    failed: Mapping[str, str],
    looked: Mapping[str, Looked],
) -> None:
    """Add a part, whole or not at all.

    Args:
        folder: of the parts, made where missing; its only writer is this process.
        request: by what they were made: ``read_parts`` takes no others.
        made, failed, looked: as of ``Journal``.

    Raises:
        UserError: it cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    number = 1 + max((int(file.stem) for file in folder.glob("[0-9]*.npz")), default=0)
    if made:
        with whole(folder / f"{number:06d}.npy") as partial, partial.open("wb") as file:
            np.save(file, np.concatenate([piece.vectors for piece in made.values()]))
    notes = {
        "request": request,
        "made": [[key, len(piece.frames), piece.problem] for key, piece in made.items()],
        "failed": dict(failed),
        "looked": looked_to_json(looked),
    }
    frames = [np.zeros((0, 2), np.int64), *(piece.frames for piece in made.values())]
    seconds = [np.zeros((0, 2)), *(piece.seconds for piece in made.values())]
    with whole(folder / f"{number:06d}.npz") as partial, partial.open("wb") as file:
        text = np.array(json.dumps(notes))
        np.savez(file, notes=text, frames=np.concatenate(frames), seconds=np.concatenate(seconds))


def read_parts(folders: Iterable[Path], *, request: str) -> Journal:
    """All parts made by this request; what is damaged or by another is as if it were not there."""
    journal = Journal()
    for folder in folders:
        for file in sorted(folder.glob("[0-9]*.npz")):
            try:
                _take(file, request, journal)
            except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
                continue
    return journal


def _take(file: Path, request: str, journal: Journal) -> None:
    with np.load(file, allow_pickle=False) as part:
        notes: dict[str, Any] = json.loads(str(part["notes"]))
        frames, seconds = part["frames"], part["seconds"]
    if notes["request"] != request:
        return
    made, first = dict[str, Piece](), 0
    if notes["made"]:
        vectors: NDArray[np.float32] = np.load(file.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
        if len(vectors) != len(frames) or vectors.dtype != np.float32 or vectors.ndim != 2:
            return
        for key, count, problem in notes["made"]:
            rows = slice(first, first + count)
            made[key] = Piece(vectors[rows], frames[rows], seconds[rows], problem)
            first += count
    looked = looked_from_json(notes["looked"])
    journal.made |= made
    journal.failed |= notes["failed"]
    journal.looked |= looked
