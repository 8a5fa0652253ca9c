"""Encoders on the way, and what a training has cost: the same whether it was stopped or not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from cacl.models.encoder import Encoder
from cacl.training import pretrain_stages
from cacl.training.checkpoint import checkpoint_cost, newest_checkpoint
from cacl.training.pretrain import pretrain, resume

pytestmark = pytest.mark.usefixtures("quick_end")


def trained(squares: Path, out: Path, tiny: dict[str, Any], **other: Any) -> Path:
    return pretrain(
        squares, out=out, method="v-moco", settings={**tiny, "run.save_minutes": 1e-6}, snapshots=3, **other
    ).path


def weights(folder: Path) -> dict[str, bytes]:
    return {place.name: (place / "model.safetensors").read_bytes() for place in sorted(folder.iterdir())}


def test_three_encoders_on_the_way_stopped_or_not(
    squares: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(squares, tmp_path / "whole", tiny)
    found = weights(whole / "snapshots")
    assert list(found) == ["step-00000001", "step-00000002", "step-00000003"]  # of four
    assert len({*found.values(), (whole / "encoder" / "model.safetensors").read_bytes()}) == 4
    clips = torch.zeros(1, 16, 32, 40, 3, dtype=torch.uint8)
    assert Encoder.load(whole / "snapshots" / "step-00000002")(clips).isfinite().all()
    original = pretrain_stages._snapshot

    def stops(run: Any, *parts: Any) -> None:
        original(run, *parts)
        if parts[-1] == 2:
            shutil.rmtree(run.path / "snapshots" / "step-00000002")  # a kill while it was written
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pretrain_stages, "_snapshot", stops)
        with pytest.raises(KeyboardInterrupt):
            trained(squares, tmp_path / "stopped", tiny)
    before = checkpoint_cost(newest_checkpoint(tmp_path / "stopped" / "checkpoints" / "train") or tmp_path)
    resume(tmp_path / "stopped")
    assert weights(tmp_path / "stopped" / "snapshots") == found
    after = checkpoint_cost(newest_checkpoint(tmp_path / "stopped" / "checkpoints" / "train") or tmp_path)
    assert 0 < before["processor seconds"] < after["processor seconds"]
    assert before["wall seconds"] < after["wall seconds"]


def test_a_checkpoint_of_an_older_version_has_no_cost(finished: Path, tmp_path: Path) -> None:
    newest = newest_checkpoint(finished / "checkpoints" / "train")
    assert newest is not None
    old = Path(shutil.copytree(newest, tmp_path / newest.name))
    manifest = json.loads((old / "manifest.json").read_text())
    assert manifest.pop("cost")["peak bytes"] > 0
    (old / "manifest.json").write_text(json.dumps(manifest))
    assert checkpoint_cost(old) == {}
    assert newest_checkpoint(tmp_path) == old
