"""One state of an index: an embedding folder with what a search needs, written once, held by those who read it.

A reader holds a generation by a shared lock on its ``embedding.json``, which ends with the reader; nobody removes a
generation that is held. So a reader that opened the old state keeps it, whole, while a writer makes the new one.

Shapes: S segments, D features.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cacl.data.videos.catalog import Catalog, Video
from cacl.errors import UserError
from cacl.evaluation.embedding import ABOUT, FORMAT, SEGMENTS, VECTORS
from cacl.files import read_object, whole, write_whole, writing
from cacl.indexing.journal import Piece
from cacl.indexing.known import Known
from cacl.indexing.layout import COPY, GENERATIONS, KNOWN, POINTER, ROWS, SCALE, SPACE
from cacl.models.segments import Segment
from cacl.search.copy_file import write_copy
from cacl.search.rows import CHUNK, Rows, open_rows
from cacl.search.score import measure_scale
from cacl.search.space import Space

_TRIES = 20  # to read a pointer that is moved meanwhile


@dataclass(frozen=True, eq=False)
class Spans:
    """What the vectors are of.

    Attributes:
        video: number of the video, rising, int64 ``[S]``.
        frames: first frame and one after the last in the file, int64 ``[S, 2]``.
        seconds: start and end, float64 ``[S, 2]``, NaN where unknown.
    """

    video: NDArray[np.int64]
    frames: NDArray[np.int64]
    seconds: NDArray[np.float64]

    def rows(self, video: int) -> slice:
        """Which vectors are of a video."""
        first, stop = np.searchsorted(self.video, [video, video + 1]).tolist()
        return slice(first, stop)


class Generation:
    """A generation that is held until it is closed, or let go of.

    Attributes:
        path: the folder.
        about: what ``embedding.json`` says.
    """

    def __init__(self, path: Path, held: BinaryIO) -> None:
        self.path, self._held = path, held
        self.about: dict[str, Any] = read_object(path / ABOUT)

    def close(self) -> None:
        """Hold it no longer; arrays that were opened stay."""
        self._held.close()

    @cached_property
    def vectors(self) -> Rows:
        """Float32 ``[S, D]``, mapped."""
        return open_rows(self.path / VECTORS)

    @cached_property
    def known(self) -> Known:
        """What it knows of files."""
        return Known.load(self.path / KNOWN)

    @cached_property
    def catalog(self) -> Catalog:
        """Its videos, those that are absent among them, and every other file."""
        return Catalog.read_csv(self.path / "videos.csv", root=self.about["root"])

    @cached_property
    def spans(self) -> Spans:
        """What the vectors are of."""
        file = self.path / ROWS
        try:
            with np.load(file, allow_pickle=False) as stored:
                spans = Spans(stored["video"], stored["frames"], stored["seconds"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{file} is missing or damaged ({error}): {_MEND}.") from error
        if len(spans.video) != len(self.vectors):
            raise UserError(f"{file} does not fit {VECTORS} beside it: {_MEND}.")
        return spans

    def pieces(self) -> dict[str, Piece]:
        """The stretches of every video, by its key."""
        spans, broken = self.spans, self.known.broken
        ends = np.searchsorted(spans.video, np.arange(len(self.known.keys) + 1)).tolist()
        return {
            key: Piece(self.vectors[a:b], spans.frames[a:b], spans.seconds[a:b], broken.get(key, ""))
            for key, a, b in zip(self.known.keys, ends[:-1], ends[1:], strict=True)
        }


_MEND = "remove the index and make it anew with cacl index"


def open_generation(index: Path) -> Generation | None:
    """The generation that counts, held; None where there is none yet.

    Raises:
        UserError: it is missing or damaged.
    """
    name = None
    for _ in range(_TRIES):
        before, name = name, read_object(index / POINTER).get("generation")
        if name is None:
            return None
        folder = index / GENERATIONS / str(name)
        try:
            held = (folder / ABOUT).open("rb")
        except OSError as error:
            if before == name:  # nobody moved it: it is not there
                raise UserError(f"{folder / ABOUT} is missing ({error.strerror or error}): {_MEND}.") from error
            continue
        with suppress(OSError):  # a disk without locks: then nobody keeps it
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if (folder / ABOUT).exists():
            generation = Generation(folder, held)
            if generation.about.get("format") != FORMAT or not generation.about.get("finished"):
                raise UserError(f"{folder / ABOUT} is damaged, or of a later version of cacl: {_MEND}.")
            return generation
        held.close()
    raise UserError(f"{index} is being changed again and again: try once more.")


def write_generation(
    folder: Path,
    *,
    about: Mapping[str, Any],
    catalog: Catalog,
    pieces: Sequence[Piece],
    known: Known,
    whiten: bool,
) -> None:
    """Write a generation; it counts once the index points to it.

    Args:
        folder: new.
        about: goes into ``embedding.json``.
        catalog: the videos, and every other file.
        pieces: of its videos, in their order.
        known: what is known of files.
        whiten: of the space in which vectors are compared.

    Raises:
        UserError: it cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True)
    width = pieces[0].vectors.shape[1]
    spans = Spans(
        np.repeat(np.arange(len(pieces)), [len(piece.frames) for piece in pieces]),
        np.concatenate([piece.frames for piece in pieces]),
        np.concatenate([piece.seconds for piece in pieces]),
    )
    mark = _write_vectors(folder / VECTORS, pieces, (len(spans.video), width))
    with whole(folder / ROWS) as partial, partial.open("wb") as file:
        np.savez(file, video=spans.video, frames=spans.frames, seconds=spans.seconds)
    _write_segments(folder / SEGMENTS, catalog.videos, spans)
    catalog.write_csv(folder / "videos.csv")
    vectors = open_rows(folder / VECTORS)
    space = Space.fit(vectors, whiten=whiten)
    space.save(folder / SPACE)
    measure_scale(vectors, space, spans.video).save(folder / SCALE)
    write_copy(folder / COPY, vectors, space, made_of=f"{mark} {space.fingerprint()}")
    known.save(folder / KNOWN)
    counts = {"used": len(catalog.videos), "segments": len(spans.video), "features": width, "fingerprint": mark}
    write_whole(folder / ABOUT, json.dumps({**about, **counts, "finished": True}, indent=2) + "\n")


