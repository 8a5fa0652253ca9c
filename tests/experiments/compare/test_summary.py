"""What is made of the cells' results: means, pairs, what is missing, published numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from experiments.compare.made_up import CLASSES, write_cells

from cacl.evaluation.choice.difference import difference, holm
from cacl.experiments.compare.plan import Cell
from cacl.experiments.compare.published import published
from cacl.experiments.compare.summary import summary


def test_rows_and_pairs_are_those_of_the_hits(tmp_path: Path) -> None:
    plan = write_cells(tmp_path, {"cacl": 0.0, "vcop": -0.6, "v-moco": 0.05})
    found = summary(plan)["networks"]["r3d10"]
    hits = {
        method: np.array([[float(sign) for sign in _hits(tmp_path, method, seed)] for seed in range(3)])
        for method in plan.methods
    }
    assert found["order"] == sorted(plan.methods, key=lambda method: -hits[method].mean())
    source = json.loads((tmp_path / "queries.json").read_text())["source"]
    for method in plan.methods:
        row = found["rows"][method]
        assert row["measures"]["R@1"]["mean"] == pytest.approx(100 * hits[method].mean(), abs=1e-3)
        assert row["measures"]["R@1"]["by seed"] == pytest.approx((100 * hits[method].mean(axis=1)).tolist(), abs=1e-3)
        label = np.repeat(CLASSES, 38)
        for name in CLASSES:
            expected = 100 * hits[method][:, label == name].mean()
            assert found["per class"][method][name] == pytest.approx(expected, abs=1e-3)
    pairs = found["pairs"]["R@1"]
    assert [(p["first"], p["second"]) for p in pairs] == [
        (a, b) for i, a in enumerate(found["order"]) for b in found["order"][i + 1 :]
    ]
    each = [difference(hits[p["first"]], hits[p["second"]], source) for p in pairs]
    for pair, one, p in zip(pairs, each, holm([one.p for one in each]), strict=True):
        assert (pair["mean"], pair["low"], pair["high"]) == pytest.approx((one.mean, one.low, one.high), abs=1e-3)
        assert pair["corrected p"] == pytest.approx(p, abs=1e-6)
        assert pair["different"] == (p < 0.05)


def _hits(out: Path, method: str, seed: int) -> str:
    found: str = json.loads((out / "cells" / f"{method}-r3d10-seed{seed}" / "results.json").read_text())["hits"]["R@1"]
    return found


def test_a_seed_that_one_lacks_is_left_out_of_its_pairs(tmp_path: Path) -> None:
    plan = write_cells(tmp_path, {"cacl": 0.0, "vcop": -0.6, "v-moco": 0.05}, skip=["vcop-r3d10-seed1"])
    (tmp_path / "cells" / "vcop-r3d10-seed1").mkdir()
    (tmp_path / "cells" / "vcop-r3d10-seed1" / "failed.json").write_text('{"why": "The loss is nan."}')
    found = summary(replace(plan, seeds=4))
    seeds = {(p["first"], p["second"]): p["seeds"] for p in found["networks"]["r3d10"]["pairs"]["R@1"]}
    assert {frozenset(key): value for key, value in seeds.items()} == {
        frozenset({"cacl", "v-moco"}): 3, frozenset({"cacl", "vcop"}): 2, frozenset({"v-moco", "vcop"}): 2,
    }  # fmt: skip
    assert found["failed"] == {"vcop, r3d10, seed 1": "The loss is nan."}
    assert found["missing"] == [str(Cell(method, "r3d10", 3)) for method in plan.methods]


def test_a_video_that_one_could_not_read_is_left_out(tmp_path: Path) -> None:
    plan = write_cells(tmp_path, {"cacl": 0.0, "vcop": 0.0}, seeds=1)
    for method, signs in (("cacl", "1-1"), ("vcop", "-00")):
        file = tmp_path / "cells" / f"{method}-r3d10-seed0" / "results.json"
        result = json.loads(file.read_text())
        for key, value in result["hits"].items():
            result["hits"][key] = signs + value[3:]
        file.write_text(json.dumps(result))
    (pair,) = summary(plan)["networks"]["r3d10"]["pairs"]["R@1"]
    a, b = (_hits(tmp_path, method, 0)[2:] for method in (pair["first"], pair["second"]))
    assert pair["mean"] == pytest.approx(100 * (a.count("1") - b.count("1")) / len(a), abs=1e-3)


def test_what_is_far_off_the_budget_is_said(tmp_path: Path) -> None:
    plan = write_cells(tmp_path, {"cacl": 0.0, "vcop": 0.0}, seeds=1)
    assert summary(plan)["off budget"] == {}
    for file in tmp_path.glob("cells/vcop-*/results.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"passes": 66000}))
    assert summary(plan)["off budget"] == {"vcop, r3d10": 10.0}


def test_published_numbers() -> None:
    assert published("cacl", "c3d")["R@1"] == 43.2
    assert published("vcop", "r3d10")["R@1"] == 14.1
    assert published("pace+context", "r2plus1d10")["R@1"] == 25.6  # both terms, as reproduce has it
    assert published("pace", "r2plus1d10") == {}
    assert published("rspnet", "c3d") == {}  # of Kinetics-400, as Table 5 says
    assert published("v-moco", "c3d")["R@1"] == 30.3
    assert published("dsm", "c3d")["R@1"] == 16.8
    assert published("vcop", "r3d18") == published("unheard-of", "c3d") == {}
