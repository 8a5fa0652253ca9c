"""Rate and time left, on a clock that the test moves."""

from __future__ import annotations

import re

import pytest

from cacl.training import progress as module
from cacl.training.progress import Progress, VideoProgress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_a_line_every_thirty_seconds_where_there_is_no_terminal(clock, capsys):
    with Progress("train", total=100) as progress:
        for _ in range(50):
            clock.now += 2
            progress.advance({"loss": 3.0})
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "train: 16/100 steps, 0.50/s, 3 min left  loss 3"
    assert len(lines) == 4  # after 32, 64, 96 seconds, and the end
    assert lines[-1].startswith("train: 50/100 steps, 0.50/s, 2 min left")


def test_the_rate_is_of_the_last_fifty(clock):
    progress = Progress("train", total=1000)
    assert progress.rate == 0
    for seconds in (100, *[0.5] * 50):
        clock.now += seconds
        progress.advance()
    assert progress.rate == pytest.approx(2.0)


def test_steps_may_come_in_lots(clock):
    progress = Progress("store", total=1000, unit="videos")
    for _ in range(10):
        clock.now += 1
        progress.advance(count=20)
    assert progress.rate == pytest.approx(20.0)


def test_steps_of_before_a_resume_do_not_count_for_the_rate(clock, capsys):
    with Progress("train", total=1000, done=900) as progress:
        clock.now += 10
        progress.advance()
    assert progress.rate == pytest.approx(0.1)
    assert "901/1000 steps, 0.10/s, 16 min left" in capsys.readouterr().err


def test_numbers_are_smoothed_and_unknown_ones_left_out(clock, capsys):
    keys = {"loss": "loss", "degree_accuracy": "degree right", "nce": "contrast"}
    with Progress("train", total=2, keys=keys) as progress:
        clock.now += 1
        progress.advance({"loss": 2.0, "lr": 0.1, "degree_accuracy": 0.5})
        clock.now += 1
        progress.advance({"loss": 4.0})
    assert capsys.readouterr().err.rstrip().endswith("loss 2.1  degree right 0.5")


def test_an_error_prints_no_last_line(clock, capsys):
    def fail():
        with Progress("train", total=2) as progress:
            progress.advance()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert capsys.readouterr().err == ""


def test_nothing_done_is_no_line(clock, capsys):
    with Progress("train", total=2):
        pass
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(module, "Console", lambda **rest: terminal(**rest))
    with Progress("train", total=3, done=1) as progress:
        progress.advance({"loss": 2.5})
    error = capsys.readouterr().err
    assert "train" in error
    assert "2/3" in error
    assert "loss 2.5" in error


def terminal(**rest):
    from rich.console import Console

    return Console(force_terminal=True, width=120, **rest)


def test_a_task_that_begins_anew_has_a_rate_of_its_own(clock, capsys):
    """Training videos, then test videos, under the same words."""
    with VideoProgress() as progress:
        for total in (100, 40):
            for done in range(1, total + 1):
                clock.now += 2
                progress("videos looked at", done, total)
    lines = capsys.readouterr().err.splitlines()
    assert all(re.search(r", 0\.5\d/s, \d min left", line) for line in lines), lines
    assert any("/40 videos" in line for line in lines)
