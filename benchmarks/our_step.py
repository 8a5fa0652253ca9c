"""Our training step as the loop takes it, with each saving switchable, whole and by part.

Shapes: B batch, T frames, D features of G, F features of a frame.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from cacl.data.clips.batch import ClipBatch
from cacl.machine.auto import channels_last
from cacl.methods.cacl import CACL
from cacl.methods.contract import MethodBatch
from cacl.methods.losses import contrastive_loss
from cacl.methods.moco import momentum_update
from cacl.methods.permute import permute_tokens
from cacl.models.cnn3d import channels_last_
from cacl.training.optim import build_optimizer
from cacl.training.pretrain import resolve_settings
from cacl.training.step import Step, StepResult
from cacl.training.views import augmented_views
from cacl.training.wiring import build_frames_network, build_method, initial_network

Part = TypeVar("Part")
LR, DECAY = 1e-2, 1e-4  # of the released code
PARTS = (
    "G query, forward and backward",
    "G key, forward",
    "frame encoder",
    "T, query forward and backward, key forward",
    "heads and losses",
    "momentum",
    "optimiser",
)


@dataclass(frozen=True)
class Size:
    """What is trained: name, settings that differ from ``released``, clips a batch."""

    name: str
    settings: dict[str, Any]
    batch: int


LAPTOP = {
    "data.resize": [64, 86],
    "augment.size": 56,
    "model.width": 16,
    "model.frame_encoder": "resnet18",
    "model.frame_width": 16,
    "model.token_width": 96,
    "model.depth": 2,
    "model.heads": 3,
}
TINY = {**LAPTOP, "data.resize": [32, 40], "augment.size": 32, "model.width": 4, "model.frame_width": 4}


def there(part: Part | None) -> Part:
    """A part that every method measured here has."""
    assert part is not None
    return part


@dataclass(frozen=True)
class Variant:
    """Which savings are on."""

    reuse: bool = True
    channels_last: bool = True
    low: bool = True
    one_pass: bool = False
    checkpointed: bool = False


class EncodesTwice(nn.Module):
    """The frame encoder without reuse: the twin's frames are encoded again."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, frames_NCHW: Tensor) -> Tensor:
        features: Tensor = self.encoder(torch.cat([frames_NCHW, frames_NCHW]))
        return features[: len(frames_NCHW)]


class Ours:
    """A method with its optimiser and one batch, ready to step."""

    def __init__(self, method: CACL, batch: MethodBatch, variant: Variant, dtype: torch.dtype | None) -> None:
        self.method = copy.deepcopy(method)
        self.method.query.one_pass = variant.one_pass
        self.method.encoder.checkpointed = variant.checkpointed
        if not variant.reuse:
            self.method.frame_encoder = EncodesTwice(there(self.method.frame_encoder)).eval()
        self.batch, self.dtype = batch, dtype if variant.low else None
        if variant.channels_last:
            channels_last_(self.method)
            views = tuple(v.contiguous(memory_format=torch.channels_last_3d) for v in batch.views)
            self.batch = replace(batch, views=views)
        self.optimizer = build_optimizer(self.method, optimizer="sgd", lr=LR, weight_decay=DECAY)
        self.method.train()
        device, samples = batch.video.device, torch.arange(len(batch.video))
        self._step = Step(self.method, self.optimizer, lambda raw: self.batch, device, autocast=self.dtype)
        self._raw = ClipBatch((), batch.targets, batch.video, samples, epoch=0)  # its views are made already

    def autocast(self) -> AbstractContextManager[object]:
        device = self.batch.video.device.type
        return nullcontext() if self.dtype is None else torch.autocast(device, dtype=self.dtype)

    def step(self) -> StepResult:
        """The step of every training."""
        return self._step(self._raw, progress=0.0)

    def parts(self) -> dict[str, Callable[[], object]]:
        """The same work cut into parts."""
        method, batch = self.method, self.batch
        key, queue, encoder = there(method.key), there(method.queue), there(method.frame_encoder)
        t, t_key = there(method.transformer), there(method.key_transformer)
        permutation, D, B = batch.targets["permutation"], method.encoder.num_features, len(batch.video)
        features = [torch.rand(B, D, device=batch.video.device, requires_grad=True) for _ in range(2)]
        T = batch.views[0].shape[2]
        tokens = torch.randn(B, T, t.frame_embed.in_features, device=batch.video.device)
        units = [nn.functional.normalize(torch.randn(B, 128, device=batch.video.device), dim=1) for _ in range(3)]

        def query() -> None:
            with self.autocast():
                out = method.query.features(batch.views[0], permutation)
            torch.autograd.backward(out, [torch.ones_like(o) for o in out])

        @torch.no_grad()
        def keys() -> None:
            with self.autocast():
                key.embed(key.features(batch.views[1], permutation))

        @torch.no_grad()
        def frames() -> None:
            with self.autocast():
                for view in batch.views:
                    encoder(view.transpose(1, 2).flatten(0, 1))

        def attention() -> None:
            with self.autocast():
                for network in (t, t_key):
                    one = network.embed(tokens)
                    out = network(torch.cat([one, permute_tokens(one, permutation)], dim=1))
                    if network is t:
                        out.float().sum().backward()

        def losses() -> None:
            gq = method.query.embed(features)
            positives = [(gq * unit).sum(dim=1) for unit in (*units, units[0])]
            nce = contrastive_loss(positives, gq @ queue.keys.T, temperature=0.07, form="outside")
            logits = method.degree(*features, batch.uniforms[:, : method.degree.hidden])
            (nce + method.degree.loss(logits, batch.targets)).backward()  # type: ignore[no-untyped-call]

        def momentum() -> None:
            momentum_update(key, method.query, 1.0)
            momentum_update(t_key, t, 1.0)

        works = (query, keys, frames, attention, losses, momentum, self.optimizer.step)
        return dict(zip(PARTS, works, strict=True))


def build(size: Size, chosen: argparse.Namespace) -> tuple[CACL, MethodBatch, Callable[[], object]]:
    """The method, a batch of made-up pixels, and the augmentation that makes such a batch."""
    device = "cuda" if chosen.cuda else "cpu"
    assignments = [f"{key}={value}" for key, value in {"method.degree_weight": 1.0, **size.settings}.items()]
    settings = resolve_settings(preset="released", assignments=assignments).settings
    frame_encoder = build_frames_network(settings, weights=None)
    network = initial_network(settings)
    method = build_method(settings, network=network, frame_encoder=frame_encoder, videos=size.batch).to(device)
    assert isinstance(method, CACL)
    numbers = torch.Generator().manual_seed(chosen.seed)
    shape = (size.batch, settings.data.frames, *settings.data.resize, 3)
    rng = np.random.default_rng(chosen.seed)
    plans = [method.plan(100, rng) for _ in range(size.batch)]
    names = ("permutation", "degree")
    targets = {name: torch.stack([torch.as_tensor(plan.targets[name]) for plan in plans]) for name in names}
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=numbers)
    order = torch.arange(size.batch)
    raw = ClipBatch((frames,), targets, order, order, epoch=0).to(device)
    layout = channels_last(settings.run, device)
    make_views = augmented_views(method, settings.augment, seed=settings.run.seed, channels_last=layout)
    return method, make_views(raw), lambda: make_views(raw)
