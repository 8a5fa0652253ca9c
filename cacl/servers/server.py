"""What a server of vectors must be able to do for an index to lie on it; another is a file beside ``postgres.py``.

A stretch is known by the key of its video (32 hexadecimal digits, of its content) and its part, its number in it.

Shapes: p stretches of one video, c stretches found, d numbers of a vector.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Held:
    """What a server says that it holds.

    Attributes:
        folder: where the index lies that it was pushed from, with all that is no vector.
        request: digest of what the vectors depend on: encoder, step, precision.
        features: d.
        state: fingerprint of the state of the index that it holds whole; empty while a push is not finished.
    """

    folder: str
    request: str
    features: int
    state: str


@dataclass(frozen=True, eq=False)
class Pushed:
    """A video, as it is pushed.

    Attributes:
        key: of its content.
        path: of its file, relative to the folder of videos; for people, what is no text escaped.
        labels: its classes.
        frames: first frame and one after the last of its stretches, int64 ``[p, 2]``.
        seconds: start and end, float64 ``[p, 2]``, NaN where unknown.
        vectors: float32 ``[p, d]``, finite.
    """

    key: str
    path: str
    labels: tuple[str, ...]
    frames: NDArray[np.int64]
    seconds: NDArray[np.float64]
    vectors: NDArray[np.float32]

    @property
    def digest(self) -> str:
        """32 hexadecimal digits: of another content others."""
        digest = hashlib.blake2b(repr((self.path, self.labels, self.vectors.shape)).encode(), digest_size=16)
        for part in (self.frames, self.seconds, self.vectors):
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Candidates:
    """Stretches that may be the nearest, the most promising first.

    Attributes:
        keys: of their videos.
        parts: their numbers in these, int64 ``[c]``.
        vectors: float32 ``[c, d]``.
        rest: what a stretch that is not among them scores at most; -inf where there is no other, inf where nothing is
            promised (an approximate search).
        state: as of ``Held``, at the moment of the search.
    """

    keys: Sequence[str]
    parts: NDArray[np.int64]
    vectors: NDArray[np.float32]
    rest: float
    state: str


class VectorServer(Protocol):
    """A server that was reached.

    Attributes:
        shown: its address as it may be printed, without a password.

    Every call raises UserError where the server cannot be reached or refuses: what was done before stays done.
    """

    shown: str

    def held(self) -> Held | None:
        """What it holds; ``None``: nothing yet."""

    def begin(self, held: Held, *, many: bool) -> None:
        """Be alone in writing until ``close``, and say what is held from now on; ``many``: much of it is to come."""

    def digests(self) -> dict[str, str]:
        """The digest of every video that is there, by its key."""

    def push(self, videos: Sequence[Pushed]) -> None:
        """Add videos, all of them or none; one of the same key is replaced."""

    def delete(self, keys: Collection[str]) -> None:
        """Remove videos."""

    def finish(self, state: str, centre: NDArray[np.float64], *, approximate: bool) -> bool:
        """All is there: say so, and make what searches are faster by.

        Args:
            state: as of ``Held``.
            centre: from where vectors are compared, float64 ``[d]``.
            approximate: make what approximate searches need, if it is not there.

        Returns:
            Whether approximate searches can be asked for.
        """

    def count(self) -> int:
        """How many stretches are there."""

    def search(
        self,
        direction: NDArray[np.float64],
        centre: NDArray[np.float64],
        k: int,
        *,
        keys: Collection[str] | None = None,
        approximate: bool = False,
    ) -> Candidates:
        """The ``k`` most promising by ``direction · (v - centre) / |v - centre|``, fewer where there are fewer.

        Args:
            direction: float64 ``[d]``, of length 1 at most.
            centre: float64 ``[d]``.
            k: at least 1.
            keys: only of these videos.
            approximate: as fast as can be, without a promise.
        """

    def read(self, keys: Sequence[str]) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float32]]]:
        """The vectors of videos, some at a time: key, parts ``[p]``, vectors ``[p, d]``; in no order."""

    def close(self) -> None:
        """Let go of it."""

    def __enter__(self) -> VectorServer: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def id_of(request: str, key: str, part: int) -> uuid.UUID:
    """The name of a stretch: a hash of encoder (and step and precision), path (and content) and part."""
    return uuid.UUID(bytes=hashlib.blake2b(f"{request} {key} {part}".encode(), digest_size=16).digest())
