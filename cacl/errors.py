"""The two errors that are not bugs, and the help that a misspelt name gets."""

from __future__ import annotations

import difflib
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


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the choice nearest to ``name``, or nothing when none is near."""
    near = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""
