"""What ``cacl analyse`` left in a run's folder, made ready for the page; whatever is missing or damaged is left out.

The numbers come from ``results.json``, the attention and the map of features from their tables.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from markupsafe import Markup

from cacl.evaluation.projection import Projection
from cacl.evaluation.results import tasks_of
from cacl.reports.figures import svg
from cacl.reports.heatmap import attention_svg, confusion_svg
from cacl.reports.probes import UNTRAINED, probes_figure
from cacl.reports.scatter import Scatter, scatter
from cacl.reports.similarity import similarity_figure
from cacl.reports.tables import Cell, Row, number

Found = TypeVar("Found")


@dataclass(frozen=True)
class Probe:
    """One temporal probe in percent, chance first."""

    name: str
    rows: list[Row]


@dataclass(frozen=True)
class Confused:
    """True and predicted classes of a task: the picture, and what it shows in words."""

    title: str
    picture: Markup
    words: str


@dataclass(frozen=True)
class Analysis:
    """Parts of an analysis; those that are missing are None or empty.

    Attributes:
        about: what it was made on, in a sentence.
        stale: a sentence where the run went on after it.
        similarity: Table 3.
        attention: the map; ``attention_words`` says what it shows.
        tasks: name -> what is confused in each task.
        features: one picture a network.
        probes: the numbers of each task; ``probes_picture`` shows them.
        left_out: part -> why.
    """

    about: str
    stale: str = ""
    similarity: Markup | None = None
    attention: Markup | None = None
    attention_words: str = ""
    tasks: Mapping[str, Confused] = field(default_factory=dict)
    features: Scatter | None = None
    probes: list[Probe] = field(default_factory=list)
    probes_picture: Markup | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)


def read_analysis(folder: Path, *, steps: int | None = None) -> Analysis | None:
    """The analysis in a folder, or None where there is none.

    Args:
        folder: ``RUN/analysis``.
        steps: of the run, to see whether it was trained on since.
    """
    try:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        about = dict(results["about"])
        left_out = {str(part): str(why) for part, why in results.get("left out", {}).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None

    def part(name: str, make: Callable[[Any], Found]) -> Found | None:
        """One part, or nothing with the reason."""
        if name not in results:
            return None
        try:
            return make(results[name])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            left_out[name] = f"its files cannot be read ({error})"
            return None

    attention, attention_words = part("attention", lambda found: _attention(folder, found)) or (None, "")
    confused = {name: part(name, _confused) for name in tasks_of(results) if name in results}
    probes, probes_picture = part("probes", _probes) or ([], None)
    made = about.get("steps")
    return Analysis(
        about=_about(about),
        stale=f"Made at step {made}; the run went on to step {steps} since."
        if made and steps not in (None, made)
        else "",
        similarity=part("similarity", _similarity),
        attention=attention,
        attention_words=attention_words,
        tasks={name: found for name, found in confused.items() if found is not None},
        features=part("features", lambda found: _features(folder, found)),
        probes=probes,
        probes_picture=probes_picture,
        left_out=left_out,
    )


def _about(about: Mapping[str, Any]) -> str:
    text = f"{about.get('test videos', 'some')} videos of {about.get('videos', 'the run')}"
    if tested := about.get("tested on"):
        text += f" ({tested})"
    if known := about.get("trained on"):
        text += f", of which the run was trained on {known}: on unseen videos it may do worse"
    return text + "."


def _similarity(found: Mapping[str, Any]) -> Markup | None:
    """Nothing of pairs that were not measured, as those of methods without CACL's were by earlier versions."""
    return svg(similarity_figure(found), "Similarity of positive pairs") if found["pairs"] else None


def _attention(folder: Path, found: Mapping[str, Any]) -> tuple[Markup, str]:
    with (folder / "attention.csv").open(encoding="utf-8", newline="") as file:
        head, *rows = list(csv.reader(file))
    weights_LL = np.array([[float(value) for value in row[1:]] for row in rows])
    words = (
        f"Mean of all heads and {found['clips']} clips. Frame tokens look {found['distance']:.2f} positions away in "
        f"their own sequence (everywhere alike: {found['distance, uniform']:.2f}), and {found['ends']:.2f} times as "
        "much at its first and last position as at a position in the mean."
    )
    return attention_svg(weights_LL, head[1:]), words


def _confused(found: Mapping[str, Any]) -> Confused:
    (own,) = tasks_of({"": found}).values()
    near = own.get("within one")
    words = f"{found['pairs']} pairs."
    if near is not None:
        words = (
            f"{found['pairs']} pairs: {near:.1f} % are right or one off; the mean error is {found['mean error']:.2f} "
            f"(always the same answer: {found['error of one answer']:.2f})."
        )
    names = [str(value) for value in own["values"]]
    return Confused(own["title"], confusion_svg(np.array(found["counts"], np.int64), names, what="class"), words)


def _features(folder: Path, found: Mapping[str, Any]) -> Scatter:
    with (folder / "features.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    axes: Mapping[str, Sequence[str]] = found["axes"]
    points = {name: np.array([[float(row[f"{name} {i}"]) for i in (1, 2)] for row in rows]) for name in axes}
    projections = {name: Projection(points[name], (str(x), str(y))) for name, (x, y) in axes.items()}
    return scatter(projections, [row["label"] or None for row in rows], [row["path"] for row in rows])


def _probes(found: Mapping[str, Any]) -> tuple[list[Probe], Markup | None]:
    probes, tasks = [], {task: content for task, content in found.items() if task != "skipped"}
    for task, content in tasks.items():
        rows = [Row("chance", "", False, {"accuracy": Cell(content["chance"])})]
        for name, row in content["rows"].items():
            cell = Cell(float(row["accuracy"]), number(row, "standard error"))
            rows.append(Row(name, "", name not in UNTRAINED, {"accuracy": cell}))
        probes.append(Probe(task, rows))
    return probes, svg(probes_figure(tasks), "Accuracy of temporal probes") if tasks else None
