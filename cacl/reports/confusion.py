"""The confusion matrix as a picture: a row a true class, a column a predicted one, shaded by the share of the row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cacl.errors import printable
from cacl.reports.figures import save_figure

_NUMBERS_UP_TO = 30  # classes; with more the numbers would not be legible
_NAMES_UP_TO = 110


def draw_confusion(
    confusion_KK: NDArray[np.int64],
    classes: Sequence[str],
    path: Path,
    *,
    title: str = "",
) -> None:
    """Write a PNG; up to thirty classes have counts in their cells.

    Args:
        confusion_KK: videos of the true class (row) told as the predicted class (column).
        classes: K names.
        path: the file; replaced when it is there.
        title: above it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(classes)
    totals_K1 = confusion_KK.sum(axis=1, keepdims=True)
    share_KK = np.divide(confusion_KK, totals_K1, out=np.zeros(confusion_KK.shape), where=totals_K1 > 0)
    side = float(np.clip(2.6 + 0.42 * count, 4.2, 16))
    figure = Figure(figsize=(side + 1.2, side + 0.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    image = axes.imshow(100 * share_KK, cmap="Blues", vmin=0, vmax=100)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
    bar.set_label("% of the true class")
    bar.outline.set_visible(False)
    size = 9.0 if count <= 12 else 7.0 if count <= 40 else 4.5
    if count <= _NAMES_UP_TO:
        names = [_short(name) for name in classes]
        axes.set_xticks(range(count), names, rotation=45 if count <= 12 else 90, fontsize=size)
        axes.set_yticks(range(count), names, fontsize=size)
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right" if count <= 12 else "center")
            label.set_rotation_mode("anchor" if count <= 12 else "default")
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(printable(title).replace("$", r"\$"), fontsize=11, loc="left")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.0 if count <= 40 else 0.2)
    axes.tick_params(which="minor", length=0)
    if count <= _NUMBERS_UP_TO:
        for row, column in zip(*np.nonzero(confusion_KK), strict=True):
            colour = "white" if share_KK[row, column] > 0.5 else "#123"
            number = str(confusion_KK[row, column])
            axes.text(column, row, number, ha="center", va="center", color=colour, fontsize=size)
    save_figure(figure, path)


def _short(name: str) -> str:
    name = name if len(name) <= 22 else name[:21] + "…"
    return printable(name).replace("$", r"\$")  # a dollar sign would start mathematics
