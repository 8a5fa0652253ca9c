"""Sections of a step on a clock that only moves when the work says so."""

from __future__ import annotations

import pytest

from cacl import sections
from cacl.sections import Stopwatch, section, waited


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sections, "time", clock)
    return clock


def test_time_counts_for_the_innermost_section(clock: Clock) -> None:
    with Stopwatch() as watch:
        for _ in range(2):
            with section("outer"):
                clock.work(1)
                with section("inner"):
                    clock.work(10)
                    with section("innermost"):
                        clock.work(100)
                with section("inner"):
                    clock.work(1000)
                clock.work(0.5)
        clock.work(7)  # in no section
    assert watch.seconds == {"innermost": 200, "inner": 2020, "outer": 3}


def test_nothing_is_timed_when_nobody_listens(clock: Clock) -> None:
    with section("before"):
        clock.work(1)
    with Stopwatch() as watch:
        pass
    with section("after"):
        clock.work(1)
    assert watch.seconds == {}


def test_items_come_as_they_were_and_waiting_for_them_is_timed(clock: Clock) -> None:
    def items():
        for n in range(3):
            clock.work(5)
            yield n
        clock.work(1)

    assert list(waited("waiting", items())) == [0, 1, 2]
    with Stopwatch() as watch:
        for _ in waited("waiting", items()):
            clock.work(100)
    assert watch.seconds == {"waiting": 16}


def test_an_error_goes_through_and_closes_its_section(clock: Clock) -> None:
    with Stopwatch() as watch:
        with pytest.raises(ZeroDivisionError), section("broken"):
            clock.work(3 / 0)
        with section("next"):
            clock.work(1)
    assert watch.seconds == {"broken": 0, "next": 1}


def test_the_device_is_waited_for_at_both_ends_and_names_are_marked(clock: Clock) -> None:
    calls: list[str] = []

    class Mark:
        def __init__(self, name: str) -> None:
            self.name = name

        def __enter__(self) -> None:
            calls.append(f"enter {self.name}")

        def __exit__(self, *rest: object) -> None:
            calls.append(f"exit {self.name}")

    with Stopwatch(finish=lambda: (calls.append("finish"), clock.work(2)), mark=Mark) as watch, section("kernel"):
        calls.append("work")
    assert calls == ["finish", "enter kernel", "work", "exit kernel", "finish"]
    assert watch.seconds == {"kernel": 2}  # what the device still had to do counts, what it did before does not
