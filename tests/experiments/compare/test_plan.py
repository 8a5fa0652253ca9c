"""What is compared: the words of a plan, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cacl.errors import UserError
from cacl.experiments.compare.plan import Budget, Cell, Plan, check_plan_words, read_budget, read_shard, shard_cells

PLAN = Plan(Path("v"), Path("out"), ("cacl", "v-moco", "sdp*"), ("r3d10", "c3d"), 2, Budget("passes", 100))


def test_seed_after_seed_every_method() -> None:
    names = [cell.name for cell in PLAN.cells]
    assert names[:3] == ["cacl-r3d10-seed0", "v-moco-r3d10-seed0", "sdp-star-r3d10-seed0"]
    assert len(names) == len(set(names)) == 12
    assert [cell.seed for cell in PLAN.cells] == [0] * 6 + [1] * 6


def test_equal_but_for_the_method() -> None:
    """All settings of two methods are the same, outside the group ``method``."""
    trees = [PLAN.resolved(Cell(name, "r3d10", 1)).settings.model_dump(mode="json") for name in ("vcop", "cacl")]
    names = [tree.pop("method")["name"] for tree in trees]
    assert names == ["vcop", "cacl"]
    assert trees[0] == trees[1]
    assert trees[0]["run"]["seed"] == 1


@pytest.mark.parametrize(
    ("text", "kind", "amount"),
    [("passes=60_000", "passes", 60000), ("seconds=1.5", "seconds", 1.5), ("epochs=3", "epochs", 3),
     ("steps=1e4", "steps", 10000)],
)  # fmt: skip
def test_budgets(text: str, kind: str, amount: float) -> None:
    assert (read_budget(text).kind, read_budget(text).amount) == (kind, amount)


@pytest.mark.parametrize(
    ("text", "said"),
    [("passes=0", "1 or more"), ("passes=", "1 or more"), ("passes=nan", "1 or more"), ("passes=-3", "1 or more"),
     ("pases=10", "Did you mean 'passes'?"), ("100", "KIND=NUMBER"), ("epochs=inf", "1 or more")],
)  # fmt: skip
def test_no_budgets(text: str, said: str) -> None:
    with pytest.raises(UserError, match=f"--budget is {text}") as error:
        read_budget(text)
    assert said in str(error.value)


def test_shards_share_all_cells() -> None:
    shared = [cell for i in (1, 2, 3) for cell in shard_cells(PLAN.cells, read_shard(f"{i}/3"))]
    assert sorted(shared) == sorted(PLAN.cells)
    for text in ("0/3", "4/3", "1", "a/b", "1/0", "-1/2"):
        with pytest.raises(UserError, match="--shard is"):
            read_shard(text)


def test_words_that_are_refused() -> None:
    check_plan_words(PLAN)
    for wrong, said in (
        (replace(PLAN, methods=("cacl", "vcpo")), "vcpo is not a method"),
        (replace(PLAN, methods=("assisted",)), "give one with --with-frozen"),
        (replace(PLAN, methods=()), "--methods is empty"),
        (replace(PLAN, methods=("cacl", "cacl")), "cacl twice"),
        (replace(PLAN, networks=("r3d11",)), "Did you mean 'r3d1"),
        (replace(PLAN, seeds=0), "--seeds is 0"),
        (replace(PLAN, assignments=("optim.lr=-1",)), "optim.lr"),
    ):
        with pytest.raises(UserError, match=said):
            check_plan_words(wrong)
