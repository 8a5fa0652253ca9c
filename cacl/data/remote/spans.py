"""Many small ranges of a large file on a server, for several threads at once: near ones come in one request.

Between two ranges that are wanted up to ``_NEAR`` bytes come along unasked; nothing before the first one or behind the
last one does. What was wanted last is kept, to a bound.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from cacl.data.remote.place import known
from cacl.data.remote.servers import fetch

_NEAR = 2**16  # bytes that come sooner than the answer to a request of their own
_MOST = 2**23  # bytes of one request, but for a single range that is longer
_KEPT = 2**25  # bytes of all files of a process

Span = tuple[int, int]  # the first byte, and one after the last

_File = tuple[str, tuple[int, int, int]]  # its address, and what changes when its content does

_kept: OrderedDict[tuple[_File, Span], bytes] = OrderedDict()
_held = 0  # bytes in it
_changing = threading.Lock()


def read_spans(url: str, spans: Sequence[Span]) -> list[bytes]:
    """The bytes of each range of a file.

    Args:
        url: the file's address.
        spans: in any order, repeats allowed; none overlaps another in part.

    Raises:
        Unfetched: the server does not give them.
        UserError: a package is missing.
    """
    file, found = (url, known(url).stamp), dict[Span, bytes]()
    with _changing:
        for span in {*spans}:
            if (file, span) in _kept:
                found[span] = _kept[file, span]
                _kept.move_to_end((file, span))
    for near in _together(sorted({*spans} - found.keys())):
        start = near[0][0]
        data = fetch(url, start, near[-1][1])
        for span in near:
            found[span] = data[span[0] - start : span[1] - start]
    _keep(file, found)
    return [found[span] for span in spans]


def _together(spans: Sequence[Span]) -> Iterator[list[Span]]:
    """Sorted ranges, those of one request together."""
    near: list[Span] = []
    for span in spans:
        if near and (span[0] - near[-1][1] > _NEAR or span[1] - near[0][0] > _MOST):
            yield near
            near = []
        near.append(span)
    if near:
        yield near


def _keep(file: _File, found: dict[Span, bytes]) -> None:
    global _held
    with _changing:
        for span, data in found.items():
            if (file, span) not in _kept:
                _kept[file, span] = data
                _held += len(data)
        while _held > _KEPT and len(_kept) > 1:
            _held -= len(_kept.popitem(last=False)[1])
