"""An embedding folder: vectors of stretches of videos, and which stretch each belongs to.

``vectors.npy`` (float32 ``[S, D]``), ``segments.csv`` (row i belongs to vector i), ``videos.csv`` (every file, used or
skipped with the reason) and ``embedding.json`` (the encoder and what was asked for).

Shapes: S segments of all videos, D features.
"""

from __future__ import annotations

import csv
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cacl.errors import UserError
from cacl.files import read_object

FORMAT = 1
ABOUT, VECTORS, SEGMENTS = "embedding.json", "vectors.npy", "segments.csv"
ROWS = ("path", "start_s", "end_s", "first_frame", "frames")


class Segment(NamedTuple):
    """A stretch of a video.

    Attributes:
        path: of the file, relative to the folder that was embedded.
        start_s: seconds from the file's first frame; NaN where the file says nothing about time.
        end_s: seconds.
        first_frame: number of its first frame in the file, from 0.
        frames: how many.
    """

    path: str
    start_s: float
    end_s: float
    first_frame: int
    frames: int


class Embedding:
    """A finished embedding folder.

    Attributes:
        path: the folder.
        about: what ``embedding.json`` says: ``videos`` (where they are), ``used`` (how many), ``segments``,
            ``features``, the encoder and its clips.

    Raises:
        UserError: no finished embedding there, or one of a later version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.about: dict[str, Any] = read_object(self.path / ABOUT)
        if not self.about:
            raise UserError(f"{self.path} is no embedding folder: it has no {ABOUT} that can be read.")
        if self.about.get("format") != FORMAT:
            raise UserError(f"{self.path} was made by another version of cacl (format {self.about.get('format')}).")
        if not self.about.get("finished"):
            raise UserError(f"{self.path} is not finished: give the command that began it again.")

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """All vectors, float32 ``[S, D]``, read from the disk as they are used."""
        try:
            found: NDArray[np.float32] = np.load(self.path / VECTORS, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{self.path / VECTORS} is missing or damaged ({error}): embed again.") from error
        return found

    @cached_property
    def segments(self) -> list[Segment]:
        """Which stretch of which video each vector belongs to, in the same order."""
        try:
            with (self.path / SEGMENTS).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                rows = csv.reader(file)
                next(rows)
                return [Segment(row[0], float(row[1]), float(row[2]), int(row[3]), int(row[4])) for row in rows]
        except (OSError, ValueError, IndexError, StopIteration) as error:
            raise UserError(f"{self.path / SEGMENTS} is missing or damaged ({error}): embed again.") from error

    def __len__(self) -> int:
        return int(self.about["segments"])

    def __repr__(self) -> str:
        about = self.about
        return (
            f"Embedding({self.path}: {about['segments']} segments of {about['used']} videos, "
            f"{about['features']} features)"
        )
