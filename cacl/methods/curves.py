"""What a method logs, as a reader is to see it: one panel of curves, in words that the progress line shares.

Plain values, so that a report of a run needs neither its networks nor PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Mark:
    """A value to mark in a panel, with its name; ``of`` is the key of the one line that it belongs to."""

    name: str
    value: float
    of: str | None = None


@dataclass(frozen=True)
class Curve:
    """One panel: numbers of ``metrics.jsonl`` that answer one question.

    Attributes:
        title: what is shown, with the unit.
        lines: key of the row -> name of the line.
        references: values to mark, as ``Mark("chance", 1 / 16)``.
        log: a logarithmic axis.
        percent: the values are fractions, to be shown in percent.
        shown: keys that the progress line shows -> what it calls them.
        chance: what guessing gives of an accuracy. Where the last quarter of a training stays near that (half of it
            above at most, and a tenth of what it leaves), the user is warned that the task has not started, and told
            ``advice``.
        advice: what to try then, a sentence.
    """

    title: str
    lines: Mapping[str, str]
    references: Sequence[Mark] = ()
    log: bool = False
    percent: bool = False
    shown: Mapping[str, str] = field(default_factory=dict)
    chance: float | None = None
    advice: str = ""


MOCO_CURVES = (
    Curve("Similarity of pairs", {"similarity_positive": "positive", "similarity_negatives": "negatives"}),
    Curve("Gradient norm at the encoder", {"grad_nce": "contrastive"}, log=True),
)
"""Of every method that draws two clips together against others."""


def mean_of(rows: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """Mean of the finite values of one key, or None where there is none."""
    values = [float(row[key]) for row in rows if isinstance(row.get(key), (int, float)) and math.isfinite(row[key])]
    return sum(values) / len(values) if values else None
