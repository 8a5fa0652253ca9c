"""Event files: what TensorBoard's own reader finds in them is what ``metrics.jsonl`` says, after a resume too."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cacl.errors import UserError
from cacl.run_folder import Metrics, read_metrics
from cacl.tensorboard import FOLDER, BoardMetrics
from cacl.training.pretrain import pretrain


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_every_number_of_the_rows_is_a_scalar_at_its_step(tmp_path: Path) -> None:
    rows = [{"step": i, "loss": 1 / i, "epoch": 0, "words": "none"} for i in (1, 2, 3)]
    metrics = BoardMetrics(tmp_path / "metrics.jsonl", kind="train", step=0)
    for row in rows:
        metrics.add(row)
    metrics.close()
    found = scalars(tmp_path / FOLDER / "train")
    assert found.keys() == {"loss", "epoch"}
    assert [step for step, _ in found["loss"]] == [1, 2, 3]
    assert all(math.isclose(value, 1 / step, rel_tol=1e-6) for step, value in found["loss"])


def test_steps_after_the_checkpoint_are_shown_once(tmp_path: Path) -> None:
    """Three steps, then on from the first: what the second and third were before is gone."""
    for done, values in ((0, (10.0, 20.0, 30.0)), (1, (21.0, 31.0))):
        metrics = BoardMetrics(tmp_path / "metrics.jsonl", kind="train", step=done)
        for step, value in enumerate(values, done + 1):
            metrics.add({"step": step, "loss": value})
        metrics.close()
    assert scalars(tmp_path / FOLDER / "train")["loss"] == [(1, 10.0), (2, 21.0), (3, 31.0)]
    assert [row["loss"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [10.0, 21.0, 31.0]


def test_a_run_has_them_where_they_are_asked_for(
    squares: Path, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**tiny, "optim.epochs": 1, "run.tensorboard": True, "method.name": "cvrl"}
    settings = {key: value for key, value in settings.items() if key != "method.queue_size"}
    run = pretrain(squares, out=tmp_path / "run", settings=settings)
    found = scalars(run.path / FOLDER / "train")
    losses = [(row["step"], row["loss"]) for row in run.metrics]
    assert losses
    assert found["loss"] == [(step, pytest.approx(loss, rel=1e-6)) for step, loss in losses]


def test_without_tensorboard_it_is_said_before_anything_is_made(
    squares: Path, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cacl.tensorboard.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "tensorboard>='):
        pretrain(squares, out=tmp_path / "run", settings={**tiny, "run.tensorboard": True})
    assert not (tmp_path / "run").exists()


def test_otherwise_there_are_none(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl", kind="train", step=0)
    metrics.close()
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]
