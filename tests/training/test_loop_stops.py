"""A training that is stopped, killed or finished, and given again."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor
from training.linear_stage import Linear, stage
from training.rows import rows, timeless
from training.stops import StopAfter

from cacl.training.checkpoint import load_checkpoint, newest_checkpoint
from cacl.training.loop import train
from cacl.training.stop import Stopped, StopRequest


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 11])
def test_a_stopped_training_goes_on_as_if_nothing_had_been(tmp_path: Path, steps: int) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    uninterrupted = stage(whole)
    train(uninterrupted, StopRequest())
    with pytest.raises(Stopped) as stopped:
        train(stage(parts), StopAfter(steps))
    assert stopped.value.code == 128 + signal.SIGTERM
    path = newest_checkpoint(parts / "checkpoints")
    assert path is not None
    assert load_checkpoint(path)[0] == steps == len(rows(parts))
    resumed = stage(parts)
    train(resumed, StopRequest())
    for ours, theirs in zip(
        resumed.step.method.state_dict().values(), uninterrupted.step.method.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert timeless(parts) == timeless(whole)


def test_a_finished_stage_is_not_trained_again(tmp_path: Path) -> None:
    first = stage(tmp_path)
    train(first, StopRequest())
    again = stage(tmp_path)
    train(again, StopRequest())
    assert again.step.method.calls == []
    assert torch.equal(again.step.method.layer.weight, first.step.method.layer.weight)
    assert len(rows(tmp_path)) == 12


def test_rows_from_after_the_checkpoint_and_torn_ones_go(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(stage(tmp_path), StopAfter(2))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 3, "loss": 9.0}\n{"kind": "frames", "step": 3}\n{"kind": "tra')
    train(stage(tmp_path), StopRequest())
    found = rows(tmp_path)
    assert [row["step"] for row in found if row["kind"] == "train"] == list(range(1, 13))
    assert [row["step"] for row in found if row["kind"] == "frames"] == [3]


@pytest.mark.parametrize("steps", [1, 3, 5, 7])
def test_numbers_that_are_fetched_later_are_the_same_after_a_stop_too(tmp_path: Path, steps: int) -> None:
    train(stage(tmp_path), StopRequest())
    late = tmp_path / "late"
    late.mkdir()
    with pytest.raises(Stopped):
        train(stage(late, fetch_every=5), StopAfter(steps))
    assert len(rows(late)) == steps
    train(stage(late, fetch_every=5), StopRequest())
    assert timeless(late) == timeless(tmp_path)


def test_rows_that_were_not_fetched_when_a_process_died_come_again(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    train(stage(whole), StopRequest())
    with pytest.raises(Stopped):
        train(stage(parts, fetch_every=4), StopAfter(2))
    method = Linear()

    def dies(total: Tensor, step: int) -> Tensor:
        if step == 6:  # the ninth step: two sit in the buffer, four are in the file but not in the checkpoint
            raise MemoryError
        return total

    method.poison = dies
    with pytest.raises(MemoryError):
        train(stage(parts, fetch_every=4, method=method), StopRequest())
    assert [row["step"] for row in rows(parts)] == [1, 2, 3, 4, 5, 6]
    train(stage(parts, fetch_every=4), StopRequest())
    assert timeless(parts) == timeless(whole)


def test_a_checkpoint_is_written_when_it_is_time(tmp_path: Path) -> None:
    saved: list[int] = []
    trained = stage(tmp_path, save_minutes=1e-9)
    original = trained.step.method.after_step

    def look(state: Mapping[str, Tensor], video: Tensor, progress: float) -> None:
        path = newest_checkpoint(tmp_path / "checkpoints")
        saved.append(0 if path is None else load_checkpoint(path)[0])
        original(state, video, progress)

    trained.step.method.after_step = look  # type: ignore[method-assign, assignment]
    train(trained, StopRequest())
    assert saved == list(range(12))
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000012"]


def test_the_signal_itself_ends_the_step_and_saves(tmp_path: Path) -> None:
    method = Linear()

    def poison(total: Tensor, step: int) -> Tensor:
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return total

    method.poison = poison
    with StopRequest(tmp_path) as stop, pytest.raises(Stopped) as stopped:
        train(stage(tmp_path, method=method), stop)
    assert (stopped.value.code, stopped.value.run) == (130, tmp_path)
    path = newest_checkpoint(tmp_path / "checkpoints")
    assert path is not None
    assert load_checkpoint(path)[0] == 5
