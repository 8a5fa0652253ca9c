"""Who does what, in which order, and what becomes of it when a worker dies: nothing here knows how work is sent.

The longest first, small ones together, so that nobody is left with a long one at the end (LPT, Graham 1969: at most
4/3 of the best). A batch whose worker dies is looked up in the parts; what is not there is tried again, each video
alone, so that the one that kills is found. It is given up after ``TRIES``.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence, Set
from typing import Generic, Protocol, TypeVar

from cacl.indexing.changes import Entry

TRIES = 3
_EACH = 16  # batches for every worker, about: the last ones end within a sixteenth of the whole of each other
DIED = f"the process that decoded it died {TRIES} times"  # as of LOST: another run tries again

Sent = TypeVar("Sent")
Batch = tuple[Entry, ...]


def batches_of(entries: Sequence[Entry], workers: int) -> list[Batch]:
    """The videos by what they cost, pixels decoded, the most costly first; small ones together.

    Args:
        entries: of a folder.
        workers: how many work at once.
    """
    costs = {entry.key: max(entry.video.frames * entry.video.width * entry.video.height, 1) for entry in entries}
    most = sum(costs.values()) / (_EACH * max(workers, 1))
    found, batch, cost = list[Batch](), list[Entry](), 0
    for entry in sorted(entries, key=lambda entry: (-costs[entry.key], entry.key)):
        if batch and cost + costs[entry.key] > most:
            found.append(tuple(batch))
            batch, cost = [], 0
        batch.append(entry)
        cost += costs[entry.key]
    return [*found, tuple(batch)] if batch else found


class Workers(Protocol, Generic[Sent]):
    """Who does the work."""

    def places(self) -> int:
        """How many batches to have under way."""

    def send(self, batch: Batch) -> Sent:
        """Have a batch done."""

    def next(self, sent: Sequence[Sent]) -> tuple[Sent, bool]:
        """One that ended, and whether its worker lived. Raises UserError: what no other try can mend."""


def work_off(
    batches: Sequence[Batch],
    workers: Workers[Sent],
    *,
    kept: Callable[[], Set[str]],
    progress: Callable[[int], None],
) -> list[Entry]:
    """Have all batches done.

    Args:
        batches: in their order.
        workers: who does them.
        kept: keys of what parts hold by now, made or failed; asked after a death.
        progress: called with the number of videos done.

    Returns:
        Those that were given up: each ended ``TRIES`` processes alone.
    """
    waiting, under_way = deque(batches), dict[Sent, Batch]()
    deaths, given_up, done = Counter[str](), list[Entry](), 0
    while waiting or under_way:
        while waiting and len(under_way) < workers.places():
            batch = waiting.popleft()
            under_way[workers.send(batch)] = batch
        sent, lived = workers.next(list(under_way))
        batch = under_way.pop(sent)
        left = [] if lived else [entry for entry in batch if entry.key not in kept()]
        if len(batch) == 1:
            deaths.update(entry.key for entry in left)
        lost = [entry for entry in left if deaths[entry.key] >= TRIES]
        given_up += lost
        waiting.extend((entry,) for entry in left if deaths[entry.key] < TRIES)
        done += len(batch) - len(left) + len(lost)
        progress(done)
    return given_up
