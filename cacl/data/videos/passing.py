"""Which failures say something of the moment rather than of the file: another try may go well."""

from __future__ import annotations

import errno
import os

from cacl.data.remote.servers import FETCH

LOST = ("took longer than ", "needs more than ", "the process that decoded it died")  # how LostVideo begins
CHANGED = "when it was looked at first"
_SYSTEM = (
    errno.EACCES, errno.EAGAIN, errno.EBUSY, errno.EHOSTDOWN, errno.EINTR, errno.EIO, errno.EMFILE, errno.ENFILE,
    errno.ENODEV, errno.ENOENT, errno.ENOMEM, errno.ENOTCONN, errno.ENXIO, errno.EPERM, errno.ESTALE, errno.ETIMEDOUT,
)  # fmt: skip
_WORDS = tuple(os.strerror(number).lower() for number in _SYSTEM)


def may_pass(reason: str) -> bool:
    """Whether a video failed for what may be over next time: memory, time, a disk or a right that was missing.

    Args:
        reason: of a ``VideoError``, or a sentence with it.
    """
    text = reason.lower()
    return bool(text) and any(words in text for words in (*LOST, CHANGED, FETCH, *_WORDS))
