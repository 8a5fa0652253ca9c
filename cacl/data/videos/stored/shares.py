"""A store whose frames lie in shares, each where it was made: on another disk, or on a server.

The store's manifest lists the shares with their places, bytes and checksums, and of each part of the store in which
share it is. A share is a folder with its parts in one file, and ``share.json``, which says which share it is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cacl.data.remote.place import RemotePath, ask
from cacl.data.remote.servers import Unfetched, fetch
from cacl.data.videos.stored.fetched import read_small
from cacl.data.videos.stored.packed import PackedFrames
from cacl.errors import UserError, counted

FOLDERS = "CACL_SHARES"  # of the environment: folders in which a share is looked for first
FRAMES, SHARE = "frames.bin", "share.json"
_AT_ONCE = 2**23  # bytes


class Share(NamedTuple):
    """One of a store's shares.

    Attributes:
        place: its folder, absolute, or from the folder in which the store lies.
        size: bytes of its frames.
        checksum: of its parts' checksums.
    """

    place: str
    size: int
    checksum: str


class Piece(NamedTuple):
    """One part of a store: in which share it is, its bytes, and their checksum."""

    share: int
    size: int
    checksum: str


def checksum(data: Iterator[bytes]) -> str:
    """Of bytes, in hexadecimal."""
    digest = hashlib.blake2b(digest_size=16)
    for some in data:
        digest.update(some)
    return digest.hexdigest()


def checksum_of_all(pieces: list[Piece]) -> str:
    """Of a share, by those of its parts."""
    return checksum(f"{piece.size} {piece.checksum}\n".encode() for piece in pieces)


class Shares:
    """The shares that a manifest lists, each found and looked at.

    Args:
        store: the store's folder, or its address.
        manifest: what it says.

    Attributes:
        folders: where each was found.

    Raises:
        UserError: the manifest is damaged; or a share is missing or another one, which is named.
    """

    def __init__(self, store: Path, manifest: dict[str, Any]) -> None:
        self._store = store
        try:
            self._shares = [Share(str(p), int(n), str(c)) for p, n, c in manifest["shares"]]
            self._pieces = [Piece(int(s), int(n), str(c)) for s, n, c in manifest["pieces"]]
            held = [sum(piece.size for piece in own) for own in self._by_share()]
            good = held == [share.size for share in self._shares] and min(min(piece[:2]) for piece in self._pieces) >= 0
        except (KeyError, TypeError, ValueError, IndexError):
            good = False
        if not good:
            raise UserError(f"{store}/manifest.json is damaged. Make the store again.")
        self.folders = [self._find(share) for share in self._shares]

    @property
    def packed(self) -> PackedFrames:
        """All frames."""
        pieces: NDArray[np.int64] = np.array([piece[:2] for piece in self._pieces], np.int64)
        return PackedFrames([folder / FRAMES for folder in self.folders], pieces)

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return sum(share.size for share in self._shares)

    def verify(self) -> None:
        """Read every byte. Raises UserError: a share is not what it was; it is named."""
        for folder, own in zip(self.folders, self._by_share(), strict=True):
            begin = 0
            for piece in own:
                try:
                    found = checksum(_read(folder / FRAMES, begin, begin + piece.size))
                except (OSError, Unfetched) as error:
                    raise self._away(folder, error) from None
                if found != piece.checksum:
                    raise UserError(
                        f"{self._store}: its share {folder} has changed (other bytes of {FRAMES} from {begin} to "
                        f"{begin + piece.size}): put a good copy in its place, or make the store again."
                    )
                begin += piece.size

    def _by_share(self) -> list[list[Piece]]:
        found: list[list[Piece]] = [[] for _ in self._shares]
        for piece in self._pieces:
            found[piece.share].append(piece)
        return found

    def _find(self, share: Share) -> Path:
        """Where a share is: in the first folder of the environment that has one of its name, or in its place.

        Those of a store on a server lie beside it, whatever its manifest says: nothing else was named.
        """
        name, near = Path(share.place).name, self._store.resolve().parent
        own = near / (name if isinstance(near, RemotePath) else share.place)
        before = [Path(folder) / name for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if folder]
        folder = next((folder for folder in before if folder.is_dir()), own)
        try:
            size = _size(folder / FRAMES)
            about = json.loads(read_small(folder / SHARE))
        except (OSError, Unfetched) as error:
            raise self._away(folder, error) from None
        except ValueError:
            about = None
        if about != {"bytes": share.size, "checksum": share.checksum} or size != share.size:
            what = f"{counted(size, 'byte')}, {share.size} expected" if size != share.size else f"by its {SHARE}"
            raise UserError(
                f"{self._store}: its share {folder} has changed, or is that of another store ({what}): put the right "
                "one in its place, or make the store again."
            )
        return folder

    def _away(self, folder: Path, error: Exception) -> UserError:
        missing = isinstance(error, FileNotFoundError) or (isinstance(error, Unfetched) and error.missing)
        reason = getattr(error, "strerror", None) or error
        what = "is not there" if missing else f"cannot be read ({reason})"
        return UserError(
            f"{self._store}: its share {folder} {what}: put it back, or name the folder that it lies in now in the "
            f"environment variable {FOLDERS}."
        )


def _size(file: Path) -> int:
    return ask(str(file)).size if isinstance(file, RemotePath) else file.stat().st_size


def _read(file: Path, start: int, stop: int) -> Iterator[bytes]:
    if isinstance(file, RemotePath):
        for at in range(start, stop, _AT_ONCE):
            yield fetch(str(file), at, min(at + _AT_ONCE, stop))
        return
    with file.open("rb") as opened:
        opened.seek(start)
        while start < stop and (data := opened.read(min(_AT_ONCE, stop - start))):
            start += len(data)
            yield data


def checksum_within(file: Path, start: int, stop: int) -> str:
    """Of a part of a file."""
    return checksum(_read(file, start, stop))
