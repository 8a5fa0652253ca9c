"""An index whose vectors are asked of a server; encoder, previews and space lie in the folder that it names."""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cacl.errors import UserError
from cacl.indexing.generation import Generation
from cacl.indexing.layout import COPY, POINTER
from cacl.search.rows import Rows
from cacl.search.space import Space
from cacl.servers.connect import connect
from cacl.servers.nearest import ServedNearest, ServedRows


class Served:
    """The vectors of an index on a server.

    Attributes:
        folder: where the index lies.
    """

    def __init__(self, address: str, *, approximate: bool) -> None:
        """Raises UserError: no such server, nothing on it, a push that is not finished, or the folder is not here."""
        self._server, self._approximate = connect(address), approximate
        held = self._server.held()
        if held is None:
            raise UserError(f"{self._server.shown} holds no index: push one with cacl index VIDEOS --out INDEX --to.")
        if not held.state:
            raise UserError(
                f"{self._server.shown}: a push of {held.folder} is going on or was not finished: wait for it, or give "
                "its command again."
            )
        self.folder, self._state = Path(held.folder), held.state
        if not (self.folder / POINTER).exists():
            raise UserError(
                f"{self._server.shown} holds the vectors of {held.folder}, which is not on this machine: encoder, "
                "previews and list of videos lie there; mount it at that place, or push the index from where it is now."
            )

    def attach(self, generation: Generation) -> None:
        """Say which state of the index was opened. Raises UserError: the server holds another."""
        if generation.about["fingerprint"] != self._state:
            raise UserError(
                f"{self._server.shown} holds another state of {self.folder} than the folder: push it again with "
                "cacl index VIDEOS --out INDEX --to."
            )
        self._generation = generation

    def close(self) -> None:
        """Let go of the server."""
        self._server.close()

    @cached_property
    def rows(self) -> Rows:
        """All vectors, read as they are used."""
        keys = self._generation.known.keys
        rows = ServedRows(self._server, keys, self._bounds, int(self._generation.about["features"]))
        return cast(Rows, rows)

    def nearest(self, space: Space) -> ServedNearest:
        """What finds single stretches."""
        keys, state = self._generation.known.keys, self._state
        return ServedNearest(
            self._server, keys, self._bounds, space, state=state, approximate=self._approximate,
            rows=cast(ServedRows, self.rows),
        )  # fmt: skip

    def neighbours(self, space: Space) -> Any:
        """All vectors, fetched to a file that goes with the process, for a search of everything by everything."""
        from cacl.search.neighbours import Neighbours

        shape = (int(self._generation.about["segments"]), int(self._generation.about["features"]))
        with tempfile.TemporaryFile(prefix="cacl-vectors-") as file:
            fetched = np.memmap(file, np.float32, "w+", shape=shape)  # stays while it is mapped
        cast(Any, self.rows).whole(fetched)
        copy = self._generation.path / COPY
        return Neighbours(np.asarray(fetched), space=space, copy=copy, version=self._state)

    @cached_property
    def _bounds(self) -> NDArray[np.int64]:
        videos = len(self._generation.known.keys)
        return np.searchsorted(self._generation.spans.video, np.arange(videos + 1)).astype(np.int64)
