"""What is compared: cells of method, network and seed, under one budget. Checked before anything is made."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from cacl.config import Resolved
from cacl.errors import UserError, did_you_mean
from cacl.models.cnn3d import CNN3DName
from cacl.presets import PRESETS, PUBLISHED
from cacl.training.resolve import check_frozen, resolve_settings

BudgetKind = Literal["passes", "seconds", "steps", "epochs"]
SNAPSHOTS = 3  # encoders on the way that are measured, too


@dataclass(frozen=True)
class Budget:
    """What every training may spend.

    Attributes:
        kind: ``passes`` of clips through the encoder (or its momentum copy), wall-clock ``seconds`` on this machine,
            ``steps``, or ``epochs``.
        amount: of them, 1 or more.
    """

    kind: BudgetKind
    amount: float

    def __str__(self) -> str:
        return f"{self.kind}={self.amount:g}" if self.amount < 1e6 else f"{self.kind}={self.amount:.0f}"


def read_budget(text: str) -> Budget:
    """``passes=60000`` as a budget. Raises UserError."""
    kind, _, amount = text.partition("=")
    kinds = get_args(BudgetKind)
    if kind not in kinds:
        raise UserError(
            f"--budget is {text}; it is KIND=NUMBER, and KIND is {', '.join(kinds)}.{did_you_mean(kind, kinds)}"
        )
    try:
        number = float(amount.replace("_", ""))
    except ValueError:
        number = 0.0
    if not 1 <= number < 1e15:
        raise UserError(f"--budget is {text}; the number of {kind} must be 1 or more.")
    found: BudgetKind = next(known for known in kinds if known == kind)
    return Budget(found, number)


@dataclass(frozen=True, order=True)
class Cell:
    """One training."""

    method: str
    network: str
    seed: int

    @property
    def row(self) -> str:
        """Of its folder, without the seed."""
        return f"{self.method.replace('*', '-star')}-{self.network}"

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.row}-seed{self.seed}"

    def __str__(self) -> str:
        return f"{self.method}, {self.network}, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """Everything that decides the cells.

    Attributes:
        videos: where they are; ``lists`` and ``split`` as of ``pretrain``.
        out: the folder.
        preset: of all cells; a method takes its own values under it, and nothing else differs.
        methods, networks: names, in the order in which they are shown.
        seeds: so many, 0, 1, …
        budget: of each cell.
        assignments: settings of all cells as text, ``optim.lr=1e-3``.
        settings: of all cells too: what the machine decided.
        with_frozen: folder of a frozen image encoder, for the methods that learn beside one.
        finetune: fine-tune every cell's network, too; may be asked for later.
    """

    videos: Path
    out: Path
    methods: tuple[str, ...]
    networks: tuple[str, ...]
    seeds: int
    budget: Budget
    preset: str = "small"
    lists: Path | None = None
    split: int = 1
    assignments: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    with_frozen: Path | None = None
    finetune: bool = False

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Seed after seed, so that every method has its first result early."""
        each = itertools.product(range(self.seeds), self.networks, self.methods)
        return tuple(Cell(method, network, seed) for seed, network, method in each)

    def resolved(self, cell: Cell, **more: Any) -> Resolved:
        """The settings of a cell. Raises UserError for an unknown method, and for settings that do not fit."""
        flags = {**self.settings, "model.network": cell.network, "run.seed": cell.seed, **more}
        return resolve_settings(preset=self.preset, method=cell.method, assignments=self.assignments, flags=flags)

    def content(self) -> dict[str, Any]:
        """For ``plan.json``: what must be the same for two commands to share a folder."""
        return {
            "verb": "compare",
            "videos": str(self.videos.resolve()),
            "lists": "none" if self.lists is None else str(self.lists.resolve()),
            "split": self.split,
            "preset": self.preset,
            "budget": str(self.budget),
            "set": " ".join(self.assignments) or "nothing",
            "with-frozen": "none" if self.with_frozen is None else str(self.with_frozen.resolve()),
            "settings": dict(self.settings),
        }


def check_plan_words(plan: Plan) -> None:
    """Raise UserError for what can be told from the words alone."""
    for what, names in (("methods", plan.methods), ("networks", plan.networks)):
        if not names or "" in names:
            raise UserError(f"--{what} is empty; name one or more, with commas between.")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UserError(f"--{what} names {twice[0]} twice; name each once.")
    known = get_args(CNN3DName)
    if wrong := [name for name in plan.networks if name not in known]:
        raise UserError(f"{wrong[0]} is not a network; there are {', '.join(known)}.{did_you_mean(wrong[0], known)}")
    if plan.preset == PUBLISHED:
        raise UserError(
            "--preset is published, which is other conditions for each method; methods are compared under equal ones: "
            f"give {', '.join(PRESETS)}."
        )
    if plan.seeds < 1:
        raise UserError(f"--seeds is {plan.seeds}; it must be 1 or more.")
    for cell in plan.cells:
        if cell.seed == 0:
            check_frozen(plan.resolved(cell).settings.method, plan.with_frozen)


def read_shard(text: str) -> tuple[int, int]:
    """``2/8`` as (2, 8): the second of eight machines. Raises UserError."""
    first, _, second = text.partition("/")
    if not (first.isdecimal() and second.isdecimal()) or not 1 <= int(first) <= int(second):
        raise UserError(f"--shard is {text}; it is I/N with I from 1 to N, for example 2/8.")
    return int(first), int(second)


def shard_cells(cells: Sequence[Cell], shard: tuple[int, int]) -> list[Cell]:
    """Each how-manieth cell, beginning with the shard's own."""
    index, count = shard
    return list(cells[index - 1 :: count])
