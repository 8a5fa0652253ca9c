"""The classes of every stretch of an index as a table, ``cacl classify``."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from cacl.evaluation.recognition import ranking
from cacl.exploring.classes import Classes
from cacl.indexing.reader import Index

COLUMNS = ("path", "start", "end")  # then a class and its probability, rank after rank


def predictions_as_csv(index: Index, classes: Classes, *, top: int) -> str:
    """``path,start,end,class_1,probability_1,…``: a line a stretch, in the order of the index.

    Args:
        index: whose stretches are told.
        classes: how.
        top: classes a stretch, at most as many as there are.

    Raises:
        UserError: the index is of another encoder.
    """
    top = min(top, len(classes.names))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    ranks = [f"{word}_{k}" for k in range(1, top + 1) for word in ("class", "probability")]
    writer.writerow([*COLUMNS, *ranks])
    spans, videos, row = index.spans, index.videos, 0
    for part in classes.probabilities(index):
        for own, best in zip(part, ranking(part)[:, :top].tolist(), strict=True):
            times = ["" if np.isnan(t) else f"{t:.3f}" for t in spans.seconds[row].tolist()]
            cells = [cell for k in best for cell in (classes.names[k], f"{own[k]:.6f}")]
            writer.writerow([videos[int(spans.video[row])].path, *times, *cells])
            row += 1
    return text.getvalue()


def is_predictions(file: Path) -> bool:
    """Whether a file begins as such a table."""
    with file.open(encoding="utf-8", errors="replace") as text:
        return text.read(1024).startswith(f"{','.join(COLUMNS)},class_1,probability_1")
