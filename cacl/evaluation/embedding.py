"""An embedding folder: vectors of stretches of videos, and which stretch each belongs to.

``vectors.npy`` (float32 ``[S, D]``), ``segments.csv`` (row i belongs to vector i), ``videos.csv`` (every file, used or
skipped with the reason) and ``embedding.json`` (the encoder and the request).

An index (``cacl index``) holds such a folder, the one that its ``index.json`` names, and opens as one.

Shapes: S segments of all videos, D features.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cacl.arrow import check_arrow, write_arrow
from cacl.errors import UserError
from cacl.files import read_object
from cacl.models.segments import Segments

FORMAT = 1
ABOUT, VECTORS, SEGMENTS = "embedding.json", "vectors.npy", "segments.csv"
TABLE_BY = "cacl embed"  # of its own table
_ROWS = 4096  # of a table, written at once
POINTER, GENERATIONS = "index.json", "generations"  # of an index


class Embedding:
    """A finished embedding folder.

    Attributes:
        path: the folder; of an index the one within it that is current.
        about: what ``embedding.json`` says: ``videos`` (where they are), ``used`` (how many), ``segments``,
            ``features``, the encoder and its clips.

    Raises:
        UserError: no finished embedding there, or one of a later version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = current_folder(Path(path))
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
    def segments(self) -> Segments:
        """Which stretch of which video each vector belongs to, with the vectors."""
        try:
            with (self.path / SEGMENTS).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
                _, *rows = csv.reader(file)
            paths, start_s, end_s, first_frame, frames = zip(*rows, strict=True)
            start_S, end_S = np.array(start_s, np.float64), np.array(end_s, np.float64)
            first_S, length_S = np.array(first_frame, np.int64), np.array(frames, np.int64)
            return Segments(paths, start_S, end_S, first_S, length_S, self.vectors)
        except (OSError, ValueError, csv.Error) as error:
            raise UserError(f"{self.path / SEGMENTS} is missing or damaged ({error}): embed again.") from error

    def write_table(self, path: str | Path) -> None:
        """All segments with their vectors as one Parquet or Arrow file: ``segments.csv``'s columns and ``vector``.

        Args:
            path: ends in ``.parquet`` or ``.arrow``.

        Raises:
            UserError: it cannot be written, or pyarrow is missing.
        """
        path = Path(path)
        check_arrow(path, by=TABLE_BY)
        import pyarrow as pa

        segments, width = self.segments, int(self.about["features"])
        types = {"path": pa.string(), "start_s": pa.float64(), "end_s": pa.float64()}
        types |= {"first_frame": pa.int64(), "frames": pa.int64(), "vector": pa.list_(pa.float32(), width)}

        def parts() -> Iterator[Sequence[Any]]:
            columns = (segments.path, segments.start_s, segments.end_s, segments.first_frame, segments.frames)
            for first in range(0, len(self), _ROWS):
                rows = slice(first, first + _ROWS)
                yield *(column[rows] for column in columns), np.asarray(self.vectors[rows])

        write_arrow(path, types, parts(), by=TABLE_BY)

    def __len__(self) -> int:
        return int(self.about["segments"])

    def __repr__(self) -> str:
        about = self.about
        return (
            f"Embedding({self.path}: {about['segments']} segments of {about['used']} videos, "
            f"{about['features']} features)"
        )


def current_folder(path: Path) -> Path:
    """The embedding folder itself: of an index the one that it points to. Raises UserError: an index of none yet."""
    if not (path / POINTER).is_file():
        return path
    name = read_object(path / POINTER).get("generation")
    if not isinstance(name, str) or Path(name).name != name:
        raise UserError(f"{path} is not finished: give the command that began it again.")
    return path / GENERATIONS / name
