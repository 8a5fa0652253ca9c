"""The training loop with a small method of known arithmetic over real batches of a source without videos."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cacl.data.clips import ClipPlan
from cacl.data.loader import ClipBatch, ClipLoader, Failure
from cacl.errors import UserError, VideoError
from cacl.methods.batch import StepOutput, ViewBatch
from cacl.training.checkpoint import load_checkpoint, newest_checkpoint
from cacl.training.loop import Stage, train
from cacl.training.optim import learning_rate
from cacl.training.stop import Stopped, StopRequest

VIDEOS, BATCH, EPOCHS = 12, 4, 4  # 3 steps an epoch, 12 in all


class Noise:
    """Frames that depend on the video and the frame's number; ``bad`` videos cannot be read."""

    height, width = 2, 3

    def __init__(self, bad: Sequence[int] = ()) -> None:
        self.bad = bad

    def read(self, video: int, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        if video in self.bad:
            raise VideoError(f"v{video}.mp4", "breaks")
        values = (37 * video + 11 * indices) % 256
        return np.broadcast_to(values[:, None, None, None], (len(indices), 2, 3, 3)).astype(np.uint8)


def plan(frames: int, rng: np.random.Generator) -> ClipPlan:
    return ClipPlan(rng.integers(0, frames, (1, 2)), {})


class Linear(nn.Module):
    """Two terms over one layer; remembers the order in which it is called."""

    views, uniforms = 1, 0

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(2 * 2 * 3 * 3, 5)
        self.register_buffer("averaged", self.layer.weight.detach().clone())
        self.calls: list[Any] = []
        self.poison: Callable[[Tensor, int], Tensor] = lambda total, step: total
        self.steps = 0

    def forward(self, batch: ViewBatch) -> StepOutput:
        self.calls.append("forward")
        features = self.layer(batch.views[0].flatten(1))
        nce, degree = features.square().mean(), 0.5 * (features - 1).square().mean()
        total = self.poison(nce + degree, self.steps)
        self.steps += 1
        return StepOutput({"nce": nce, "degree": degree, "total": total}, {"similarity": nce.detach()}, features)

    def after_step(self, output: StepOutput, progress: float) -> None:
        self.calls.append(("after", round(progress, 6)))
        self.averaged.mul_(0.9).add_(self.layer.weight.detach(), alpha=0.1)


def views(batch: ClipBatch) -> ViewBatch:
    return ViewBatch((batch.frames[:, 0].float() / 255,), batch.targets, batch.video, torch.zeros(len(batch), 0))


def rate(step: int) -> float:
    return learning_rate(
        step,
        lr=0.1,
        schedule="cosine",
        schedule_per="step",
        milestones=(),
        warmup_epochs=1,
        steps_per_epoch=3,
        epochs=EPOCHS,
    )


def stage(folder: Path, **changes: Any) -> Stage:
    method = changes.pop("method", None) or Linear()
    bad, heard = changes.pop("bad", ()), changes.pop("heard", None)
    loader = ClipLoader(
        Noise(bad), [20] * VIDEOS, plan, seed=3, batch_size=BATCH, on_failure=None if heard is None else heard.append
    )
    values: dict[str, Any] = {
        "name": "train",
        "method": method,
        "loader": loader,
        "optimizer": torch.optim.SGD(method.parameters(), lr=1.0, momentum=0.9),
        "make_views": views,
        "video_names": [f"v{i}.mp4" for i in range(VIDEOS)],
        "learning_rate": rate,
        "epochs": EPOCHS,
        "checkpoints": folder / "checkpoints",
        "metrics": folder / "metrics.jsonl",
        "device": torch.device("cpu"),
        "autocast": None,
        "clip_gradient": None,
        "log_every": 5,
        "save_minutes": 60.0,
    }
    return Stage(**{**values, **changes})


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def timeless(folder: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "clips_per_second"} for row in rows(folder)]


