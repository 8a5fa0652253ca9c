"""What an index knows of files, so that none is opened twice: what was found, and what could not be embedded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cacl.data.remote.place import file_at
from cacl.data.remote.servers import FETCH
from cacl.data.videos.catalog import Skipped, Video
from cacl.data.videos.lists.entry import Entry
from cacl.data.videos.look import look
from cacl.data.videos.passing import may_pass
from cacl.errors import UserError
from cacl.files import read_object, write_whole
from cacl.indexing.layout import Stamp, stamp_of


@dataclass(frozen=True)
class Looked:
    """What was found in a file.

    Attributes:
        stamp: of the file then.
        asked: what was asked of it, as a short digest: its parts by a list, a rate.
        found: videos, and why the others are none.
    """

    stamp: Stamp
    asked: str
    found: tuple[Video | Skipped, ...]

    @property
    def lasts(self) -> bool:
        """Whether it would be found again."""
        return not any(isinstance(item, Skipped) and may_pass(item.reason) for item in self.found)


@dataclass(frozen=True)
class Known:
    """What a generation knows.

    Attributes:
        looked: what was found in each file, by its path.
        keys: of its videos, in their order.
        failed: why videos could not be embedded, by their keys.
        broken: what ended others early, by their keys.
    """

    looked: Mapping[str, Looked] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)

    def save(self, file: Path) -> None:
        """Write it, whole or not at all. Raises UserError."""
        looked = looked_to_json(self.looked)
        content = {"looked": looked, "keys": self.keys, "failed": self.failed, "broken": self.broken}
        write_whole(file, json.dumps(content) + "\n")

    @staticmethod
    def load(file: Path) -> Known:
        """Raises UserError: missing or damaged."""
        content = read_object(file)
        try:
            looked = looked_from_json(content["looked"])
            return Known(looked, tuple(content["keys"]), dict(content["failed"]), dict(content["broken"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{file} is missing or damaged: remove the index and make it anew.") from error


def looked_to_json(looked: Mapping[str, Looked]) -> dict[str, Any]:
    """For a JSON file."""
    return {path: [one.stamp, one.asked, [_item_to_json(item) for item in one.found]] for path, one in looked.items()}


def looked_from_json(content: Mapping[str, Any]) -> dict[str, Looked]:
    """What ``looked_to_json`` gave. Raises KeyError, TypeError, ValueError or AttributeError."""
    return {
        path: Looked(tuple(stamp), asked, tuple(map(_item_from_json, items)))
        for path, (stamp, asked, items) in content.items()
    }


class Memory:
    """Opens files as ``look`` does, but only those that were never opened or have changed since.

    Attributes:
        seen: what was found in every file that was asked for.
    """

    def __init__(self, before: Mapping[str, Looked], *, mine: Callable[[str], bool] = lambda path: True) -> None:
        """``mine``: files that this process looks at; of others it says nothing."""
        self._before, self._mine = before, mine
        self.seen: dict[str, Looked] = {}

    def __call__(
        self, root: Path, path: str, entries: Sequence[Entry], *, deep: bool, rate: float, named: bool
    ) -> list[Video | Skipped]:
        """See ``look``."""
        if not self._mine(path):
            return []
        stamp, asked = stamp_of(file_at(root, path)), asked_of(entries, rate, named)
        before = self._before.get(path)
        if before is None or before.stamp != stamp or before.asked != asked or not before.lasts:
            found = look(root, path, entries, deep=deep, rate=rate, named=named)
            before = None if stamp is None else Looked(stamp, asked, tuple(found))
            if before is None:  # gone meanwhile, or a server was silent
                said = [item for item in found if isinstance(item, Skipped)]
                return [*said] or [Skipped(path, f"{FETCH} (the server is silent)")]
        self.seen[path] = before
        return list(before.found)


def asked_of(entries: Sequence[Entry], rate: float, named: bool) -> str:
    """What is asked of a file, as a short digest."""
    return hashlib.blake2b(repr((list(entries), rate, named)).encode("utf-8", "replace"), digest_size=8).hexdigest()


def _item_to_json(item: Video | Skipped) -> dict[str, Any]:
    return asdict(item)


def _item_from_json(content: dict[str, Any]) -> Video | Skipped:
    if "reason" in content:
        return Skipped(**content)
    region = content["region"]
    return Video(
        **{
            **content,
            "several": tuple(content["several"]),
            "region": None if region is None else tuple(region),
        }
    )
