"""Every rival trained on files: stopped, resumed bit for bit, and reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from methods.rivals.harness import Moving, built, settings_for
from squares import make_squares
from training.rows import timeless
from training.stops import StopAfter

from cacl.data.clips.loader import ClipLoader
from cacl.models.cnn3d import channels_last_
from cacl.run import Run
from cacl.training import pretrain as module
from cacl.training.optim import build_optimizer
from cacl.training.pretrain import pretrain, resume
from cacl.training.step import Step
from cacl.training.stop import Stopped
from cacl.training.views import augmented_views

SETTINGS: dict[str, Any] = {
    "data.frames": 8,
    "data.stride": 1,
    "data.resize": [32, 40],
    "data.workers": 0,
    "data.store": "none",
    "augment.size": 32,
    "model.width": 4,
    "optim.batch_size": 4,
    "optim.epochs": 2,
    "optim.warmup_epochs": 0.0,
    "run.device": "cpu",
    "run.precision": "float32",
    "run.threads": 1,
    "run.log_every": 2,
}
RIVALS = {
    "pace": "Pace accuracy",
    "pace+context": "Similarity of pairs",
    "prp": "Error of the denser clip",
    "rspnet": "Relative speed",
    "dsm": "Motion kept is nearer than scene kept",
    "vcp": "Operation accuracy",
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_squares(tmp_path_factory.mktemp("squares"))


def weights(run: Path) -> dict[str, torch.Tensor]:
    (last,) = (run / "checkpoints" / "train").iterdir()
    found: dict[str, torch.Tensor] = torch.load(last / "state.pt", weights_only=True)["method"]
    return found


@pytest.mark.parametrize("method", RIVALS)
def test_a_step_in_bfloat16_and_channels_last(method: str) -> None:
    settings = settings_for(method, method__queue_size=16) if method in ("rspnet", "dsm") else settings_for(method)
    made, source = built(settings).train(), Moving(count=8)
    channels_last_(made)
    before = [parameter.clone() for parameter in made.parameters()]
    step = Step(
        made,
        build_optimizer(made, optimizer="adamw", lr=1e-3, weight_decay=0.0),
        augmented_views(made, settings.augment, seed=0, channels_last=True),
        torch.device("cpu"),
        autocast=torch.bfloat16,
        accumulate=2,
    )
    (batch,) = ClipLoader(source, source.lengths, made.plan, seed=0, batch_size=8).epoch(0)
    result = step(batch, progress=0.5, measure=True)
    assert all(value.isfinite() for value in result.scalars.values())
    assert all(np.isfinite(value) for value in result.measured.values())
    assert result.measured["feature_rank"] > 1
    moved = [not torch.equal(a, b) for a, b in zip(before, made.parameters(), strict=True) if b.requires_grad]
    assert np.mean(moved) > 0.9  # biases before BatchNorm have no gradient


@pytest.mark.slow
@pytest.mark.parametrize(("method", "panel"), RIVALS.items())
def test_it_trains_resumes_and_is_reported(
    method: str, panel: str, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pretrain(videos, out=tmp_path / "whole", method=method, settings=SETTINGS).path
    page = (whole / "report.html").read_text(encoding="utf-8")
    assert panel in page
    assert Run(whole).method == method
    monkeypatch.setattr(module, "StopRequest", lambda path: StopAfter(3))
    with pytest.raises(Stopped):
        pretrain(videos, out=tmp_path / "run", method=method, settings=SETTINGS)
    monkeypatch.undo()
    run = resume(tmp_path / "run").path
    assert timeless(run) == timeless(whole)
    expected, found = weights(whole), weights(run)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert not any("linear" in name or "queue" in name for name in Run(whole).encoder.state_dict())
