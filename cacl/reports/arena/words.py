"""What a comparison says in sentences: first of all whether a rival beats CACL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAIN = "R@1"  # by what methods are ranked
OURS = "cacl"  # its rivals are a family of comparisons of their own


def first_line(network: Mapping[str, Any], budget: str) -> str:
    """Whether a rival beats CACL under the budget, and how sure that is; without CACL, whether the first is alone.

    Args:
        network: of ``comparison.json``.
        budget: as it was given, ``passes=60000``.
    """
    order, pairs = network["order"], network["pairs"][MAIN]
    kind, _, amount = budget.partition("=")
    equal = f"at equal {kind} ({float(amount):,.0f})".replace(",", " ")
    if len(order) < 2:
        return f"One method only is there yet: {', '.join(order)}."
    ours = OURS if OURS in order else order[0]
    shown = "CACL" if ours == OURS else ours
    key = "different from ours" if ours == OURS else "different"
    own = [(_other(pair, ours), *_towards(pair, ours), pair[key]) for pair in pairs if ours in _both(pair)]
    better = [one for one in own if one[1] > 0 and one[4]]
    ahead = [one for one in own if one[1] > 0 and not one[4]]
    behind = [one[0] for one in own if one[1] <= 0 and one[4]]
    if better:
        told = "; ".join(f"{name} by {mean:.1f} points ({_ends(low, high)})" for name, mean, low, high, _ in better)
        return f"{shown} is beaten {equal}: {told}."
    parts = [f"No rival beats {shown} {equal}"]
    if ahead:
        told = "; ".join(f"{name} {mean:+.1f} points ({_ends(low, high)})" for name, mean, low, high, _ in ahead)
        parts.append(f"ahead, but not separable from it after correction: {told}")
    if behind:
        parts.append(f"it beats {', '.join(behind)}")
    else:
        parts.append("nor is it shown to beat any")
    return "; ".join(parts) + "."


def _both(pair: Mapping[str, Any]) -> tuple[str, str]:
    return pair["first"], pair["second"]


def _other(pair: Mapping[str, Any], name: str) -> str:
    first, second = _both(pair)
    return second if first == name else first


def _towards(pair: Mapping[str, Any], ours: str) -> tuple[float, float | None, float | None]:
    """The other method minus ours."""
    if pair["first"] != ours:
        return pair["mean"], pair["low"], pair["high"]
    ends = [None if pair[key] is None else -pair[key] for key in ("high", "low")]
    return -pair["mean"], ends[0], ends[1]


def _ends(low: float | None, high: float | None) -> str:
    return "interval not known" if low is None or high is None else f"95 % interval {low:+.1f} to {high:+.1f}"
