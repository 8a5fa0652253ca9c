"""Every rival trained on files: stopped, resumed bit for bit, and reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from methods.rivals.harness import Moving, built, settings_for
from training.rows import timeless
from training.stops import StopAfter

from cacl.data.clips.loader import ClipLoader
from cacl.models.cnn3d import channels_last_
from cacl.run import Run
from cacl.settings import method_settings
from cacl.training import pretrain as module
from cacl.training import views
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
RIVALS = {  # what the page or the log says
    "dsm": "Motion kept is nearer than scene kept",
    "iic": "Similarity of a clip and its residual frames",
    "lejepa": "Parts of the loss",
    "moco+be": "Similarity of pairs",
    "opn": "Clip order up to reversal on unseen videos",
    "pace": "Pace accuracy",
    "pace+context": "Similarity of pairs",
    "prp": "Error of the denser clip",
    "rspnet": "Relative speed",
    "shuffle-learn": "Order verification on unseen videos",
    "speednet": "Speed on unseen videos",
    "st-puzzle": "Puzzle on unseen videos",
    "tclr": "Slices that find their clip",
    "vcp": "Operation accuracy",
    "videomoco": "Similarity of pairs",
}


def weights(run: Path) -> dict[str, torch.Tensor]:
    (last,) = (run / "checkpoints" / "train").iterdir()
    found: dict[str, torch.Tensor] = torch.load(last / "state.pt", weights_only=True)["method"]
    return found


@pytest.mark.parametrize("method", RIVALS)
def test_a_step_in_bfloat16_and_channels_last(method: str) -> None:
    has_queue = "queue_size" in method_settings(method).model_fields
    settings = settings_for(method, **({"method.queue_size": 16} if has_queue else {}))
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


@pytest.mark.parametrize("method", RIVALS)
def test_the_largest_random_numbers_are_in_range_too(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32 they would be 1, and an index made of them one too many."""
    largest = np.nextafter(1.0, 0.0)
    monkeypatch.setattr(
        views, "uniform", lambda seed, purpose, epoch, samples, count: np.full((len(samples), count), largest)
    )
    has_queue = "queue_size" in method_settings(method).model_fields
    settings = settings_for(method, **({"method.queue_size": 16} if has_queue else {}))
    made, source = built(settings, videos=843).train(), Moving(count=4)
    (batch,) = ClipLoader(source, source.lengths, made.plan, seed=0, batch_size=4).epoch(0)
    seen = augmented_views(made, settings.augment, seed=0, channels_last=False)(batch)
    assert all(numbers.max() < 1 for numbers in (seen.uniforms, seen.shared) if numbers.numel())
    assert made(seen).losses["main"].isfinite()


@pytest.mark.slow
@pytest.mark.parametrize(("method", "said"), RIVALS.items())
def test_it_trains_resumes_and_is_reported(
    method: str, said: str, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pretrain(squares, out=tmp_path / "whole", method=method, settings=SETTINGS).path
    assert said in (whole / "report.html").read_text(encoding="utf-8") + (whole / "log.txt").read_text(encoding="utf-8")
    assert (whole / "samples" / "first-batch.png").exists()
    assert Run(whole).method == method
    monkeypatch.setattr(module, "StopRequest", lambda path: StopAfter(3))
    with pytest.raises(Stopped):
        pretrain(squares, out=tmp_path / "run", method=method, settings=SETTINGS)
    monkeypatch.undo()
    run = resume(tmp_path / "run").path
    assert timeless(run) == timeless(whole)
    expected, found = weights(whole), weights(run)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert not any("linear" in name or "queue" in name for name in Run(whole).encoder.state_dict())
