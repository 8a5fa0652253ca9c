"""What tests of rival methods share: videos in memory, a short training, two processes against one, gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from training.drifting_stage import compare, double_everywhere, stage
from training.drifting_stage import state as last_state
from training.rows import rows

from cacl.config import Settings
from cacl.data.clips.loader import ClipLoader
from cacl.distributed.processes import world
from cacl.methods.contract import Method, MethodBatch
from cacl.models.image.frozen_frames import FrozenFrames
from cacl.training.loop import train
from cacl.training.optim import build_optimizer
from cacl.training.resolve import resolve_settings
from cacl.training.step import Step
from cacl.training.stop import StopRequest
from cacl.training.views import augmented_views
from cacl.training.wiring import build_method, initial_network

InProcesses = Callable[..., list[Any]]
VIDEOS = 32
SMALL: dict[str, Any] = {
    "data.frames": 8,
    "data.stride": 1,
    "data.resize": [36, 40],
    "augment.size": 32,
    "model.width": 4,
    "optim.batch_size": 8,
    "run.precision": "float32",
    "run.device": "cpu",
    "run.channels_last": False,
}


def settings_for(method: str, **changes: Any) -> Settings:
    """The preset ``small``, as narrow as it goes; ``changes`` are dotted keys, or keys with ``__`` for the dot."""
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return resolve_settings(method=method, flags={**SMALL, **named}).settings


def built(settings: Settings, *, videos: int = VIDEOS) -> Method:
    """The method with its initial weights; features of a frozen encoder, where it wants some, are made up."""
    numbers, frozen = torch.Generator().manual_seed(5), None
    if settings.method.frozen_moments:
        frozen = FrozenFrames(torch.randn(videos, settings.method.frozen_moments, 6, generator=numbers))
    return build_method(settings, network=initial_network(settings), frame_encoder=frozen, videos=videos)


def tiny_method(name: str, *, videos: int = 12, **changes: Any) -> Method:
    """The method, training, on pixels as they are."""
    return built(settings_for(name, **{"model.standardise": "none", **changes}), videos=videos).train()


def doubled(batch: MethodBatch) -> MethodBatch:
    """The same batch in float64."""
    numbers = {"uniforms": batch.uniforms.double(), "shared": batch.shared.double()}
    return replace(batch, views=tuple(view.double() for view in batch.views), **numbers)


def noise(method: Method, size: int, *, targets: dict[str, Tensor], frames: int = 8, side: int = 32) -> MethodBatch:
    """Views of noise of another brightness each, and the method's own random numbers."""
    rng = np.random.default_rng(size)
    base = rng.random((size, 1, 1, 1, 1))
    views = [base + 0.5 * rng.random((size, 3, frames, side, side)) for _ in method.views]
    return MethodBatch(
        tuple(torch.from_numpy(view).float() for view in views),
        targets,
        torch.arange(size),
        torch.from_numpy(rng.random((size, method.uniforms))).float(),
        torch.from_numpy(rng.random(method.shared)).float(),
    )


