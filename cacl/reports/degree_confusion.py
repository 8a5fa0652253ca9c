"""Which shuffle degrees does the degree head confuse: true against predicted, and how far off it is.

An error of one degree is nearly right, one of ten is guessing: the picture and the mean error in degrees say what the
accuracy alone does not.

Shapes: P pairs, M degree classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cacl.reports.figures import INK, new_figure, save_figure, title


@dataclass(frozen=True, eq=False)
class DegreeConfusion:
    """True against predicted shuffle degrees.

    Attributes:
        counts: int64 ``[M, M]``, row = true degree, column = predicted.
        degrees: the degree of each class, ``(0, 2, 3, …)``.
    """

    counts: NDArray[np.int64]
    degrees: tuple[int, ...]

    def numbers(self) -> dict[str, Any]:
        """For ``results.json``: percent; errors in degrees, ``error of one answer`` is that of the best constant."""
        degrees, pairs = np.array(self.degrees), int(self.counts.sum())
        away_MM = np.abs(degrees[:, None] - degrees[None, :])
        constant_M = self.counts.sum(axis=1) @ away_MM / pairs
        near = self.counts[away_MM <= 1].sum()
        return {
            "accuracy": 100.0 * float(np.trace(self.counts)) / pairs,
            "chance": 100.0 / len(degrees),
            "within one degree": 100.0 * float(near) / pairs,
            "mean error": float((self.counts * away_MM).sum() / pairs),
            "error of one answer": float(constant_M.min()),
            "pairs": pairs,
            "degrees": list(self.degrees),
            "counts": self.counts.tolist(),
        }


def degree_confusion(
    true_P: NDArray[np.int64], predicted_P: NDArray[np.int64], degrees: Sequence[int]
) -> DegreeConfusion:
    """Count pairs by true and predicted class.

    Args:
        true_P: classes 0 … M - 1 (``degree_class``), at least one pair.
        predicted_P: likewise.
        degrees: of each class, ``possible_degrees(frames)``.

    Raises:
        ValueError: other lengths, no pair, or a class that is none.
    """
    size = len(degrees)
    if len(true_P) != len(predicted_P) or len(true_P) == 0:
        raise ValueError(f"{len(true_P)} true and {len(predicted_P)} predicted degrees")
    classes = np.concatenate([true_P, predicted_P])
    if classes.min() < 0 or classes.max() >= size:
        raise ValueError(f"classes are 0 to {size - 1}, found {classes.min()} to {classes.max()}")
    counts = np.bincount(true_P * size + predicted_P, minlength=size * size).reshape(size, size)
    return DegreeConfusion(counts.astype(np.int64), tuple(degrees))


def draw_degree_confusion(confusion: DegreeConfusion, path: Path) -> None:
    """Write ``degree.png``: of each true degree, how its predictions are spread, in percent of the row."""
    size, numbers = len(confusion.degrees), confusion.numbers()
    row_M1 = confusion.counts.sum(axis=1, keepdims=True)
    share_MM = 100.0 * confusion.counts / np.maximum(row_M1, 1)
    figure = new_figure(7.2, 6.6)
    axes = figure.subplots()
    top = max(20.0, float(share_MM.max()))
    image = axes.imshow(share_MM, cmap="Blues", vmin=0, vmax=top)
    for i in range(size):
        for j in range(size):
            if confusion.counts[i, j]:
                dark = share_MM[i, j] > 0.55 * top
                axes.text(
                    j, i, f"{share_MM[i, j]:.0f}", ha="center", va="center", fontsize=7, color="white" if dark else INK
                )
        axes.add_patch(_square(i))
    labels = [str(degree) for degree in confusion.degrees]
    axes.set_xticks(range(size), labels)
    axes.set_yticks(range(size), labels)
    axes.tick_params(labelsize=8, length=0, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("predicted degree", fontsize=9, color=INK)
    axes.set_ylabel("true degree", fontsize=9, color=INK)
    bar = figure.colorbar(image, ax=axes, shrink=0.75, pad=0.02)
    bar.set_label("percent of the true degree's pairs", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    title(
        axes,
        f"Shuffle degree of {numbers['pairs']} pairs: {numbers['accuracy']:.1f} % right "
        f"(chance {numbers['chance']:.1f} %),\nmean error {numbers['mean error']:.2f} degrees "
        f"(always the same answer: {numbers['error of one answer']:.2f})",
    )
    save_figure(figure, path)


def _square(place: int) -> Any:
    """The thin frame of what is right."""
    from matplotlib.patches import Rectangle

    return Rectangle((place - 0.5, place - 0.5), 1, 1, fill=False, edgecolor="#d55e00", linewidth=1.0)
