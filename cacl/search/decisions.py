"""What people decided about duplicates: "these two are not the same" is remembered, and asked no more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from cacl.errors import UserError
from cacl.files import write_whole
from cacl.lock import locked

FORMAT = 1
Pairs = frozenset[frozenset[str]]


class Decisions:
    """A file of pairs of videos that are not the same; a file that is missing holds none.

    Several processes may decide at once: each change is made to what is there then. The file's folder, made where it is
    missing, is locked meanwhile, so it should hold nothing else.
    """

    def __init__(self, file: Path) -> None:
        """Raises UserError: the file is damaged; it is work by hand, so it is never made anew by itself."""
        self._file = file
        self._pairs = _read(file)

    def not_same(self, first: str, second: str) -> bool:
        """Whether two videos were said not to be the same, in whichever order."""
        return frozenset((first, second)) in self._pairs

    def reject(self, first: str, second: str) -> None:
        """Remember that two videos are not the same. Raises UserError: they are one, or the file cannot be written."""
        if first == second:
            raise UserError(f"{first} is named twice: name two videos.")
        self._change(lambda pairs: pairs | {frozenset((first, second))})

    def forget(self, first: str, second: str) -> None:
        """Take that back. Raises UserError: the file cannot be written."""
        self._change(lambda pairs: pairs - {frozenset((first, second))})

    def _change(self, change: Callable[[Pairs], Pairs]) -> None:
        with locked(self._file.parent):
            pairs = change(_read(self._file))
            listed = sorted(sorted(pair) for pair in pairs)
            content = json.dumps({"format": FORMAT, "not the same": listed}, ensure_ascii=True, indent=1)
            write_whole(self._file, content + "\n")
        self._pairs = pairs


def _read(file: Path) -> Pairs:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        return frozenset(frozenset((str(first), str(second))) for first, second in content["not the same"])
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} is damaged ({error}): mend it, or move it away and decide on the pairs again."
        ) from error