def remove_others(index: Path, name: str | None) -> set[str]:
    """Remove the generations that nobody holds, but for the one with this name; the keys of videos that stay."""
    kept: set[str] = set()
    for folder in sorted((index / GENERATIONS).glob("*")):
        if folder.name != name and _free(folder):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            with suppress(UserError):
                kept |= set(Known.load(folder / KNOWN).keys)
    return kept


def next_name(index: Path) -> str:
    """A name for a generation that no other has."""
    numbers = (int(folder.name) for folder in (index / GENERATIONS).glob("[0-9]*") if folder.name.isdigit())
    return f"{1 + max(numbers, default=0):06d}"


def _free(folder: Path) -> bool:
    try:
        with (folder / ABOUT).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True  # never finished
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _write_vectors(path: Path, pieces: Sequence[Piece], shape: tuple[int, int]) -> str:
    """Write all vectors; their fingerprint, as ``cacl.search.rows.fingerprint`` would find it."""
    digest = hashlib.blake2b(repr(shape).encode(), digest_size=16)
    with whole(path) as partial, partial.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for part in _chunks(pieces):
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


def _chunks(pieces: Sequence[Piece]) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece.vectors), CHUNK):
            yield piece.vectors[start : start + CHUNK].astype("<f4").tobytes()


def _write_segments(path: Path, videos: Sequence[Video], spans: Spans) -> None:
    with (
        whole(path) as partial,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(Segment._fields)
        columns = (spans.video.tolist(), spans.seconds.tolist(), spans.frames.tolist())
        for number, (start, end), (first, stop) in zip(*columns, strict=True):
            writer.writerow([videos[number].path, round(start, 6), round(end, 6), first, stop - first])
