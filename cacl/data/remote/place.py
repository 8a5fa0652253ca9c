"""An address in the place of a path: ``s3://bucket/prefix`` and what lies below it, named as files of a folder are."""

from __future__ import annotations

import math
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cacl.data.remote.servers import FETCH, Facts, Unfetched, facts_of, is_url
from cacl.errors import UserError, VideoError

if TYPE_CHECKING:
    _Base = Path
else:
    _Base = type(Path())

_told: dict[str, tuple[Facts, float]] = {}  # what servers said last, of each address, and when


class RemotePath(_Base):
    """An address, to be used where a folder or file of videos is: it is never what the system takes for a path."""

    def __str__(self) -> str:
        text = "/".join(self.parts)
        return re.sub(r"^(\w+:)/", r"\1//", text) or "."  # a part of an address has no scheme

    def __fspath__(self) -> str:
        return str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self),)

    def absolute(self) -> Self:
        """Itself."""
        return self

    def resolve(self, strict: bool = False) -> Self:
        """Itself."""
        return self

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether the server has it. Raises UserError: it does not say."""
        return self.is_file() or self.is_dir()

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is one object. Raises UserError: the server does not say."""
        found = self._facts()
        return found is not None and not found.folder

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether objects begin with it. Raises UserError: the server does not say."""
        found = self._facts()
        return found is not None and found.folder

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Its size; asks the server. Raises UserError: it is not there, or the server does not say."""
        try:
            found = ask(str(self))
        except Unfetched as error:
            raise UserError(f"{self}: {error.reason}.") from None
        return os.stat_result((0o40755 if found.folder else 0o100644, 0, 0, 1, 0, 0, found.size, 0, 0, 0))

    def _facts(self) -> Facts | None:
        try:
            return known(str(self))
        except Unfetched as error:
            if error.missing:
                return None
            raise UserError(f"{self}: {error.reason}.") from None


def place(text: str | Path) -> Path:
    """A path, or an address.

    Raises:
        UserError: an address that does not come out of a path as it went in.
    """
    if isinstance(text, RemotePath):
        return text
    if not is_url(text):
        return Path(text)
    if why := why_no_address(str(text)):
        raise UserError(f"{text}: {why}.")
    return RemotePath(str(text))


def why_no_address(text: str) -> str:
    """Why an address cannot be read here; an empty string where it can, or is none."""
    odd = is_url(text) and str(RemotePath(text)) != text.rstrip("/")
    return "an address with an empty part (//), or a part . in it, cannot be read here" if odd else ""


def names_store(path: Path) -> bool:
    """Whether an address is taken for that of a frame store: by its name alone, so that others cost no request."""
    return isinstance(path, RemotePath) and path.suffix == ".store"


def file_at(root: Path, path: str) -> Path:
    """The file of a folder, or of a list, which may name addresses."""
    return place(path) if is_url(path) else root / path


def remote_is_there(url: str) -> bool:
    """Whether the server gives it, as far as can be known: one that does not answer has nothing."""
    try:
        return not known(url).folder
    except Unfetched:
        return False


def remote_stamp(url: str, *, within: float = math.inf) -> tuple[int, int, int]:
    """Changes when the content does. Raises VideoError: the server does not say.

    Args:
        url: the address.
        within: seconds that an earlier answer is taken to hold.
    """
    try:
        return known(url, within=within).stamp
    except Unfetched as error:
        raise VideoError(url, f"{FETCH} ({error.reason})") from None


def last_stamp(url: str) -> tuple[int, int, int] | None:
    """The same as the server said last, ``None`` where it does not say."""
    try:
        return known(url).stamp
    except Unfetched:
        return None


def remote_size(url: str) -> int:
    """Bytes; 0 where the server does not say."""
    try:
        return known(url).size
    except Unfetched:
        return 0


def known(url: str, *, within: float = math.inf) -> Facts:
    """What a server said last, which is asked where it said nothing yet. Raises Unfetched."""
    facts, when = _told.get(url, (None, 0.0))
    return facts if facts is not None and time.monotonic() - when <= within else ask(url)


def ask(url: str) -> Facts:
    """What a server says now. Raises Unfetched."""
    _told.pop(url, None)
    remember(url, facts_of(url))
    return _told[url][0]


def remember(url: str, facts: Facts) -> None:
    """What a server said in a list of many."""
    _told[url] = facts, time.monotonic()


def forget() -> None:
    """What comes next asks again."""
    _told.clear()
