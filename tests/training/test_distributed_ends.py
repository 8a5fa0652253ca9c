"""Failures, stops and ends of trainings in several processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training.drifting_stage import compare, settings_of, stage, state
from training.rows import rows, timeless

from cacl.data.clips.sampling import ClipPlan, training_clip
from cacl.distributed import agree as distributed
from cacl.distributed.processes import LostProcess, rank, world
from cacl.errors import UserError
from cacl.methods.contract import MAIN, Method, MethodBatch, StepOutput
from cacl.training import step
from cacl.training.loop import Stage, train
from cacl.training.stop import Stopped, StopRequest

InProcesses = Callable[..., list[Any]]


class Mean(Method):
    """One layer over the mean of a clip: a training whose steps take no time."""

    uniforms = 1

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 4)

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        return ClipPlan(tuple(training_clip(n_frames, rng, frames=2, stride=1)))

    def forward(self, batch: MethodBatch) -> StepOutput:
        features = self.layer(batch.views[0].mean((2, 3, 4)))
        loss = (features - batch.video[:, None] / 9).square().mean()
        return StepOutput({MAIN: loss}, features=features, state={"means": features.detach()})

    def after_step(self, state: Mapping[str, Tensor], video: Tensor, progress: float) -> None:
        self.told = {"means": state["means"], "video": video}


def mean_stage(folder: Path, *, accumulate: int = 1, **changes: Any) -> Stage:
    settings = settings_of(**{"optim.lr": 1e-2, "optim.accumulate": accumulate})
    return stage(folder, settings, method=Mean(), **changes)


def test_a_video_that_fails_in_one_process_is_left_out_by_all(in_processes: InProcesses, tmp_path: Path) -> None:
    def work() -> dict[str, Any]:
        heard: list[Any] = []
        told = mean_stage(tmp_path / str(world()), bad=(4, 11, 30), epochs=3, heard=heard.append)
        train(told, StopRequest())
        return {
            "failures": [[f.video, f.epoch] for f in told.loader.failures],
            "heard": sorted(f.video for f in heard),
        }

    (one,), two = in_processes(1, work), in_processes(2, work)
    assert sorted(video for video, _ in one["failures"]) == [4, 11, 30]
    assert two == [one, one]
    compare(tmp_path / "1", tmp_path / "2", rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_after_a_step_the_method_is_told_of_the_whole_batch_in_its_order(
    accumulate: int, in_processes: InProcesses, tmp_path: Path
) -> None:
    def work() -> dict[str, Tensor]:
        trained = mean_stage(tmp_path / str(world()), accumulate=accumulate, epochs=2)
        train(trained, StopRequest())
        return trained.step.method.told  # type: ignore[no-any-return]

    (one,), two = in_processes(1, work), in_processes(2, work)
    for told in two:
        assert torch.equal(told["video"], one["video"])
        torch.testing.assert_close(told["means"], one["means"], rtol=0, atol=1e-6)


def test_a_signal_to_one_process_stops_all_after_the_same_step(in_processes: InProcesses, tmp_path: Path) -> None:
    class After(StopRequest):
        """Signalled in the second process, after its fifth step."""

        steps = 0

        @property
        def requested(self) -> bool:
            self.steps += 1
            if rank() == 1 and self.steps == 5:
                self._signal = signal.SIGTERM
            return super().requested

    def stopped() -> int:
        try:
            train(mean_stage(tmp_path / "parts"), After())
        except Stopped as stop:
            return stop.code
        return 0

    def to_the_end() -> int:
        for name in ("parts", "whole"):
            train(mean_stage(tmp_path / name), StopRequest())
        return 0

    assert in_processes(2, stopped) == [143, 143]
    assert len(rows(tmp_path / "parts")) == 5
    assert in_processes(2, to_the_end) == [0, 0]
    assert timeless(tmp_path / "parts") == timeless(tmp_path / "whole")
    whole = state(tmp_path / "whole")
    assert all(torch.equal(tensor, whole[name]) for name, tensor in state(tmp_path / "parts").items())


def test_from_two_processes_to_one_is_said_and_gives_the_same_training(
    in_processes: InProcesses, tmp_path: Path
) -> None:
    def first() -> None:
        train(mean_stage(tmp_path / "parts", epochs=2), StopRequest())

    def whole() -> None:
        train(mean_stage(tmp_path / "whole"), StopRequest())

    in_processes(2, first)
    in_processes(1, whole)
    said: list[str] = []
    train(mean_stage(tmp_path / "parts", say=said.append), StopRequest())
    assert len(said) == 1
    assert "8 of 20 steps were made with 2 processes, now it is 1. The samples stay the same" in said[0]
    compare(tmp_path / "whole", tmp_path / "parts", rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_dies_or_hangs_ends_the_others(
    how: int, in_processes: InProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    average = distributed.average_gradients
    monkeypatch.setattr(step, "average_gradients", lambda module: dying(module))
    steps = iter(range(100))

    def dying(module: nn.Module) -> None:
        if next(steps) == 6:
            if rank() == 1:
                (tmp_path / "dead").write_text(str(os.getpid()))
                os.kill(os.getpid(), how)
            time.sleep(0.5)
        average(module)

    def work() -> str:
        try:
            train(mean_stage(tmp_path / "run"), StopRequest())
        except LostProcess as error:
            if how == signal.SIGSTOP and rank() == 0:
                os.kill(int((tmp_path / "dead").read_text()), signal.SIGKILL)
            return str(error)
        return "nothing happened"

    found = in_processes(4, work, timeout=2)
    assert found[1] is None
    for message in (found[0], *found[2:]):
        assert message.startswith("Another process of this job has gone, or answers no more (")


def test_processes_that_see_other_checkpoints_do_not_begin(in_processes: InProcesses, tmp_path: Path) -> None:
    train(mean_stage(tmp_path / "0", epochs=1), StopRequest())

    def work() -> str:
        with pytest.raises(UserError) as caught:
            train(mean_stage(tmp_path / str(rank())), StopRequest())
        return str(caught.value)

    assert all("not every process sees the same files" in message for message in in_processes(2, work))
