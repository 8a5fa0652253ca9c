"""The numbers of an evaluation, ``results.json``: one dictionary, percent throughout, and its mean over seeds.

``{"retrieval": {"chance": {"R@1": 11.3, …}, "colour histogram": …, "thumbnail": …, "untrained": …,
"untrained, batch statistics": …, "cacl": …},
"degree": {"accuracy": …, "chance": 6.25, "frame-difference baseline": …}}``
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cacl.files import write_whole

REFERENCES = ("chance", "colour histogram", "thumbnail", "untrained", "untrained, batch statistics", "frozen")
"""Rows of the retrieval table that nothing was learned for, in the order in which they are shown."""
EARLIER_PARTS = {"degree": "tasks"}
"""Parts of an analysis that had another name."""


def tasks_of(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The temporal tasks among results: name -> its numbers, ``"title"`` among them."""
    found = {
        name: value
        for name, value in results.items()
        if isinstance(value, Mapping) and {"accuracy", "counts"} & value.keys()
    }
    return {name: {"title": "Shuffle degree", **_of_today(value)} for name, value in found.items()}


def _of_today(task: Mapping[str, Any]) -> dict[str, Any]:
    """Earlier versions knew one task, and named its values."""
    names = {"degrees": "values", "within one degree": "within one"}
    return {names.get(key, key): value for key, value in task.items()}


def task_line(task: Mapping[str, Any]) -> str:
    """What became of a task on unseen videos, in a sentence for the screen."""
    return (
        f"{task['title']} on {task.get('tested on', 'unseen videos')}: {task['accuracy']:.1f} % right "
        f"(chance {task['chance']:.1f} %, frame differences {task['frame-difference baseline']:.1f} %)"
    )


def merge_seeds(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean over seeds in the place of each number, and the sample standard deviation (n - 1) beside it.

    Args:
        results: seed -> results of one seed, at least one. A number that some seed lacks is averaged over the others.

    Returns:
        The means under the same keys, ``"standard deviation"`` with the same nesting, and ``"seeds"`` with what was
        given. For one seed there is no ``"standard deviation"``.
    """
    each = list(results.values())
    merged: dict[str, Any] = _combine(each, lambda values: float(np.mean(values)))
    if len(each) > 1:
        merged["standard deviation"] = _combine(
            each, lambda values: float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        )
    merged["seeds"] = dict(results)
    return merged


def _combine(each: Sequence[Mapping[str, Any]], statistic: Any) -> dict[str, Any]:
    combined: dict[str, Any] = {}
    for key in dict.fromkeys(key for one in each for key in one):
        values = [one[key] for one in each if key in one]
        if all(isinstance(value, Mapping) for value in values):
            combined[key] = _combine(values, statistic)
        elif all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            combined[key] = statistic(values)
    return combined


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write ``results.json`` in one go: three decimals, what is not finite as null."""
    text = json.dumps(_plain(results), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, text)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), 3) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
