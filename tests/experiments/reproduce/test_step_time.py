"""The time of a step: the step is a real one, and what was measured with a few clips is scaled to the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cacl.config import Settings
from cacl.experiments.reproduce import step_time as module
from cacl.experiments.reproduce.step_time import StepTime, embedding_time, finetune_step, frames_step, pretrain_step
from cacl.finetune_settings import resolve_finetune
from cacl.training.pretrain import resolve_settings


@pytest.fixture
def settings(tiny: dict[str, Any]) -> Settings:
    return resolve_settings(flags={**tiny, "optim.batch_size": 6, "frames.optim.batch_size": 64}).settings


@pytest.fixture
def three_seconds(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """Every step is made, and takes three seconds."""
    made: list[Callable[[], None]] = []

    def seconds(step: Callable[[], None], device: str) -> float:
        step()
        made.append(step)
        return 3.0

    monkeypatch.setattr(module, "_seconds", seconds)
    return made


def test_a_few_clips_are_scaled_to_the_batch(settings: Settings, three_seconds: list[Callable[[], None]]) -> None:
    finetuning = resolve_finetune(flags={"optim.batch_size": 10}).settings
    assert pretrain_step(settings, "cpu") == StepTime(9.0, 2)  # 2 of 6 clips
    assert frames_step(settings, "cpu") == StepTime(12.0, 16)  # 16 of 64 frames
    assert finetune_step(settings, finetuning, "cpu", classes=3) == StepTime(15.0, 2)
    assert embedding_time(settings, "cpu") == StepTime(1.5, 2)  # of one clip
    assert len(three_seconds) == 4


def test_the_step_trains(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Any] = []
    original = module.build_method
    monkeypatch.setattr(module, "build_method", lambda *parts, **keywords: built.append(original(*parts, **keywords))
                        or built[-1])  # fmt: skip
    before: list[torch.Tensor] = []

    def seconds(step: Callable[[], None], device: str) -> float:
        before.extend(parameter.detach().clone() for parameter in built[0].query.network.parameters())
        step()
        return 1.0

    monkeypatch.setattr(module, "_seconds", seconds)
    pretrain_step(settings, "cpu")
    after = list(built[0].query.network.parameters())
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True) if a.ndim > 1)
    assert int(built[0].queue.pointer) > 0


def test_a_batch_that_does_not_fit_is_halved(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where the whole batch is tried first."""
    tried: list[int] = []

    def seconds(step: Any, device: str) -> float:
        (batch,) = step.args
        tried.append(len(batch))
        if tried[-1] > 16:
            raise torch.OutOfMemoryError
        return 1.0

    monkeypatch.setattr(module, "_seconds", seconds)
    large = {**tiny, "optim.batch_size": 64, "method.queue_size": 64, "run.channels_last": False}
    assert pretrain_step(resolve_settings(flags=large).settings, "meta") == StepTime(4.0, 16)
    assert tried == [64, 32, 16]
