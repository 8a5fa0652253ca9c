"""What a report says about one run, as plain values: where they come from is not the page's business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cacl.data.videos.catalog import Skipped
from cacl.methods.curves import Curve
from cacl.reports.analysis import Analysis
from cacl.reports.previews import PreviewRow

Kind = Literal["pretrain", "finetune"]
KINDS: dict[Kind, str] = {"pretrain": "Pretraining", "finetune": "Fine-tuning"}


@dataclass(frozen=True)
class Setting:
    """One setting as the run had it: name, value, and where the value came from (preset, file, flag, auto)."""

    name: str
    value: str
    origin: str = ""


@dataclass(frozen=True, eq=False)
class RunPage:
    """One run for a report. Parts that are missing are left out of the page.

    Attributes:
        title: the heading, e.g. the run's name.
        results: numbers in percent as in :mod:`cacl.evaluation.results`, of one seed or of several merged by
            ``merge_seeds``; of a fine-tuning as ``cacl finetune`` writes them.
        kind: what made the run; settings and curves are compared between runs of one kind.
        lead: one or two sentences below the heading: what was run.
        facts: short name -> short value for the heading, e.g. ``{"videos": "843", "device": "CPU"}``.
        warnings: sentences from :func:`cacl.evaluation.health.warnings_from`.
        metrics: name -> rows of a ``metrics.jsonl``; the first is shown, the others can be opened.
        neighbours: rows of previews.
        measured: which videos queried which, in a sentence.
        first_batch: what the network saw, as one picture, uint8 ``[H, W, 3]``.
        analysis: from :func:`cacl.reports.analysis.read_analysis`.
        confusion: int64 ``[K, K]``, videos of the true class (row) predicted as the other; classes as in
            ``results["classes"]``.
        settings: resolved settings.
        data: which videos were used, in a sentence (``Catalog.summary``).
        counts: short name -> how many videos, labels, hours.
        skipped: which videos were not used, with the reason.
        command: the command that made this.
        missing: what could be here, and the command that makes it.
        main: the row of the retrieval table that the heading is about.
        curves: name in ``metrics`` -> the curves of its method.
    """

    title: str
    results: Mapping[str, Any] = field(default_factory=dict)
    kind: Kind = "pretrain"
    lead: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    metrics: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    neighbours: Sequence[PreviewRow] = ()
    measured: str = ""
    first_batch: NDArray[np.uint8] | None = None
    analysis: Analysis | None = None
    confusion: NDArray[np.int64] | None = None
    settings: Sequence[Setting] = ()
    data: str = ""
    counts: Mapping[str, str] = field(default_factory=dict)
    skipped: Sequence[Skipped] = ()
    command: str = ""
    missing: Sequence[tuple[str, str]] = ()
    main: str = "cacl"
    curves: Mapping[str, Sequence[Curve]] = field(default_factory=dict)
