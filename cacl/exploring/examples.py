"""From labels of stretches to the vectors that are learnt from.

A label with times is one of the stretch, one without is one of the whole video. Where two labels name the same moment
the one of the shorter part counts: who names a stretch of a video that has a name means this stretch.

Shapes: N samples (vectors), E labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cacl.errors import UserError, counted, printable, quoted
from cacl.exploring.labels import Stretch
from cacl.indexing.reader import Index

MOST_ROWS = 16  # vectors of one label, evenly spaced: an hour with a name does not outweigh a second with one

Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Examples:
    """What is learnt from.

    Attributes:
        classes: names of the classes, sorted.
        rows: of the index's vectors, int64 ``[N]``.
        entry: which label each sample is of, 0 … E-1, rising, int64 ``[N]``.
        label: class of each label, int64 ``[E]``.
        video: the video file that each label is of, numbered by their paths in order, int64 ``[E]``.
        covered: every vector that has a label, rising, int64.
        notes: what could not be used.
    """

    classes: tuple[str, ...]
    rows: Numbers
    entry: Numbers
    label: Numbers
    video: Numbers
    covered: Numbers
    notes: tuple[str, ...]


def examples_of(index: Index, labels: Mapping[Stretch, str], *, name: str) -> Examples:
    """The samples of labels.

    Args:
        index: whose vectors are learnt from.
        labels: of stretches of its videos, and maybe of others.
        name: what to call the table of labels.

    Raises:
        UserError: no labels, none of this index's videos, or of one class only.
    """
    if not labels:
        raise UserError(
            f"{name} holds no labels: name stretches on the page (cacl serve {quoted(index.path)}), or name "
            "another table with --labels."
        )
    known = {video.path for video in index.videos}
    entries = [(stretch, label) for stretch, label in labels.items() if stretch.path in known]
    elsewhere = [stretch.path for stretch in labels if stretch.path not in known]
    if not entries:
        first = next(iter(labels)).path
        raise UserError(
            f"{name} labels no video of {index.path} (its first is {printable(first)}): name a table of this index's "
            "videos with --labels."
        )
    owner, beyond = owners(index, [stretch for stretch, _ in entries])
    used = [number for number in np.unique(owner).tolist() if number >= 0]
    return _gathered(name, [entries[number] for number in used], owner, used, elsewhere, beyond)


def owners(index: Index, stretches: Sequence[Stretch]) -> tuple[Numbers, int]:
    """Which of some stretches each vector is of, int64 ``[n]``, -1: none; and how many lie beyond their video's end.

    Args:
        index: whose vectors.
        stretches: of its videos. Of two that hold the same vector the shorter counts, of equals the later.
    """
    owner, beyond = np.full(len(index.vectors), -1, np.int64), 0
    for number in sorted(range(len(stretches)), key=lambda n: -_length(stretches[n])):
        one = stretches[number]
        try:
            owner[index.rows(one.path, one.start or 0.0, one.end)] = number
        except UserError:
            beyond += 1
    return owner, beyond


def _gathered(
    name: str, entries: list[tuple[Stretch, str]], owner: Numbers, used: list[int], elsewhere: list[str], beyond: int
) -> Examples:
    classes = sorted({label for _, label in entries})
    if len(classes) < 2:
        only = f"only the label {printable(classes[0])!r}" if classes else "no label that can be used"
        raise UserError(f"{name} has {only}: name stretches of at least two kinds (“other” is a kind, too).")
    paths = sorted({stretch.path for stretch, _ in entries})
    order = np.argsort(owner, kind="stable")
    bounds = np.searchsorted(owner[order], [*used, np.iinfo(np.int64).max]).tolist()
    rows, entry = list[Numbers](), list[Numbers]()
    for number, (first, stop) in enumerate(pairwise(bounds)):
        own = order[first:stop]
        chosen = own[np.linspace(0, len(own) - 1, min(len(own), MOST_ROWS)).round().astype(np.int64)]
        rows.append(chosen)
        entry.append(np.full(len(chosen), number, np.int64))
    notes = []
    if elsewhere:
        first = f"first {printable(elsewhere[0])}; paths are those of the index, such as {paths[0]}"
        notes.append(f"{counted(len(elsewhere), 'label')} left out: of videos that this index has not ({first})")
    if beyond:
        notes.append(f"{counted(beyond, 'label')} left out: beyond the end of the video")
    return Examples(
        tuple(classes),
        np.concatenate(rows),
        np.concatenate(entry),
        np.array([classes.index(label) for _, label in entries], np.int64),
        np.array([paths.index(stretch.path) for stretch, _ in entries], np.int64),
        np.flatnonzero(owner >= 0),
        tuple(notes),
    )


def _length(stretch: Stretch) -> float:
    return math.inf if stretch.end is None else stretch.end - (stretch.start or 0.0)
