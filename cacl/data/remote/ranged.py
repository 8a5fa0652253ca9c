"""A file of a server as a decoder reads it: what is asked for is fetched in few ranges, ahead where it goes on.

What will be needed is mostly known (``expect``): then exactly that is fetched. Else ranges grow while reading goes on
without a gap, and the next one is under way while the last one is decoded. What was fetched last is kept, to a bound.
"""

from __future__ import annotations

import re
from bisect import bisect_right, insort
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor

from cacl.data.remote.place import ask
from cacl.data.remote.servers import FETCH, Unfetched, fetch
from cacl.errors import VideoError

_FIRST, _MOST = 2**16, 2**21  # bytes of a range: of one that nothing is known of, and of the longest
_SURE = 2**18  # from a range of so many bytes on, the next one is sent for before it is asked for
_KEPT = 2**25  # bytes of all files of a process

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}$")

_kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
_readers = ThreadPoolExecutor(2, thread_name_prefix="ahead")


class RangedFile:
    """A file of a server, opened. Not for several threads at once.

    Args:
        url: its address.

    Attributes:
        name: with the suffix of the address, by which FFmpeg tells some formats; nothing else of it, for FFmpeg takes
            ``img%d.jpg`` for files of this machine.
        size: bytes.
        payload: part of the file, from and to, of which zeros are as good where it was not fetched; ``None``: no part.

    Raises:
        VideoError: the server does not give it.
    """

    def __init__(self, url: str) -> None:
        self.url, self.name = url, f"video{_suffix(url)}"
        try:
            self.size = ask(url).size
        except Unfetched as error:
            raise VideoError(url, f"{FETCH} ({error.reason})") from None
        self.payload: tuple[int, int] | None = None
        self._at = self._expected = 0
        self._range = _FIRST
        self._went_on = False  # when it was fetched last, so that two ranges were without a gap
        self._end = -1  # of what was fetched last
        self._starts: list[int] = []
        self._ahead: tuple[int, int, Future[bytes]] | None = None

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes, at least one but at the end. Raises VideoError: the server does not give them."""
        count = min(count, self.size - self._at)
        if count <= 0:
            return b""
        if not (found := self._here(count)):
            if self.payload and self.payload[0] <= self._at < self.payload[1]:
                found = bytes(min(count, self._next(self.payload[1]) - self._at))
            else:
                self._fetch()
                found = self._here(count)
        self._at += len(found)
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place, as of any file."""
        self._at = max(0, offset + (0, self._at, self.size)[whence])
        return self._at

    def tell(self) -> int:
        """Where it is."""
        return self._at

    def expect(self, stop: int) -> None:
        """What is read next goes on to here."""
        self._expected = stop

    def _here(self, count: int) -> bytes:
        """Of what is kept, the bytes from here on."""
        place = bisect_right(self._starts, self._at) - 1
        if place < 0:
            return b""
        start = self._starts[place]
        held = _kept.get((self.url, start))
        if held is None:
            del self._starts[place]
            return self._here(count)
        _kept.move_to_end((self.url, start))
        return held[self._at - start : self._at - start + count]

    def _next(self, stop: int) -> int:
        """Where from here on something is kept, at most ``stop``."""
        place = bisect_right(self._starts, self._at)
        return min(self._starts[place], stop) if place < len(self._starts) else stop

    def _fetch(self) -> None:
        """Have what is needed from here on, and send for what comes after it."""
        start = self._at
        planned = self._expected > start
        goes_on = not planned and start == self._end != self._expected
        if self._ahead is not None and self._ahead[0] == start:
            _, stop, future = self._ahead
            self._ahead, got = None, future
        else:
            self._range = min(2 * self._range, _MOST) if goes_on and self._went_on else _FIRST
            self._went_on = goes_on
            stop = self._stop(start)
            got = _readers.submit(fetch, self.url, start, stop)
        try:
            data = got.result()
        except Unfetched as error:
            self._ahead = None
            raise VideoError(self.url, f"{FETCH} ({error.reason})") from None
        self._keep(start, data)
        self._end = stop
        if stop not in self._starts and (stop < self._expected or (goes_on and self._range >= _SURE)):
            self._range = min(2 * self._range, _MOST)
            if (after := self._stop(stop)) > stop:
                self._ahead = stop, after, _readers.submit(fetch, self.url, stop, after)

    def _stop(self, start: int) -> int:
        """The end of a range that begins here."""
        wanted = self._expected if self._expected > start else start + self._range
        place = bisect_right(self._starts, start)
        there = self._starts[place] if place < len(self._starts) else self.size
        return min(wanted, start + _MOST, there, self.size)

    def _keep(self, start: int, data: bytes) -> None:
        _kept[self.url, start] = data
        if start not in self._starts:
            insort(self._starts, start)
        held = sum(map(len, _kept.values()))
        while held > _KEPT and len(_kept) > 1:
            held -= len(_kept.popitem(last=False)[1])


def _suffix(url: str) -> str:
    found = _SUFFIX.search(url.partition("?")[0])
    return found[0] if found else ""
