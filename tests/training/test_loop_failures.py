"""Losses and weights that are not finite, and videos that cannot be read, in the training loop."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training.linear_stage import BATCH, VIDEOS, Linear, stage
from training.rows import rows, timeless
from training.stops import StopAfter

from cacl.data.clips.loader import Failure
from cacl.errors import UserError
from cacl.training.checkpoint import load_checkpoint, newest_checkpoint
from cacl.training.loop import train
from cacl.training.stop import Stopped, StopRequest


def test_a_loss_that_is_not_finite_names_the_videos_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    method = Linear()
    method.poison = lambda total, step: total * (math.nan if step == 7 else 1)
    broken = stage(tmp_path, method=method, save_minutes=1e-9)
    with pytest.raises(UserError) as caught:
        train(broken, StopRequest())
    order = broken.loader.order(2)[4:8]  # the second step of the third epoch
    message = str(caught.value)
    assert "nan at step 8" in message
    assert all(f"v{video}.mp4" in message for video in order)
    assert sum(f"v{video}.mp4" in message for video in range(VIDEOS)) == BATCH
    path = newest_checkpoint(tmp_path / "checkpoints")
    assert path is not None
    assert str(path) in message
    step, state = load_checkpoint(path)
    assert step == 7
    assert all(torch.isfinite(value).all() for value in state["method"].values())
    assert [row["step"] for row in rows(tmp_path)] == list(range(1, 8))


def test_weights_that_are_not_finite_never_replace_a_good_checkpoint(tmp_path: Path) -> None:
    class Kink(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return gradient * math.inf

    method = Linear()
    method.poison = lambda total, step: Kink.apply(total) if step == 4 else total
    with pytest.raises(UserError, match=r"no longer finite at step 5.*Videos of the batch: v\d+\.mp4"):
        train(stage(tmp_path, method=method, save_minutes=1e-9), StopRequest())
    path = newest_checkpoint(tmp_path / "checkpoints")
    assert path is not None
    assert load_checkpoint(path)[0] == 4


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_found_at_the_next_fetch_with_its_own_videos(value: float, tmp_path: Path) -> None:
    method = Linear()
    method.poison = lambda total, step: total * (value if step == 7 else 1)
    # at step 12, with steps 9 to 12 in the buffer too, whose features were looked at
    broken = stage(tmp_path, method=method, fetch_every=6, log_every=1)
    with pytest.raises(UserError, match=f"{value} at step 8") as caught:
        train(broken, StopRequest())
    order = broken.loader.order(2)[4:8]
    assert {video for video in range(VIDEOS) if f"v{video}.mp4" in str(caught.value)} == set(order.tolist())
    assert newest_checkpoint(tmp_path / "checkpoints") is None
    assert [row["step"] for row in rows(tmp_path)] == list(range(1, 8))


def test_no_thread_outlives_a_training_that_fails_while_its_error_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cacl.training.step.usable_processors", lambda: [0, 1])
    method, seen = Linear(), set[str]()

    def poison(total: Tensor, step: int) -> Tensor:
        seen.update(thread.name.partition("_")[0] for thread in threading.enumerate())
        return total * (math.nan if step == 2 else 1)

    method.poison = poison
    with pytest.raises(UserError, match="nan at step 3") as kept:
        train(stage(tmp_path, method=method), StopRequest())
    assert kept.tb is not None
    assert "cacl-ahead" in seen
    for thread in threading.enumerate():
        if thread.name.startswith(("cacl-ahead", "cacl-read")):
            thread.join(60)  # nothing waits for what it is at, but nothing keeps it either
            assert not thread.is_alive()


def test_without_a_checkpoint_the_message_does_not_promise_one(tmp_path: Path) -> None:
    method = Linear()
    method.poison = lambda total, step: total * math.inf
    with pytest.raises(UserError, match="No checkpoint was written yet"):
        train(stage(tmp_path, method=method, name="frames"), StopRequest())


def test_videos_that_fail_stay_out_after_a_resume(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    heard: list[Failure] = []
    uninterrupted = stage(whole, bad=(2, 7), heard=heard)
    train(uninterrupted, StopRequest())
    assert sorted((f.video, f.reason) for f in heard) == [(2, "breaks"), (7, "breaks")]
    with pytest.raises(Stopped):
        train(stage(parts, bad=(2, 7)), StopAfter(5))
    resumed = stage(parts, bad=(2, 7))
    train(resumed, StopRequest())
    assert resumed.loader.failures == uninterrupted.loader.failures
    assert torch.equal(resumed.step.method.layer.weight, uninterrupted.step.method.layer.weight)
    assert timeless(parts) == timeless(whole)
