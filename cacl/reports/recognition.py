"""Recognition on the page: the ways of predicting a class side by side, few labels, classes and their confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cacl.reports.curves import Chart, page_chart, reference
from cacl.reports.figures import COLOURS, RULE, plain
from cacl.reports.heatmap import confusion_svg
from cacl.reports.tables import Cell, Row, mark_best, number

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

_ORDER = ("k-NN", "linear probe", "fine-tuned")
_MEANING = {
    "chance": "guessing",
    "k-NN": "nearest neighbours, frozen features",
    "linear probe": "one linear layer on frozen features",
    "fine-tuned": "the whole network trained on",
}


@dataclass(frozen=True)
class RecognitionView:
    """What the page says of recognition.

    Attributes:
        labels: so many labels a class, ``all`` or a number.
        columns: ``top-1`` and others.
        rows: chance, then the ways of predicting, the main one last.
        few: a row for each number of labels, a column for each way of predicting (top-1); empty for one number.
        chart: the same as curves.
        classes: accuracy of each class, in percent, best first.
        confusion: of the main way, or None.
        seen: what was averaged over.
    """

    labels: str
    columns: tuple[str, ...]
    rows: list[Row]
    few: list[Row]
    chart: Chart | None
    classes: list[tuple[str, float]]
    confusion: Markup | None
    seen: str


def recognition_view(
    results: Mapping[str, Any], confusion_KK: NDArray[np.int64] | None = None
) -> RecognitionView | None:
    """The recognition part of a run's results, or None where there is none.

    Args:
        results: as ``cacl finetune`` writes them.
        confusion_KK: videos of the true class (row) predicted as the other one, in the order of ``classes``.
    """
    found: Mapping[str, Mapping[str, Any]] = results.get("recognition") or {}
    names = [name for name in _ORDER if name in found] + [name for name in found if name not in _ORDER]
    if "fine-tuned" not in found and "linear probe" in found:
        names.sort(key="linear probe".__eq__)
    if not names:
        return None
    spread, counts = results.get("standard deviation") or {}, list(found[names[-1]])
    main, classes = counts[-1], [str(name) for name in results.get("classes") or []]
    columns = tuple(k for k in ("top-1", "top-5", "mean class") if not (k == "top-5" and 0 < len(classes) <= 5))

    def row(name: str, labels: str, keys: Sequence[str]) -> dict[str, Cell | None]:
        cells: dict[str, Cell | None] = {}
        for key in keys:
            value = number(found[name].get(labels), key)
            deviation = number((spread.get(name) or {}).get(labels), key)
            cells[key] = None if value is None else Cell(value, deviation)
        return cells

    ways = [Row(name, _MEANING.get(name, ""), name == names[-1], row(name, main, columns)) for name in names]
    rows = mark_best(ways, columns)
    chance = number(results, "chance")
    if chance is not None:
        guesses = {"top-1": chance, "top-5": min(100.0, 5 * chance), "mean class": chance}
        rows.insert(0, Row("chance", _MEANING["chance"], False, {key: Cell(guesses[key]) for key in columns}))
    few = []
    if len(counts) > 1:
        few = [Row(n, "", False, {name: row(name, n, ["top-1"])["top-1"] for name in names}) for n in counts]
        few = [_best_across(line) for line in few]
    parts = results.get("parts") or []
    confusion = None
    if confusion_KK is not None and len(classes) == len(confusion_KK):
        confusion = confusion_svg(confusion_KK, classes, what="class")
    return RecognitionView(
        main,
        columns,
        rows,
        few,
        _few_labels_chart(few, names, chance) if few else None,
        sorted(((str(k), float(v)) for k, v in (results.get("per class") or {}).items()), key=lambda pair: -pair[1]),
        confusion,
        _seen(parts, main),
    )


def _seen(parts: Sequence[Mapping[str, Any]], main: str) -> str:
    own = [part for part in parts if part.get("labels") == main]
    if not own:
        return ""
    splits, draws = len({part["split"] for part in own}), len({part["draw"] for part in own})
    text = f"{own[0]['train videos']} training and {own[0]['test videos']} test videos"
    over = [f"{n} {word}s" for n, word in ((splits, "split"), (draws, "draw")) if n > 1]
    return text + (f"; mean ± standard deviation over {' and '.join(over)}" if over else "")


def _best_across(row: Row) -> Row:
    """The largest number of a row marked."""
    turned = mark_best([Row(name, "", False, {"": cell}) for name, cell in row.cells.items()], [""])
    return Row(row.name, row.meaning, row.trained, {each.name: each.cells[""] for each in turned})


def _few_labels_chart(few: Sequence[Row], names: Sequence[str], chance: float | None) -> Chart:
    """Top-1 over the number of labels, evenly spaced, with the spread as upright strokes."""
    legend: list[tuple[str, int, str]] = []

    def draw(axes: Axes) -> None:
        plain(axes)
        axes.grid(axis="y", color=RULE)
        for place, name in enumerate(names):
            cells = [(i, cell) for i, row in enumerate(few) if (cell := row.cells[name]) is not None]
            if not cells:
                continue
            number = len(names) - 1 - place
            colour = COLOURS[number % len(COLOURS)]
            x, y = [i for i, _ in cells], [cell.value for _, cell in cells]
            axes.errorbar(x, y, yerr=[cell.spread or 0.0 for _, cell in cells], color=colour, linewidth=2, elinewidth=1)
            legend.append((name, number, f"{y[-1]:.1f}\N{NARROW NO-BREAK SPACE}%"))
        axes.set_xticks(range(len(few)), [row.name for row in few])
        axes.yaxis.set_major_formatter("{x:g}\N{NARROW NO-BREAK SPACE}%")
        axes.set_ylim(bottom=0)
        if chance is not None:
            reference(axes, "chance", chance)

    title = "Top-1 over labels a class"
    return Chart(title, page_chart(draw, title), tuple(legend))
