"""Runs of the version before a method had a contract go on bit for bit, and are evaluated and reported as before.

``older_run.json`` has the names and shapes in checkpoints that it wrote for the settings of ``tiny.py``, and how many
parameters its optimisers had in each group.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import FINETUNING
from training.rows import timeless
from training.stops import StopAfter
from training.test_finetune import LABELS, SPEC, videos

from cacl import analyse, evaluate, resume
from cacl.experiments.report import report
from cacl.finetune_settings import resolve_finetune
from cacl.models.encoder import Encoder
from cacl.training.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint
from cacl.training.finetune import Part, train_classifier
from cacl.training.stop import Stopped, StopRequest

BEFORE = json.loads(Path(__file__).with_name("older_run.json").read_text())


def newest(folder: Path) -> Path:
    path = newest_checkpoint(folder)
    assert path is not None
    return path


def checkpoint_of_before(folder: Path) -> None:
    """Parameter groups had a constant rate or none, and no other word about it."""
    path = newest(folder)
    step, state = load_checkpoint(path)
    for group in state["optimizer"]["param_groups"]:
        assert group.pop("scale") == 1.0
        if (constant := group.pop("constant")) is not None:
            group["constant_lr"] = constant
    shutil.rmtree(path)
    save_checkpoint(folder, step, state)


def of_before(run: Path) -> Path:
    """The run as it would be if that version had written it: its method had no name, and one setting more."""
    config = (run / "config.yaml").read_text()
    lines = [line for line in config.splitlines(keepends=True) if not line.startswith("  name: cacl ")]
    place = next(number for number, line in enumerate(lines) if line.startswith("  batchnorm:"))
    lines.insert(place, "  symmetric: false                              # preset small\n")
    assert len(lines) == config.count("\n")
    (run / "config.yaml").write_text("".join(lines))
    for stage in ("frames", "train"):
        checkpoint_of_before(run / "checkpoints" / stage)
    finished = json.loads((run / "finished.json").read_text())
    del finished["degree"]["title"]
    (run / "finished.json").write_text(json.dumps(finished))
    return run


def shapes(state: dict[str, Any]) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in state["method"].items()}


@pytest.mark.parametrize("stage", ["train", "frames"])
def test_checkpoints_have_the_names_of_before_in_their_order(stage: str, finished: Path) -> None:
    _, state = load_checkpoint(newest(finished / "checkpoints" / stage))
    assert list(shapes(state).items()) == list(BEFORE[stage].items())
    assert [len(group["params"]) for group in state["optimizer"]["param_groups"]] == BEFORE[f"{stage} groups"]


@pytest.mark.usefixtures("quick_end")
def test_a_longer_training_goes_on_bit_for_bit(
    finished: Path, tmp_path: Path, fingerprint: Callable[[Path], dict[str, Any]]
) -> None:
    own = Path(shutil.copytree(finished, tmp_path / "own"))
    before = of_before(Path(shutil.copytree(finished, tmp_path / "before")))
    for run in (own, before):
        resume(run, epochs=3)
    expected, found = fingerprint(own), fingerprint(before)
    groups = found["checkpoint"]["optimizer"].pop("param_groups")
    assert [group["lr"] for group in groups] == [
        group["lr"] for group in expected["checkpoint"]["optimizer"].pop("param_groups")
    ]
    assert found == expected


def test_what_it_learned_is_evaluated_analysed_and_reported(finished: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(finished, tmp_path / "run"))
    evaluated, analysed = evaluate(own), analyse(own, parts=["degree", "similarity"])
    shutil.rmtree(own)
    before = of_before(Path(shutil.copytree(finished, own)))
    again = evaluate(before)
    assert again["degree"].pop("title", "Shuffle degree") == evaluated["degree"].pop("title") == "Shuffle degree"
    assert again == evaluated
    assert analyse(before, parts=["degree", "similarity"]) == analysed
    (before / "report.html").unlink()
    page = report([before]).read_text()
    assert "Shuffle degree" in page


def tuned(folder: Path, changes: dict[str, Any], preset: str, stop: StopRequest) -> dict[str, Any]:
    torch.manual_seed(5)
    encoder = Encoder("r3d10", width=4, clip=SPEC)
    settings = resolve_finetune(preset=preset, flags={**FINETUNING, "run.log_every": 2, **changes}).settings
    part = Part(folder, tuple(range(8)), LABELS, 7)
    return train_classifier(part, encoder, ["a", "b", "c"], videos(), settings, stop)[0].state_dict()


@pytest.mark.parametrize(
    ("preset", "changes"),
    [("released", {}), ("paper", {}), ("small", {"optim.late_lr": 1e-3})],
    ids=["released", "paper", "late with adamw"],
)
def test_a_fine_tuning_goes_on_bit_for_bit(preset: str, changes: dict[str, Any], tmp_path: Path) -> None:
    whole = tuned(tmp_path / "whole", changes, preset, StopRequest())
    with pytest.raises(Stopped):
        tuned(tmp_path / "before", changes, preset, StopAfter(3))
    _, state = load_checkpoint(newest(tmp_path / "before" / "checkpoints"))
    expected = {name: shape for name, shape in BEFORE["finetune"].items() if not name.startswith("linear")}
    assert list(shapes(state).items())[: len(expected)] == list(expected.items())
    if preset == "released":
        assert [len(group["params"]) for group in state["optimizer"]["param_groups"]] == BEFORE["finetune groups"]
    checkpoint_of_before(tmp_path / "before" / "checkpoints")
    found = tuned(tmp_path / "before", changes, preset, StopRequest())
    assert all(torch.equal(found[name], value) for name, value in whole.items())
    assert timeless(tmp_path / "before") == timeless(tmp_path / "whole")
