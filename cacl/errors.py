"""The two errors that are not bugs, the help that a misspelt name gets, and numbers and names of files as text."""

from __future__ import annotations

import difflib
import shlex
import unicodedata
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: one sentence that names the file or setting, what was found and what to do.

    The command line prints the sentence and exits with status 2, without a traceback.
    """


class VideoError(Exception):
    """One video cannot be used. Never fatal among many: the caller records ``reason`` and goes on.

    Attributes:
        path: the video file as it was named by the caller.
        reason: what was found, as a short phrase without a full stop ("no video stream found (audio only)").
    """

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, str]]:
        return type(self), (self.path, self.reason)


def did_you_mean(name: str, choices: Iterable[str], *, cutoff: float = 0.5) -> str:
    """`` Did you mean 'x'?`` for the choice nearest to ``name``, or nothing when none is near (similarity, 0 to 1)."""
    near = difflib.get_close_matches(name, list(choices), n=1, cutoff=cutoff)
    return f" Did you mean '{near[0]}'?" if near else ""


def counted(number: int, noun: str) -> str:
    """``1 video``, ``1 204 videos``."""
    return f"{number:,} {noun}{'s' * (number != 1)}".replace(",", " ")


def quoted(word: object) -> str:
    """A path, or another word, as it is typed: of every command that is printed, so that it can be pasted."""
    return shlex.quote(str(word))


def printable(text: str) -> str:
    """Text with a file's name in it, for a line, a picture or a terminal: what is no text comes as ``\\n``, ``\\xe9``.

    Names may hold line breaks, commands to the terminal, signs that turn the direction of writing, and bytes that are
    no text at all. The joiners that some scripts need inside words stay.
    """
    return "".join(_escaped(c) if unicodedata.category(c) in _NO_TEXT and c not in _JOINERS else c for c in text)


_NO_TEXT = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode()
