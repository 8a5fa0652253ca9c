"""The simulation of workers that fail, beside what can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

AGAIN = 60.0  # seconds until another worker is there


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import failing_workers

    assert failing_workers.AGAIN == AGAIN
    return failing_workers.simulated


def test_who_never_fails_loses_nothing_and_writes_once_a_part(simulated: Callable[..., Any]):
    told = simulated(np.full(1000, 1.0), 7, 10.0, 1e15, seed=0, cost=0.5)
    assert (told.lost, told.again) == (0.0, 0.0)
    assert told.written == pytest.approx(0.5 / 10)


def test_failures_cost_what_exponential_lives_say(simulated: Callable[..., Any]):
    """A part of length x fails with probability 1 - exp(-x/L); until one goes well it fails exp(x/L) - 1 times in the
    mean, and all of them together, with the one that goes well, take L(exp(x/L) - 1) of time of living workers.
    """
    part, life, cost = 100.0, 250.0, 5.0
    told = simulated(np.full(20_000, part), 50, part, life, seed=1, cost=cost)
    deaths = np.expm1((part + cost) / life)
    assert told.again == pytest.approx(deaths * AGAIN / part, rel=0.05)
    assert told.written == pytest.approx(cost / part)
    assert told.lost == pytest.approx((life * deaths - (part + cost)) / part, rel=0.05)


def test_the_best_length_is_near_youngs(simulated: Callable[..., Any]):
    """√(2 · cost · life), Young 1974."""
    cost, life = 2.0, 2500.0
    parts = [12.5, 25.0, 50.0, 100.0, 200.0, 400.0]
    beyond = [simulated(np.full(32_000, 12.5), 50, part, life, seed=2, cost=cost) for part in parts]
    assert parts[int(np.argmin([told.lost + told.written for told in beyond]))] == 100.0
