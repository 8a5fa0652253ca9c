"""Classes from labels, in seconds: the linear probe on the vectors that the index holds; nothing is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cacl.exploring.classes import Classes
from cacl.exploring.examples import Examples, examples_of
from cacl.exploring.held_out import HeldOut, fit, held_out
from cacl.exploring.labels import Stretch
from cacl.indexing.reader import Index


@dataclass(frozen=True, eq=False)
class Learnt:
    """What was learnt, from what, and what held-out labels say of it."""

    classes: Classes
    examples: Examples
    held_out: HeldOut


def learn(index: Index, labels: Mapping[Stretch, str], *, name: str) -> Learnt:
    """Fit the classes of labels; nothing is random.

    Args:
        index: whose stretches have the labels.
        labels: of stretches and whole videos.
        name: what to call the table of labels.

    Raises:
        UserError: no labels, none of this index's videos, or of one class only.
    """
    examples = examples_of(index, labels, name=name)
    x = np.asarray(index.vectors[examples.rows])
    y, video = examples.label[examples.entry], examples.video[examples.entry]
    model = fit(x, y, video, classes=len(examples.classes))
    said = held_out(x, examples)
    facts = {
        "labels": len(examples.label),
        "labels of each": dict(zip(examples.classes, np.bincount(examples.label).tolist(), strict=True)),
        "labelled videos": int(np.unique(examples.video).size),
        "held out": said.to_json(),
        "notes": list(examples.notes),
    }
    return Learnt(Classes(examples.classes, model, str(index.about["weights"]), facts), examples, said)
