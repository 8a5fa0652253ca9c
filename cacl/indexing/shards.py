"""An index made by several processes that know nothing of each other: each embeds a share, one joins them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from cacl.data.videos.store_shares import Shard
from cacl.files import writing
from cacl.indexing.layout import SHARDS
from cacl.lock import FolderLock


def shard_folder(index: Path, shard: Shard) -> Path:
    """Where a share's parts lie."""
    return index / SHARDS / shard.name


def locked_shard(index: Path, shard: Shard) -> FolderLock:
    """The lock of one share's folder. Raises UserError: the folder cannot be made."""
    with writing(shard_folder(index, shard)):
        shard_folder(index, shard).mkdir(parents=True, exist_ok=True)
    return FolderLock(shard_folder(index, shard))


def locked_shards(index: Path, held: ExitStack) -> list[Path]:
    """All shares' folders, locked. Raises UserError: one is still being worked on."""
    folders = sorted(path for path in (index / SHARDS).glob("*") if path.is_dir())
    for folder in folders:
        held.enter_context(FolderLock(folder))
    return folders
