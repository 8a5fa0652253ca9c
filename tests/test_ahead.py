"""Results of threads in the order of what they are of."""

from __future__ import annotations

import threading
import time

import pytest

from cacl.ahead import in_order


@pytest.mark.parametrize("threads", [1, 3])
def test_in_the_order_of_the_items_whoever_is_first(threads: int) -> None:
    def work(number: int) -> int:
        time.sleep(0.01 * (number % 3 == 0))
        return number * number

    assert list(in_order(work, range(20), threads=threads)) == [number**2 for number in range(20)]


def test_no_more_is_taken_than_twice_the_threads_ahead() -> None:
    taken: list[int] = []

    def items() -> object:
        for number in range(100):
            taken.append(number)
            yield number

    found = in_order(lambda number: number, items(), threads=2)  # type: ignore[arg-type, var-annotated]
    next(found)
    assert len(taken) == 5
    found.close()  # type: ignore[attr-defined]
    assert len(taken) == 5


def test_what_the_work_raises_comes_in_its_turn_and_ends_it() -> None:
    here = threading.get_ident()

    def work(number: int) -> int:
        assert threading.get_ident() != here
        if number == 3:
            raise ValueError("three")
        return number

    found = in_order(work, range(9), threads=2)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(found)


def test_closed_before_its_end_it_begins_nothing_more_and_waits_for_nothing() -> None:
    """It may be the garbage collector who closes it, and where that waits for a thread there may be no end."""
    begun, go_on = list[int](), threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number:
            go_on.wait()
        return number

    found = in_order(work, range(100), threads=1)
    assert next(found) == 0
    closing = threading.Thread(target=found.close, daemon=True)  # type: ignore[attr-defined]
    closing.start()
    closing.join(60)
    waited = closing.is_alive()
    go_on.set()
    assert not waited
    closing.join()
    assert begun in ([0], [0, 1])
