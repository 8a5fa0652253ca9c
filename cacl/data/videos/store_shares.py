"""Who makes which part of a store: all in this process, or shares of them, ``3/16``, each in a folder beside the store.

Which part is in which share depends on its number alone, and a part on its videos alone, so that the store that is
joined of them is the one that a single process makes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import replace
from glob import escape
from pathlib import Path
from typing import NamedTuple, Protocol

from cacl.data.videos.store_parts import PartPlan, make
from cacl.data.videos.stored.shares import SHARE
from cacl.errors import UserError, counted
from cacl.lock import FolderLock


class Make(Protocol):
    """What makes the parts of a store: ``make_here``, or others in its place."""

    def __call__(self, plans: Sequence[PartPlan], made: Callable[[int], None], /) -> None:
        """Make all of them; ``made`` is called with a number of videos whose parts are there."""


def make_here(plans: Sequence[PartPlan], made: Callable[[int], None], *, workers: int) -> None:
    """Make parts in this process, ``workers`` at a time."""
    if workers <= 0:
        for plan in plans:
            make(plan)
            made(len(plan.videos))
        return
    with ThreadPoolExecutor(workers, "cacl-prepare") as pool:  # each has a decode process to itself
        futures = {pool.submit(make, plan): plan for plan in plans}
        try:
            for future in as_completed(futures):
                future.result()
                made(len(futures[future].videos))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class Shard(NamedTuple):
    """Share ``number`` of ``of``, from 1."""

    number: int
    of: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.number:04d}-of-{self.of:04d}"

    def holds(self, path: str) -> bool:
        """Whether a file is in this share; that depends on its name alone."""
        digest = hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest) % self.of == self.number - 1


def shard_of(text: str) -> Shard:
    """``3/16``. Raises UserError where it is none."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
    shard = Shard(int(found[1]), int(found[2])) if found else None
    if shard is None or not 1 <= shard.number <= shard.of:
        raise UserError(f"--shard is {text}; it must be a share of all, such as 1/16, 2/16 … 16/16.")
    return shard


def share_folder(out: Path, shard: Shard, *, within: Path | None = None) -> Path:
    """Where a share's parts lie: beside the store to be, or in another folder."""
    return (within or out.parent) / f"{out.name}.share-{shard.name}"


def check_open(folder: Path) -> None:
    """Raise UserError where a share is in use by a store that was made."""
    if _is_kept(folder):
        raise UserError(
            f"{folder} holds frames of a store that is made. Choose another --out or --shares, or delete that folder "
            "with its store."
        )


def own_parts(plans: Sequence[PartPlan], shard: Shard) -> list[PartPlan]:
    """The parts of one share."""
    return [plan for plan in plans if plan.number % shard.of == shard.number - 1]


def shares_of(out: Path, held: ExitStack, *, within: Sequence[Path]) -> list[Path]:
    """The folders of all shares that no store has kept, locked.

    Args:
        within: the folders to look in.

    Raises:
        UserError: one is still being worked on.
    """
    every = {path.resolve() for place in within for path in place.glob(f"{escape(out.name)}.share-*") if path.is_dir()}
    folders = sorted(path for path in every if not _is_kept(path))
    for folder in folders:
        held.enter_context(FolderLock(folder))
    return folders


def with_shares(
    plans: Sequence[PartPlan], folders: Sequence[Path], parts: dict[str, object], *, whole: bool
) -> list[PartPlan]:
    """The same parts, each where it was made.

    Args:
        folders: of shares; those of another request are passed over.
        parts: the request of this store, as each share keeps it.
        whole: every part must be there.

    Raises:
        UserError: ``whole``, and one is not.
    """
    ours = [folder for folder in folders if _request(folder) == parts]
    found = []
    for plan in plans:
        there = [replace(plan, folder=folder) for folder in ours]
        found.append(next((one for one in there if one.facts.exists()), plan))
    if whole and (missing := [plan for plan in found if not plan.facts.exists()]):
        raise UserError(
            f"{counted(len(missing), 'part')} of {len(plans)} of the store are in no share yet (first video "
            f"{missing[0].videos[0].path}): give cacl prepare … --shard for every share, with the same videos and "
            "options, or leave out --merge."
        )
    return found


def _is_kept(folder: Path) -> bool:
    return (folder / SHARE).exists() and not (folder / "request.json").exists()


def _request(folder: Path) -> object:
    try:
        return json.loads((folder / "request.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
