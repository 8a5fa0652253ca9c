"""How many passes through the encoder a sample costs, counted on one tiny step rather than known by heart.

One pass is one clip through the 3D CNN, be it the one that learns or a momentum copy of it, with or without gradients.
Every 3D CNN in the method is watched at its first convolution, whatever way it is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cacl.config import Resolved, Settings
from cacl.experiments.reproduce.step_time import random_batch, stand_in_frames
from cacl.machine.auto import auto_values
from cacl.methods.contract import Method
from cacl.models.cnn3d import CNN3D
from cacl.training.stages import build_step, prepare_method
from cacl.training.views import augmented_views
from cacl.training.wiring import build_method, initial_network

CLIPS = 4
_SMALL: dict[str, tuple[Any, str]] = {
    "run.device": ("cpu", "counting"),
    "run.precision": ("float32", "counting"),
    "run.channels_last": (False, "counting"),
    "run.tf32": (False, "counting"),
    "run.checkpoint_activations": (False, "counting"),
    "model.width": (4, "counting"),
    "model.frame_width": (4, "counting"),
    "model.frame_weights": (None, "counting"),
    "data.resize": ((32, 32), "counting"),
    "augment.size": (32, "counting"),
    "optim.accumulate": (1, "counting"),
    "optim.batch_size": (CLIPS, "counting"),
    "optim.lr": (1e-4, "counting"),
}


def passes_a_sample(resolved: Resolved) -> float:
    """Clips through the 3D CNN and its copies in one step, a sample."""
    settings = resolved.with_auto(_SMALL).settings
    values = {key: value for key, value in auto_values(settings, videos=64).items() if key.startswith("method.")}
    settings = resolved.with_auto({**_SMALL, **values}).settings
    with torch.random.fork_rng(devices=[]):
        method = _method(settings)
        views = augmented_views(method, settings.augment, seed=0, channels_last=False)
        step = build_step(method, views, settings.optim, settings.run)
        batch = random_batch(method, CLIPS, settings.data.resize)
        with counted_clips(method) as clips:
            step(batch, progress=1.0)
    return sum(clips) / CLIPS


def _method(settings: Settings) -> Method:
    frames = stand_in_frames(settings)
    method = build_method(settings, network=initial_network(settings), frame_encoder=frames, videos=64)
    return prepare_method(method, settings.run).train()


@contextmanager
def counted_clips(method: nn.Module) -> Iterator[list[int]]:
    """How many clips went through each call of a 3D CNN inside the method."""
    clips: list[int] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        clips.append(len(inputs[0]))

    networks = [module for module in method.modules() if isinstance(module, CNN3D)]
    first = [next(layer for layer in network.modules() if isinstance(layer, nn.Conv3d)) for network in networks]
    handles = [layer.register_forward_pre_hook(note) for layer in first]
    try:
        yield clips
    finally:
        for handle in handles:
            handle.remove()
