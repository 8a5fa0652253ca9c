"""Trainings in several processes against the same training in one, on gloo: losses, weights and queue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import FINETUNING
from training.drifting_stage import (
    BATCH,
    OTHERWISE,
    VIDEOS,
    Drifting,
    build,
    compare,
    double_everywhere,
    settings_of,
    stage,
    state,
)
from training.rows import rows

from cacl.data.videos.catalog import Catalog, Video
from cacl.data.videos.dataset import Dataset
from cacl.distributed.processes import world
from cacl.finetune_settings import resolve_finetune
from cacl.models.encoder import ClipSpec, Encoder
from cacl.training.finetune import Part, train_classifier
from cacl.training.loop import train
from cacl.training.stop import StopRequest

InProcesses = Callable[..., list[Any]]


@pytest.mark.parametrize("kind", ["clips", "frames"])
def test_twenty_steps_in_float32(kind: str, in_processes: InProcesses, tmp_path: Path) -> None:
    # a small learning rate, as BatchNorm over few values of networks this narrow amplifies rounding tenfold a step
    settings = settings_of(**{"optim.optimizer": "sgd", "optim.lr": 1e-6})

    def work() -> int:
        train(stage(tmp_path / str(world()), settings, kind), StopRequest())
        return world()

    counts = [2, 4] if kind == "clips" else [2]  # frames in four processes: below
    assert in_processes(1, work) == [1]
    assert len(rows(tmp_path / "1")) == 20
    for count in counts:
        assert in_processes(count, work) == [count] * count
        compare(tmp_path / "1", tmp_path / str(count), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "changes"), [("clips", {}), ("clips", OTHERWISE), ("frames", {})])
def test_at_a_real_learning_rate_in_float64(
    kind: str, changes: dict[str, Any], in_processes: InProcesses, tmp_path: Path
) -> None:
    settings = settings_of(**changes)

    def work() -> int:
        double_everywhere()
        train(
            stage(tmp_path / str(world()), settings, kind, epochs=1, method=build(settings, kind).double()),
            StopRequest(),
        )
        return world()

    for count in (1, 4):
        assert in_processes(count, work) == [count] * count
    learnt, initial = state(tmp_path / "1"), build(settings, kind).state_dict()
    assert max((learnt[name] - initial[name]).abs().max() for name in initial if name.endswith("weight")) > 1e-3
    compare(tmp_path / "1", tmp_path / "4", rtol=1e-10, atol=1e-10)


def test_fine_tuning_learns_the_same(in_processes: InProcesses, tmp_path: Path) -> None:
    settings = resolve_finetune(
        preset="small",
        flags={**FINETUNING, "optim.epochs": 2, "optim.batch_size": BATCH, "optim.lr": 1e-5},
    ).settings
    names = [f"v{i}.mp4" for i in range(VIDEOS)]
    entries = [
        Video(path=name, id=name, label=None, split=None, frames=40, fps=25.0, width=40, height=36) for name in names
    ]
    data = Dataset(Catalog(Path("."), tuple(entries)), Drifting())
    spec = ClipSpec(frames=8, stride=1, resize=(36, 40), size=32)
    labels = tuple((i % 3,) for i in range(VIDEOS))

    def work() -> int:
        torch.manual_seed(0)
        encoder = Encoder("r3d10", width=4, clip=spec)
        part = Part(tmp_path / str(world()), tuple(range(VIDEOS)), labels, 0)
        train_classifier(part, encoder, ("a", "b", "c"), data, settings, StopRequest())
        return world()

    for count in (1, 2):
        assert in_processes(count, work) == [count] * count
    assert len(rows(tmp_path / "1")) == 8
    compare(tmp_path / "1", tmp_path / "2", rtol=1e-5, atol=2e-5)
