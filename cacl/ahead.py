"""Work in threads whose results come in the order of what they are of, some of them ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int | None = None
) -> Iterator[Result]:
    """Yield ``work(item)`` of each item, in order; raises what the work or the items raise.

    Closed before its end it begins nothing more, and does not wait for what the threads are at.

    Args:
        work: called in the threads.
        items: are taken as they are needed, in the thread of who asks.
        threads: at least 1.
        ahead: so many results wait at most, beside the one that is asked for; twice the threads where ``None``.
    """
    waiting: deque[Future[Result]] = deque()
    pool, wait = ThreadPoolExecutor(threads, "cacl-ahead"), True
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > (2 * threads if ahead is None else ahead):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except GeneratorExit:
        wait = False  # who collects garbage closes it too: in the middle of a thread's start it would wait for ever
        raise
    finally:
        pool.shutdown(wait=wait, cancel_futures=True)
