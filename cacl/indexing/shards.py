"""An index made by several processes that know nothing of each other: each embeds a share, one joins them."""

from __future__ import annotations

import hashlib
import re
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from cacl.errors import UserError
from cacl.files import writing
from cacl.indexing.layout import SHARDS
from cacl.lock import FolderLock


class Shard(NamedTuple):
    """Share ``number`` of ``of``, from 1."""

    number: int
    of: int

    def holds(self, path: str) -> bool:
        """Whether a file is in this share; that depends on its name alone."""
        digest = hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest) % self.of == self.number - 1

    def folder(self, index: Path) -> Path:
        """Where its parts lie."""
        return index / SHARDS / f"{self.number:04d}-of-{self.of:04d}"


def shard_of(text: str) -> Shard:
    """``3/16``. Raises UserError where it is none."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
    shard = Shard(int(found[1]), int(found[2])) if found else None
    if shard is None or not 1 <= shard.number <= shard.of:
        raise UserError(f"--shard is {text}; it must be a share of all, such as 1/16, 2/16 … 16/16.")
    return shard


def locked_shard(index: Path, shard: Shard) -> FolderLock:
    """The lock of one share's folder. Raises UserError: the folder cannot be made."""
    with writing(shard.folder(index)):
        shard.folder(index).mkdir(parents=True, exist_ok=True)
    return FolderLock(shard.folder(index))


def locked_shards(index: Path, held: ExitStack) -> list[Path]:
    """All shares' folders, locked. Raises UserError: one is still being worked on."""
    folders = sorted(path for path in (index / SHARDS).glob("*") if path.is_dir())
    for folder in folders:
        held.enter_context(FolderLock(folder))
    return folders