class Moving:
    """A bright square on a dim picture, both the video's own, that moves ``speed`` pixels a frame along its course."""

    height, width = 36, 40

    def __init__(self, *, count: int = VIDEOS, frames: int = 80, speed: float = 1.0, seed: int = 0) -> None:
        self.lengths = [frames] * count
        self._videos = [self._render(np.random.default_rng([seed, n]), frames, speed) for n in range(count)]

    def _render(self, rng: np.random.Generator, frames: int, speed: float) -> NDArray[np.uint8]:
        coarse = rng.integers(20, 110, (6, 7, 3)).repeat(6, axis=0).repeat(6, axis=1)[:36, :40]
        side, colour = int(rng.integers(7, 12)), rng.integers(150, 255, 3)
        angle, place = rng.uniform(0, 2 * np.pi), rng.uniform(0, 24, 2)
        step = speed * np.array([np.sin(angle), np.cos(angle)])
        shown = np.repeat(coarse[None], frames, axis=0)
        for t in range(frames):
            top, left = np.abs((place + step * t) % (2 * 26) - 26).astype(int)  # back from the edge
            shown[t, top : top + side, left : left + side] = colour
        return (shown + rng.integers(-6, 7, shown.shape)).clip(0, 255).astype(np.uint8)

    def read(self, video: int, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Frames of one video."""
        return self._videos[video][indices]


def trained(
    method: Method, settings: Settings, source: Moving, *, steps: int, lr: float = 3e-3
) -> list[dict[str, float]]:
    """Train with the loader and the augmentation of a run; what each step said."""
    loader = ClipLoader(source, source.lengths, method.plan, seed=1, batch_size=settings.optim.batch_size)
    step = Step(
        method.train(),
        build_optimizer(method, optimizer="adamw", lr=lr, weight_decay=0.01),
        augmented_views(method, settings.augment, seed=1, channels_last=False),
        torch.device("cpu"),
    )
    said, epoch = list[dict[str, float]](), 0
    while len(said) < steps:
        for batch in loader.epoch(epoch):
            result = step(batch, progress=min(1.0, (len(said) + 1) / steps))
            said.append({name: value.item() for name, value in result.scalars.items()})
        epoch += 1
    return said


def task_accuracy(method: Method, settings: Settings, source: Moving, *, draws: int = 6) -> float:
    """Share of right answers of the method's first task about videos that it never saw, as a run's end measures it."""
    from cacl.data.clips.augment import centre_crop
    from cacl.data.randomness import generator

    task, right = method.tasks()[0], []
    method.eval()
    for draw in range(draws):
        plans = [task.draw(n, generator(7, "held out", video, draw)) for video, n in enumerate(source.lengths)]
        clips = [
            torch.from_numpy(np.stack([source.read(v, plan.clips[k]) for v, plan in enumerate(plans)]))
            for k in range(len(plans[0].clips))
        ]
        targets = {name: torch.from_numpy(np.stack([p.targets[name] for p in plans])) for name in plans[0].targets}
        seen = [centre_crop(clip, settings.augment.size, standardise=settings.model.standardise) for clip in clips]
        with torch.no_grad():
            guess = task.logits(method.encoder, seen, targets).argmax(dim=1)
        right.append((guess == targets[task.name]).double().mean().item())
    return float(np.mean(right))


def same_in_two_processes(name: str, tmp_path: Path, in_processes: InProcesses, **changes: Any) -> list[dict[str, Any]]:
    """Train in one process and in two, in float64, past a queue's wrap-around; every number is the same."""
    settings = settings_for(name, **{"model.standardise": "none", **changes})

    def work() -> int:
        double_everywhere()
        method = built(settings).double()
        train(stage(tmp_path / str(world()), settings, epochs=2, method=method), StopRequest())
        return world()

    for count in (1, 2):
        assert in_processes(count, work) == [count] * count
    compare(tmp_path / "1", tmp_path / "2", rtol=1e-9, atol=1e-9)
    learnt, initial = last_state(tmp_path / "1"), built(settings).state_dict()
    assert max((learnt[key] - initial[key]).abs().max() for key in initial if key.endswith("weight")) > 1e-4
    return rows(tmp_path / "1")


def same_gradients(found: Tensor, expected: Tensor, inputs: Sequence[Tensor], *, atol: float = 1e-9) -> None:
    """Two losses are the same function of their inputs here: value and gradients, of which some are not 0."""
    torch.testing.assert_close(found, expected, atol=atol, rtol=1e-7)
    ours, theirs = (
        torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True, materialize_grads=True)
        for loss in (found, expected)
    )
    assert any(gradient.abs().max() > 0 for gradient in ours)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=atol, rtol=1e-6)


def uniform_classes(counts: Sequence[int] | NDArray[np.int64]) -> bool:
    """Whether a chi-square test at one in ten thousand lets these counts pass as uniform."""
    limits = {1: 15.1, 2: 18.4, 3: 21.1, 4: 23.5, 5: 25.7, 22: 55.2}
    counted = np.asarray(counts, dtype=float)
    mean = counted.mean()
    return bool(((counted - mean) ** 2 / mean).sum() < limits[len(counted) - 1])