def test_the_steps_are_those_of_a_loop_written_out(tmp_path: Path) -> None:
    trained = stage(tmp_path)
    train(trained, StopRequest())
    slow = Linear()
    optimizer = torch.optim.SGD(slow.parameters(), lr=1.0, momentum=0.9)
    batches = ClipLoader(Noise(), [20] * VIDEOS, plan, seed=3, batch_size=BATCH)
    step, losses = 0, []
    for epoch in range(EPOCHS):
        for batch in batches.epoch(epoch):
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
            output = slow(views(batch))
            optimizer.zero_grad()
            output.terms["total"].backward()
            optimizer.step()
            slow.after_step(output, 0)
            losses.append(output.terms["total"].item())
            step += 1
    assert step == 12
    for ours, theirs in zip(trained.method.state_dict().values(), slow.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    assert [row["loss"] for row in rows(tmp_path)] == losses


def test_after_step_follows_each_step_and_hears_how_far_it_is(tmp_path: Path) -> None:
    trained = stage(tmp_path)
    train(trained, StopRequest())
    expected = [call for n in range(12) for call in ("forward", ("after", round((n + 1) / 12, 6)))]
    assert trained.method.calls == expected


def test_rows_have_the_learning_rate_the_epoch_and_every_so_often_the_gradients(tmp_path: Path) -> None:
    train(stage(tmp_path), StopRequest())
    found = rows(tmp_path)
    assert [row["step"] for row in found] == list(range(1, 13))
    assert [row["epoch"] for row in found] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [row["lr"] for row in found] == [rate(step) for step in range(12)]
    assert {row["kind"] for row in found} == {"train"}
    assert [row["step"] for row in found if "grad_nce" in row] == [1, 6, 11]
    assert [row["step"] for row in found if "grad_degree" in row] == [1, 6, 11]
    assert [row["step"] for row in found if "feature_std" in row] == [1, 6, 11]
    for row in found:
        assert row["loss"] == pytest.approx(row["nce"] + row["degree_loss"], abs=1e-6)
        assert row["similarity"] == row["nce"]


def test_the_gradients_that_reach_the_features_are_those_of_each_term(tmp_path: Path) -> None:
    train(stage(tmp_path, epochs=1), StopRequest())
    batch = next(iter(stage(tmp_path / "other").loader.epoch(0)))
    features = Linear()(views(batch)).features.detach()
    row = rows(tmp_path)[0]
    assert row["grad_nce"] == pytest.approx((2 * features / features.numel()).norm().item(), rel=1e-5)
    assert row["grad_degree"] == pytest.approx(((features - 1) / features.numel()).norm().item(), rel=1e-5)
    assert row["feature_std"] > 0
    assert 1 <= row["feature_rank"] <= BATCH


def test_gradients_are_clipped_together(tmp_path: Path) -> None:
    free, clipped = stage(tmp_path / "a", epochs=1), stage(tmp_path / "b", epochs=1, clip_gradient=1e-9)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    before = Linear().layer.weight
    train(free, StopRequest())
    train(clipped, StopRequest())
    assert not torch.allclose(free.method.layer.weight, before, atol=1e-6)
    assert torch.allclose(clipped.method.layer.weight, before, atol=1e-8)


class StopAfter(StopRequest):
    """Asks to stop after so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    @property
    def requested(self) -> bool:
        self.left -= 1
        if self.left == 0:
            self._signal = signal.SIGTERM
        return super().requested


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
        resumed.method.state_dict().values(), uninterrupted.method.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert timeless(parts) == timeless(whole)


def test_a_finished_stage_is_not_trained_again(tmp_path: Path) -> None:
    first = stage(tmp_path)
    train(first, StopRequest())
    again = stage(tmp_path)
    train(again, StopRequest())
    assert again.method.calls == []
    assert torch.equal(again.method.layer.weight, first.method.layer.weight)
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


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_is_the_batch(tmp_path: Path, parts: int) -> None:
    folders = [tmp_path / "whole", tmp_path / "parts"]
    for folder, accumulate in zip(folders, (1, parts), strict=True):
        folder.mkdir()
        trained = stage(folder, accumulate=accumulate)
        train(trained, StopRequest())
    whole, cut = rows(folders[0]), rows(folders[1])
    assert len(whole) == len(cut) == 12
    for one, other in zip(whole, cut, strict=True):
        assert set(one) == set(other)
        for key in set(one) - {"clips_per_second", "kind"}:
            assert one[key] == pytest.approx(other[key], rel=1e-4), key
    weights = [load_checkpoint(newest_checkpoint(f / "checkpoints") or f)[1]["method"]["layer.weight"] for f in folders]
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-6)
    calls = trained.method.calls
    assert calls[: parts + 1] == ["forward"] * parts + [("after", round(1 / 12, 6))]


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
    assert torch.equal(resumed.method.layer.weight, uninterrupted.method.layer.weight)
    assert timeless(parts) == timeless(whole)


def test_a_checkpoint_is_written_when_it_is_time(tmp_path: Path) -> None:
    saved: list[int] = []
    trained = stage(tmp_path, save_minutes=1e-9)
    original = trained.method.after_step

    def look(output: StepOutput, progress: float) -> None:
        path = newest_checkpoint(tmp_path / "checkpoints")
        saved.append(0 if path is None else load_checkpoint(path)[0])
        original(output, progress)

    trained.method.after_step = look  # type: ignore[method-assign, assignment]
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
