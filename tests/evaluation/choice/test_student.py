from __future__ import annotations

import math

import pytest

from cacl.evaluation.choice.student import two_sided, two_sided_quantile

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("freedom", [1, 1.7, 2, 5.5, 30, 96, 5000])
def test_against_another_library(freedom: float) -> None:
    for t in (0.0, 1e-3, 0.5, 1.96, 4.3, 30.0):
        assert two_sided(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-9, abs=1e-300)
        assert two_sided(-t, freedom) == two_sided(t, freedom)
    for probability in (0.5, 0.05, 1e-3):
        expected = stats.t.isf(probability / 2, freedom)
        assert two_sided_quantile(probability, freedom) == pytest.approx(expected, rel=1e-8)


def test_at_infinity_there_is_nothing() -> None:
    assert two_sided(math.inf, 3) == 0
