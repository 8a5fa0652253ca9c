"""Who does what, in which order, and what becomes of it when a worker dies: nothing here knows how work is sent.

The longest first, small ones together, so that nobody is left with a long one at the end (LPT, Graham 1969: at most
4/3 of the best). A batch whose worker dies is looked up among what is kept; what is not there is tried again, each job
alone, so that the one that kills is found. It is given up after ``TRIES``.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

TRIES = 3
_EACH = 16  # batches for every worker, about: the last ones end within a sixteenth of the whole of each other

What = TypeVar("What")
Sent = TypeVar("Sent")


@dataclass(frozen=True)
class Job(Generic[What]):
    """Something to be done.

    Attributes:
        key: no other has it.
        cost: beside that of the others, in any unit.
        what: is to be done.
    """

    key: str
    cost: int
    what: What


Batch = tuple[Job[What], ...]


def batches_of(jobs: Sequence[Job[What]], workers: int) -> list[Batch[What]]:
    """The most costly first; small ones together.

    Args:
        jobs: in any order.
        workers: how many work at once.
    """
    most = sum(max(job.cost, 1) for job in jobs) / (_EACH * max(workers, 1))
    found, batch, cost = list[Batch[What]](), list[Job[What]](), 0
    for job in sorted(jobs, key=lambda job: (-max(job.cost, 1), job.key)):
        if batch and cost + max(job.cost, 1) > most:
            found.append(tuple(batch))
            batch, cost = [], 0
        batch.append(job)
        cost += max(job.cost, 1)
    return [*found, tuple(batch)] if batch else found


class Workers(Protocol, Generic[What, Sent]):
    """Who does the work."""

    def places(self) -> int:
        """How many batches to have under way."""

    def send(self, batch: Batch[What]) -> Sent:
        """Have a batch done."""

    def next(self, sent: Sequence[Sent]) -> tuple[Sent, bool]:
        """One that ended, and whether its worker lived. Raises UserError: what no other try can mend."""


def work_off(
    batches: Sequence[Batch[What]],
    workers: Workers[What, Sent],
    *,
    kept: Callable[[], Set[str]],
    done: Callable[[Sequence[str]], None],
) -> list[Job[What]]:
    """Have all batches done.

    Args:
        batches: in their order.
        workers: who does them.
        kept: keys of what is done by now, well or not; asked after a death.
        done: called with the keys of jobs that are done.

    Returns:
        Those that were given up: each ended ``TRIES`` processes alone.
    """
    waiting, under_way = deque(batches), dict[Sent, Batch[What]]()
    deaths, given_up = Counter[str](), list[Job[What]]()
    while waiting or under_way:
        while waiting and len(under_way) < workers.places():
            batch = waiting.popleft()
            under_way[workers.send(batch)] = batch
        sent, lived = workers.next(list(under_way))
        batch = under_way.pop(sent)
        there = {job.key for job in batch} if lived else kept()
        left = [job for job in batch if job.key not in there]
        if len(batch) == 1:
            deaths.update(job.key for job in left)
        given_up += [job for job in left if deaths[job.key] >= TRIES]
        waiting.extend((job,) for job in left if deaths[job.key] < TRIES)
        done([job.key for job in batch if job.key in there])
    return given_up
