"""Labels: their order, and several of them as one text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence


def label_order(labels: Iterable[str]) -> tuple[str, ...]:
    """The distinct labels in alphabetical order, capitals or not: that of UCF101's ``classInd.txt`` and of HMDB51."""
    return tuple(sorted(set(labels), key=lambda label: (label.casefold(), label)))


def join_labels(labels: Sequence[str]) -> str:
    """Several labels as one cell of a table, with ``;`` between them; quoted as CSV where a label has one itself."""
    text = io.StringIO()
    csv.writer(text, delimiter=";", lineterminator="").writerow(labels)
    return text.getvalue()


def several_labels(cell: str) -> tuple[str, ...]:
    """The distinct labels of a cell with ``;`` between them, blanks around each left out: ``"run; jump"``."""
    if not cell.strip():
        return ()
    rows = csv.reader(io.StringIO(cell, newline=""), delimiter=";", skipinitialspace=True)
    return tuple(dict.fromkeys(label.strip() for row in rows for label in row if label.strip()))
