"""Student's t distribution with any degrees of freedom above 0: tail probability and quantile."""

from __future__ import annotations

import math

_SMALLEST, _ENOUGH = 1e-300, 1e-14


def two_sided(t: float, freedom: float) -> float:
    """Probability that the absolute value is ``|t|`` or more."""
    if math.isinf(t):
        return 0.0
    return _incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5)


def two_sided_quantile(probability: float, freedom: float) -> float:
    """The t above 0 whose ``two_sided`` is the probability, in (0, 1)."""
    low, high = 0.0, 1.0
    while two_sided(high, freedom) > probability:
        low, high = high, 2 * high
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle, freedom) > probability else (low, middle)
    return (low + high) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function by its continued fraction (Lentz), on the side where that is short."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )  # fmt: skip
    c, d = 1.0, _away_from_0(1 - (a + b) * x / (a + 1))
    d = 1 / d
    fraction, m = d, 0
    while True:
        m += 1
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1 / _away_from_0(1 + even * d), _away_from_0(1 + even / c)
        fraction *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1 / _away_from_0(1 + odd * d), _away_from_0(1 + odd / c)
        fraction *= d * c
        if abs(d * c - 1) < _ENOUGH:
            return front * fraction / a


def _away_from_0(value: float) -> float:
    return value if abs(value) > _SMALLEST else _SMALLEST
