"""How many passes a sample costs: by the table of the methods' sources, and however the encoder is called."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from cacl.experiments.compare.passes import counted_clips, passes_a_sample
from cacl.experiments.compare.plan import Budget, Cell, Plan
from cacl.models.cnn3d import build_cnn3d

PLAN = Plan(Path("v"), Path("out"), ("cacl",), ("r3d10",), 1, Budget("passes", 100))


@pytest.mark.parametrize(
    ("method", "passes"),
    [("vcop", 3), ("v-moco", 2), ("sdp", 2), ("cacl", 4), ("assisted", 2), ("prp", 1), ("pace+context", 2), ("dsm", 3),
     ("lejepa", 2), ("rspnet", 3), ("videomoco", 3), ("iic", 3), ("st-puzzle", 4)],
)  # fmt: skip
def test_of_methods(method: str, passes: int) -> None:
    """VCOP encodes three clips; MoCo a query and a key; CACL these twice, with the shuffled twin; and so on.

    DSM and IIC have an extra negative, RSPNet two keys, VideoMoCo a clip for its generator, the puzzle four pieces.
    """
    state = torch.random.get_rng_state()
    assert passes_a_sample(PLAN.resolved(Cell(method, "r3d10", 0))) == passes
    assert torch.equal(state, torch.random.get_rng_state())


def test_one_pass_or_two_is_the_same() -> None:
    """CACL may send clip and twin through together."""
    settings = {"method.one_pass": False, "optim.accumulate": 2}
    assert passes_a_sample(PLAN.resolved(Cell("cacl", "c3d", 0), **settings)) == 4


@pytest.mark.parametrize("name", ["c3d", "r3d10", "r2plus1d10"])
def test_whatever_way_it_is_called(name: str) -> None:
    method = nn.ModuleDict({"query": build_cnn3d(name, width=4), "key": build_cnn3d(name, width=4)})
    x = torch.rand(2, 3, 16, 32, 32)
    with counted_clips(method) as clips, torch.no_grad():
        method["query"](x)
        method["key"].forward_features(x[:1])
        method["query"](torch.cat([x, x]))
    assert clips == [2, 1, 4]
    method["query"](x)
    assert sum(clips) == 7  # nobody counts any more
