"""The small files of a store (everything but the frames) where they can be opened: those of a server are copied."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cacl.data.remote.place import RemotePath, ask
from cacl.data.remote.servers import Unfetched, fetch
from cacl.errors import UserError
from cacl.files import read_object

_AT_ONCE = 2**23  # bytes of one request
TIMES = "times.json"  # when the frames of each video are shown that are not evenly spaced
_NEEDED, _MAYBE = ("manifest.json", "videos.csv", "offsets.npy"), (TIMES,)


class SmallFiles:
    """A folder of this machine with the small files of a store; a copy is removed with this object.

    Args:
        store: the store's folder, or its address.

    Attributes:
        folder: where they are.

    Raises:
        UserError: the server does not give them.
    """

    def __init__(self, store: Path) -> None:
        self.folder = store
        if isinstance(store, RemotePath):
            self._copy = TemporaryDirectory(prefix="cacl-store-", ignore_cleanup_errors=True)
            self.folder = Path(self._copy.name)
            for name in (*_NEEDED, *_MAYBE):
                try:
                    _copy(str(store / name), self.folder / name)
                except Unfetched as error:
                    if not (error.missing and name in _MAYBE):
                        raise UserError(f"{store / name} cannot be fetched: {error.reason}.") from None

    def times(self) -> dict[str, Any]:
        """What the store says of its videos' times."""
        return read_object(self.folder / TIMES)


def read_small(file: Path) -> bytes:
    """All of a small file, of this machine or of a server. Raises OSError, Unfetched."""
    if not isinstance(file, RemotePath):
        return file.read_bytes()
    url = str(file)
    return fetch(url, 0, size) if (size := ask(url).size) else b""


def _copy(url: str, to: Path) -> None:
    size = ask(url).size
    with to.open("wb") as file:
        for start in range(0, size, _AT_ONCE):
            file.write(fetch(url, start, min(start + _AT_ONCE, size)))
