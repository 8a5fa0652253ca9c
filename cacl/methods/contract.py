"""The contract of a method: what the loader, the loop, the machine and the report ask it, and what it answers.

A method is one file with two classes: its ``Settings`` (``settings.method`` of a run, with how to build it) and a
``Method``. It says which frames make a sample (``plan``), which views of them it wants (``views``), what the step
minimises (``forward``), and what moves when the step is done (``after_step``). Everything else has a default here.
``docs/method.md`` says why it is a base class and what each part is for.

Shapes: B samples of the global batch, b of this process's part of it, C channels, T frames, H W pixels, U uniform
numbers a sample, S numbers a step, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from cacl.data.clips.sampling import ClipPlan
from cacl.methods.curves import Curve
from cacl.methods.task import Task
from cacl.models.cnn3d import CNN3D

MAIN = "main"  # the objective of a method that has one


@dataclass(frozen=True)
class View:
    """One augmented look at a clip of the sample.

    Attributes:
        clip: which clip of the plan.
        draw: views with equal numbers share crop, flip, colour and blur.
        crop: ``train`` as the settings say; ``centre`` is the crop of evaluation, without any augmentation.
        jitter: one draw of the colours for the clip, or one for each of its frames.
    """

    clip: int = 0
    draw: int = 0
    crop: Literal["train", "centre"] = "train"
    jitter: Literal["clip", "frame"] = "clip"


@dataclass(frozen=True)
class MethodBatch:
    """One batch, or an equal part of it, as a method sees it.

    Attributes:
        views: clips ``[b, 3, T, H, W]``, float32 in [0, 1] (or normalised), one tensor a view.
        targets: tensors ``[b, …]`` that the method's ``plan`` asked for.
        video: int64 ``[b]``, which video each sample comes from.
        uniforms: float32 ``[b, U]`` in [0, 1), the method's own random numbers, each row a function of its sample.
        shared: float32 ``[S]`` in [0, 1), one draw for the whole step: equal in all parts and processes.
    """

    views: tuple[Tensor, ...]
    targets: Mapping[str, Tensor]
    video: Tensor
    uniforms: Tensor
    shared: Tensor = field(default_factory=lambda: torch.zeros(0))

    def __post_init__(self) -> None:
        sizes = {len(view) for view in self.views} | {len(t) for t in self.targets.values()} | {len(self.video)}
        if sizes != {len(self.uniforms)}:
            raise ValueError(f"views, targets, video and uniforms must be equally long, found {sorted(sizes)}")


@dataclass(frozen=True)
class StepOutput:
    """What a step computed, of one part of one process's share of the batch.

    Attributes:
        losses: objective -> scalar with gradient, minimised by the parameters of ``parameter_groups()[objective]``.
        terms: named scalar terms of the first objective, with gradient, under the names in which they are logged.
        metrics: named detached scalars to log. Losses, terms and metrics are means over the samples.
        features: the encoder's features with gradient, ``[b, D]`` or, of several clips, ``[n, b, D]``: where the
            gradient of each term is measured. None measures nothing.
        state: tensors ``[b, …]`` without gradient that ``after_step`` wants of the whole batch; the loop gathers them
            over the processes and joins the parts, in the order of the samples.
    """

    losses: Mapping[str, Tensor]
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    features: Tensor | None = None
    state: Mapping[str, Tensor] = field(default_factory=dict)

    def detached(self) -> StepOutput:
        """The numbers without their graph."""
        features = None if self.features is None else self.features.detach()
        state = {name: value.detach() for name, value in self.state.items()}
        return StepOutput(_plain(self.losses), _plain(self.terms), self.metrics, features, state)


@dataclass(frozen=True)
class Group:
    """Parameters with a learning rate or decay of their own.

    Attributes:
        parameters: all of them want gradients.
        scale: of the schedule's learning rate.
        constant: a rate that follows no schedule, instead.
        decay: weight decay instead of the optimiser's; None leaves that to it.
    """

    parameters: Sequence[nn.Parameter]
    scale: float = 1.0
    constant: float | None = None
    decay: float | None = None


class Method(nn.Module):
    """A module that is trained; subclasses give ``encoder``, ``plan`` and ``forward``, and what else they need.

    Attributes:
        views: what ``batch.views`` is to hold.
        uniforms: U, random numbers a sample that ``forward`` wants.
        shared: S, random numbers a step.
        curves: what to draw and to warn about beside the loss (``cacl/methods/curves.py``), from the settings.
    """

    views: tuple[View, ...] = (View(),)
    uniforms: int = 0
    shared: int = 0
    curves: Sequence[Curve] = ()

    @property
    def encoder(self) -> CNN3D:
        """The network that stays when training is over."""
        raise NotImplementedError

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """Which frames of a video of ``n_frames`` make one sample, and its targets; a pure function.

        Raises:
            TooShort: the video cannot give what was drawn; the loader asks another one, with the same generator.
        """
        raise NotImplementedError

    def forward(self, batch: MethodBatch) -> StepOutput:
        """What the step minimises; nothing in the method changes (BatchNorm's running statistics aside)."""
        raise NotImplementedError

    def after_step(self, state: Mapping[str, Tensor], video: Tensor, progress: float) -> None:
        """After the optimiser's step: momentum copies, queues, banks.

        Args:
            state: ``StepOutput.state`` of the whole batch, ``[B, …]`` each, the same in every process.
            video: int64 ``[B]``.
            progress: share of training done, in (0, 1].
        """

    def after_epoch(self, progress: float) -> None:
        """After the last step of an epoch; ``progress`` as above."""

    def parameter_groups(self) -> Mapping[str, Sequence[Group]]:
        """Objective -> the parameters that minimise it; by default one for all that want gradients."""
        return {MAIN: [Group([p for p in self.parameters() if p.requires_grad])]}

    def networks(self) -> Sequence[nn.Module]:
        """What is worth compiling: all that has convolutions or attention."""
        return [self.encoder]

    def tasks(self) -> Sequence[Task]:
        """The classes of time that the method learns to predict: measured at the end of a run and in its analysis."""
        return ()

    def embeddings(self, batch: MethodBatch) -> Mapping[str, Tensor]:
        """Unit embeddings ``[b, E]`` of what is drawn together (paper, Table 3), by the names in ``PAIR_NAMES``."""
        return {}

    def attention(self, batch: MethodBatch) -> Tensor | None:
        """Weights of a transformer's first layer, float64 ``[b, L, L]``, mean of its heads (paper, Fig. 3)."""
        return None


def _plain(scalars: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in scalars.items()}
