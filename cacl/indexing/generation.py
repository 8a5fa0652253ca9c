"""One state of an index: an embedding folder with what a search needs, written once, held by those who read it.

A reader holds a generation by a shared lock on its ``embedding.json``, which ends with the reader; nobody removes a
generation that is held. So a reader that opened the old state keeps it, whole, while a writer makes the new one.

Shapes: S segments, D features.
"""

from __future__ import annotations

import gc
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cacl.data.videos.catalog import Catalog
from cacl.errors import UserError
from cacl.evaluation.embedding import ABOUT, FORMAT, VECTORS
from cacl.files import read_object
from cacl.indexing.journal import Piece
from cacl.indexing.known import Known
from cacl.indexing.layout import GENERATIONS, KNOWN, POINTER, ROWS
from cacl.lock import try_lock
from cacl.search.rows import Rows, open_rows

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


@dataclass(frozen=True)
class IndexedVideo:
    """A video of an index, or part of a video file.

    Attributes:
        path: of its file, relative to the folder of videos, with ``/``.
        label: its class, ``None``: none; several with commas between.
        split: ``"train"``, ``"test"`` … or ``None``.
        seconds: it lasts; NaN where unknown.
        fps: frames a second, 0: unknown.
        width: pixels, as shown.
        height: pixels, as shown.
        absent: its file was not there when the index was brought up to date.
        first_row: number of its first vector; they follow each other in time.
        rows: how many there are.
        key: of its content: what is made of it, such as previews, is known by this.
    """

    path: str
    label: str | None
    split: str | None
    seconds: float
    fps: float
    width: int
    height: int
    absent: bool
    first_row: int
    rows: int
    key: str


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
        gc.unfreeze()

    @cached_property
    def vectors(self) -> Rows:
        """Float32 ``[S, D]``, mapped."""
        return open_rows(self.path / VECTORS)

    @cached_property
    def known(self) -> Known:
        """What it knows of files."""
        with _lasting():
            return Known.load(self.path / KNOWN)

    @cached_property
    def catalog(self) -> Catalog:
        """Its videos, those that are absent among them, and every other file."""
        with _lasting():
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

    @cached_property
    def videos(self) -> tuple[IndexedVideo, ...]:
        """The videos, with what their vectors say of them."""
        keys, spans = self.known.keys, self.spans
        bounds = np.searchsorted(spans.video, np.arange(len(keys) + 1)).tolist()
        ends = spans.seconds[:, 1]
        return tuple(
            IndexedVideo(
                video.path,
                ", ".join(video.labels) or None,
                video.split,
                float(ends[stop - 1] - spans.seconds[first, 0]),
                video.fps,
                video.width,
                video.height,
                video.absent,
                first,
                stop - first,
                key,
            )
            for video, key, first, stop in zip(self.catalog.videos, keys, bounds[:-1], bounds[1:], strict=True)
        )

    @cached_property
    def pieces(self) -> dict[str, Piece]:
        """The stretches of every video, by its key."""
        spans, broken, vectors = self.spans, self.known.broken, np.asarray(self.vectors)
        ends = np.searchsorted(spans.video, np.arange(len(self.known.keys) + 1)).tolist()
        return {
            key: Piece(vectors[a:b], spans.frames[a:b], spans.seconds[a:b], broken.get(key, ""))
            for key, a, b in zip(self.known.keys, ends[:-1], ends[1:], strict=True)
        }


_MEND = "remove the index and make it anew with cacl index"


@contextmanager
def _lasting() -> Iterator[None]:
    """What is read within is left out of the garbage collector's rounds until a generation is closed.

    Some objects a file, all of which stay: looking through them again took a third of a run over 20 000 files.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


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
        try:
            try_lock(held, shared=True)
        except BlockingIOError:  # it is just being removed
            held.close()
            continue
        except OSError:  # a disk without locks: then nobody keeps it
            pass
        if (folder / ABOUT).exists():
            generation = Generation(folder, held)
            if generation.about.get("format") != FORMAT or not generation.about.get("finished"):
                raise UserError(f"{folder / ABOUT} is damaged, or of a later version of cacl: {_MEND}.")
            return generation
        held.close()
    raise UserError(f"{index} is being changed again and again: try once more.")


def remove_others(index: Path, name: str | None) -> bool:
    """Remove the generations that nobody holds, but for the one with this name. Whether there were any."""
    others = [folder for folder in sorted((index / GENERATIONS).glob("*")) if folder.name != name and _closed(folder)]
    for folder in others:
        shutil.rmtree(folder, ignore_errors=True)
    return bool(others)


def keys_in_use(index: Path) -> set[str]:
    """The keys of the videos of all generations that are there."""
    kept: set[str] = set()
    for folder in (index / GENERATIONS).glob("*"):
        with suppress(UserError):
            kept |= set(Known.load(folder / KNOWN).keys)
    return kept


def next_name(index: Path) -> str:
    """A name for a generation that no other has."""
    numbers = (int(folder.name) for folder in (index / GENERATIONS).glob("[0-9]*") if folder.name.isdigit())
    return f"{1 + max(numbers, default=0):06d}"


def _closed(folder: Path) -> bool:
    """Let nobody open a generation any more, unless somebody holds it: whether it may be removed."""
    try:
        with (folder / ABOUT).open("rb") as file:
            try_lock(file)
            (folder / ABOUT).unlink()  # while it is locked: who opened it meanwhile finds it gone
    except FileNotFoundError:
        return True  # never finished
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
