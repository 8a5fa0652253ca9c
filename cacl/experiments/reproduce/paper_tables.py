"""The paper's tables as plain data: its numbers, and which of our trainings and evaluations stand beside them.

Everything is in ``paper_tables.yaml``; here it gets its types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml

from cacl.errors import UserError, did_you_mean
from cacl.presets import ABLATIONS

TableName = Literal["table1", "table2", "table3", "table4", "table5", "fig3"]
SetName = Literal["UCF101", "HMDB51", "Kinetics-400"]
Evaluation = Literal["retrieval", "similarity", "recognition", "attention"]


@dataclass(frozen=True, order=True)
class Pretraining:
    """What is trained for a row: ``method`` as of ``cacl pretrain --method``, ``network``, and on which data set."""

    method: str
    network: str
    videos: SetName

    @property
    def name(self) -> str:
        """Of its folder, without the seed: ``sdp-star-c3d-ucf101``."""
        return f"{self.method.replace('*', '-star')}-{self.network}-{folder_name(self.videos)}"

    @property
    def is_papers(self) -> bool:
        """Whether it is CACL or a part of it, and no method of others."""
        return self.method in ABLATIONS

    @property
    def uses_transformer(self) -> bool:
        """Whether it needs T, and so a frame encoder."""
        return self.is_papers and any("t" in pair for pair in ABLATIONS[self.method]["method.pairs"])


@dataclass(frozen=True)
class PaperRow:
    """One row.

    Attributes:
        name: as in the paper.
        facts: what else the paper says of it (``net``, ``pretrained`` …).
        paper: data set -> the paper's numbers, one a column; None where it has none.
        ours: what is trained for it; None for what is not made here.
    """

    name: str
    facts: Mapping[str, str]
    paper: Mapping[SetName, tuple[float | None, ...]]
    ours: Pretraining | None

    @property
    def elsewhere(self) -> str:
        """On what the published number was pretrained, where ours was not; else empty."""
        on = self.facts.get("pretrained", "")
        return on if self.ours is not None and on != self.ours.videos else ""


@dataclass(frozen=True)
class PaperTable:
    """A table or figure.

    Attributes:
        key: ``table1`` …
        title: its number and what it shows.
        evaluation: what is measured.
        columns: numbers of each row and data set: percent, but cosines and multiples where ``digits`` is not 1.
        digits: behind the point.
        facts: names of what the rows say of themselves.
        words: what the paper says instead of numbers; empty where it has numbers.
        rows: in the paper's order.
    """

    key: TableName
    title: str
    evaluation: Evaluation
    columns: tuple[str, ...]
    digits: int
    facts: tuple[str, ...]
    words: str
    rows: tuple[PaperRow, ...]

    @property
    def sets(self) -> tuple[SetName, ...]:
        """The data sets that its rows are evaluated on."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.paper))

    @property
    def pretrainings(self) -> tuple[Pretraining, ...]:
        """What has to be trained: UCF101 first, since the frame encoder is of its frames (section 4.1)."""
        found = dict.fromkeys(row.ours for row in self.rows if row.ours is not None)
        return tuple(sorted(found, key=lambda one: one.videos != "UCF101"))

    @property
    def needed_sets(self) -> tuple[SetName, ...]:
        """The data sets that somebody trains or is evaluated on."""
        ours = [row for row in self.rows if row.ours is not None]
        named = [row.ours.videos for row in ours if row.ours is not None] + [name for row in ours for name in row.paper]
        return tuple(dict.fromkeys(named))


def folder_name(name: SetName) -> str:
    """A data set as part of a folder's name: ``kinetics400``."""
    return name.lower().replace("-", "")


@cache
def paper_tables() -> Mapping[TableName, PaperTable]:
    """Every table of the data file, by its key."""
    text = files("cacl.experiments.reproduce").joinpath("paper_tables.yaml").read_text(encoding="utf-8")
    return {key: _table(key, content) for key, content in yaml.safe_load(text).items()}


def paper_table(key: str) -> PaperTable:
    """A table by its key. Raises UserError for another word."""
    tables: Mapping[Any, PaperTable] = paper_tables()
    if key not in tables:
        raise UserError(f"{key} is no table of the paper; there are {', '.join(tables)}.{did_you_mean(key, tables)}")
    return tables[key]


def _table(key: TableName, content: Mapping[str, Any]) -> PaperTable:
    columns, facts = tuple(content["columns"]), tuple(content["facts"])
    rows = []
    for row in content["rows"]:
        paper = {name: (*map(_number, numbers), *[None] * (len(columns) - len(numbers)))
                 for name, numbers in row["paper"].items()}  # fmt: skip
        ours = Pretraining(*row["ours"]) if "ours" in row else None
        rows.append(PaperRow(row["name"], {fact: str(row.get(fact, "")) for fact in facts}, paper, ours))
    return PaperTable(
        key,
        content["title"],
        content["evaluation"],
        columns,
        content.get("digits", 1),
        facts,
        content.get("words", ""),
        tuple(rows),
    )


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
