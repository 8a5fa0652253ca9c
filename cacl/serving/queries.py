"""What the page asks with: videos of the index by their keys, files that were dropped on it, files by their paths.

A file that is dropped is kept, in a folder that ends with the server, as long as it is among the last ``KEPT``.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cacl.data.media.isolated import isolated, time_limit
from cacl.data.media.open_files import frame_seconds
from cacl.errors import UserError, VideoError, printable
from cacl.indexing.parts_of import Part, inside
from cacl.serving.current import View

KEPT = 20  # files
LARGEST = 4 * 1024**3  # bytes of a file that is dropped; of a larger one the path can be given
_VECTORS_KEPT = 64  # parts of files whose vectors are kept
_TEXT = re.compile(r"([0-9A-Za-z_-]{1,64})(?:@(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?))?", re.ASCII)
_FILE = "file-"

Vectors = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class QueryFile:
    """A file to ask with.

    Attributes:
        path: where it is.
        name: what to call it.
        own: whether it was dropped on the page: then it is removed in the end.
        seconds: it lasts, ``None``: unknown.
    """

    path: Path
    name: str
    own: bool
    seconds: float | None


class Queries:
    """Files to ask with, and the vectors of what was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = OrderedDict[str, QueryFile]()
        self._vectors = OrderedDict[tuple[str, str], tuple[Vectors, tuple[str, ...]]]()
        self._changing = threading.Lock()
        self._embedding = threading.Lock()  # one at a time: an encoder takes all processors

    def new_place(self, name: str) -> Path:
        """Where to write a file that is dropped; its suffix stays, as decoders look at it."""
        suffix = "".join(c for c in Path(name).suffix[:8] if c.isalnum())
        return self.folder / f"{secrets.token_hex(8)}{'.' * bool(suffix)}{suffix}"

    def add(self, path: Path, name: str, *, own: bool) -> dict[str, Any]:
        """Take a file to ask with. Raises UserError: it is no video that can be read."""
        try:
            seconds = isolated(str(path), time_limit(path), frame_seconds, str(path))
        except VideoError as error:
            raise UserError(f"{printable(name)}: {error.reason}; choose a video.") from None
        last = None if not len(seconds) or np.isnan(seconds).any() else float(seconds[-1])
        key = _FILE + secrets.token_hex(8)
        with self._changing:
            self._files[key] = QueryFile(path, name, own, last)
            while len(self._files) > KEPT:
                _, old = self._files.popitem(last=False)
                if old.own:
                    old.path.unlink(missing_ok=True)
        return self.facts(key)

    def facts(self, key: str) -> dict[str, Any]:
        """A file, for the page. Raises UserError: it is not kept any more."""
        file = self.file(key)
        return {"key": key, "path": file.name, "file": not file.own, "from_s": 0.0, "to_s": file.seconds}

    def file(self, key: str) -> QueryFile:
        """The file with this key. Raises UserError: it is not kept any more."""
        with self._changing:
            if key not in self._files:
                raise UserError("That file is not here any more: drop it on the page again.")
            self._files.move_to_end(key)
            return self._files[key]

    def example(self, view: View, text: str) -> tuple[Vectors, Numbers, tuple[str, ...]]:
        """Vectors of an example ``[m, d]``, their rows where they are of the index, and what is unusual about it.

        Args:
            view: the index.
            text: ``KEY`` or ``KEY@2.5-4``: of a video of the index, or of a file.

        Raises:
            UserError: there is no such thing, or the part is beyond its end.
        """
        found = _TEXT.fullmatch(text)
        if found is None:
            raise UserError(f"{printable(text[:80])} is no part of a video: choose one on the page.")
        key = found[1]
        start, end = float(found[2] or 0), None if found[3] is None else float(found[3])
        if end is not None and end <= start:
            raise UserError(f"The part ends at {end:g} s, before it begins ({start:g} s): move its handles.")
        if not key.startswith(_FILE):
            video = view.video(key)
            own = np.arange(video.first_row, video.first_row + video.rows)  # of the file there may be other parts
            rows = own[inside(view.index.spans.seconds[own], video.path, start, end)]
            return view.index.vectors[rows].astype(np.float64), rows, ()
        vectors, said = self._embedded(view, text, Part(str(self.file(key).path), start=start, end=end))
        return vectors, np.zeros(0, np.int64), said

    def _embedded(self, view: View, text: str, part: Part) -> tuple[Vectors, tuple[str, ...]]:
        own = str(view.index.about["fingerprint"]), text
        with self._embedding:
            if own not in self._vectors:
                said: list[str] = []
                name = self.file(text.partition("@")[0]).name
                try:
                    vectors, _ = view.index.examples(part, say=said.append)
                except UserError as error:
                    raise UserError(str(error).replace(part.path, name)) from None
                self._vectors[own] = vectors, tuple(line.replace(part.path, name) for line in said)
            self._vectors.move_to_end(own)
            while len(self._vectors) > _VECTORS_KEPT:
                self._vectors.popitem(last=False)
            return self._vectors[own]
