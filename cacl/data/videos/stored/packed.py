"""The packed frames of a store, one after the other, whatever the files are in which they lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cacl.data.remote.place import RemotePath
from cacl.data.remote.servers import Unfetched
from cacl.data.remote.spans import read_spans
from cacl.errors import UserError


class PackedFrames:
    """Bytes of the frames, read by several threads at once; files are opened when they are read.

    Args:
        files: on disks, which are mapped into memory, or on servers, which are read by ranges.
        pieces: int64 ``[P, 2]``; bytes go from piece to piece: number of its file, and how many bytes it has. In a file
            its pieces follow each other. A frame lies in one piece.
    """

    def __init__(self, files: Sequence[Path], pieces: NDArray[np.int64]) -> None:
        self.files = tuple(files)
        self._file, sizes = pieces[:, 0], pieces[:, 1]
        self._begin = np.cumsum(sizes) - sizes
        self._in_file = np.zeros_like(self._begin)
        for number in range(len(self.files)):
            own = self._file == number
            self._in_file[own] = np.cumsum(sizes[own]) - sizes[own]
        self._mapped: dict[int, NDArray[np.uint8]] = {}

    def read(self, bounds: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        """The bytes of each frame, uint8.

        Args:
            bounds: int64 ``[N, 2]``, the frames' first bytes and those after their last.

        Raises:
            UserError: a server does not give them: a store is there, or it is not.
        """
        if len(self.files) == 1:
            return self._of_file(0, list(map(tuple, bounds.tolist())))
        piece = np.searchsorted(self._begin, bounds[:, 0], "right") - 1
        spans = (bounds + (self._in_file[piece] - self._begin[piece])[:, None]).tolist()
        files = self._file[piece].tolist()
        found: list[NDArray[np.uint8]] = [np.empty(0, np.uint8)] * len(spans)
        for number in {*files}:
            places = [n for n, file in enumerate(files) if file == number]
            for n, data in zip(places, self._of_file(number, [tuple(spans[n]) for n in places]), strict=True):
                found[n] = data
        return found

    def _of_file(self, number: int, spans: list[tuple[int, int]]) -> list[NDArray[np.uint8]]:
        file = self.files[number]
        if isinstance(file, RemotePath):
            try:
                return [np.frombuffer(data, np.uint8) for data in read_spans(str(file), spans)]
            except Unfetched as error:
                raise UserError(
                    f"{file} cannot be fetched: {error.reason}. When it can, give the same command again (a training "
                    "goes on with cacl pretrain --resume RUN)."
                ) from None
        if number not in self._mapped:
            self._mapped[number] = np.memmap(file, np.uint8, mode="r").view(
                np.ndarray
            )  # which is cut up in half the time
        return [self._mapped[number][start:stop] for start, stop in spans]
