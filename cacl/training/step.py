"""One training step: forward, backward, optimiser, and what moves after it. To be read without scrolling.

The loop takes it, and so do the estimates and benchmarks of how long a step is. Nothing in it waits for the device, but
the norms of gradients where they are asked for.

Shapes: B samples of the global batch, b of this process.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cacl.ahead import in_order
from cacl.data.clips.batch import ClipBatch
from cacl.distributed.agree import average_gradients
from cacl.distributed.processes import gathered, world
from cacl.evaluation.health import feature_health
from cacl.machine.load import usable_processors
from cacl.methods.contract import MAIN, Method, MethodBatch, StepOutput
from cacl.sections import section
from cacl.training.views import MakeViews


@dataclass(frozen=True)
class Step:
    """What every step of a training does alike.

    Attributes:
        method: the module to train.
        make_views: augmentation: a batch on the device to what the method sees.
        autocast: bfloat16/float16, or None for float32.
        clip_gradient: largest norm of the gradient of all parameters, or None.
        accumulate: so many equal parts a batch goes through the networks in, one after the other; their gradients are
            averaged, and copies and queues move once.
    """

    method: Method
    optimizer: torch.optim.Optimizer
    make_views: MakeViews
    device: torch.device
    autocast: torch.dtype | None = None
    scaler: torch.amp.GradScaler | None = None
    clip_gradient: float | None = None
    accumulate: int = 1

    def __call__(self, raw: ClipBatch | Sequence[MethodBatch], *, progress: float, measure: bool = False) -> StepResult:
        """Take the step.

        Args:
            raw: this process's share of the batch, as it was read, or as ``ahead`` gives it.
            progress: share of training done after it, in (0, 1].
            measure: norms of gradients and health of the features, too.
        """
        self.optimizer.zero_grad(set_to_none=True)
        outputs, videos, norms = list[StepOutput](), list[Tensor](), list[dict[str, float]]()
        for batch in raw if isinstance(raw, Sequence) else self._parts(raw):
            with self._autocast(), section("heads and losses, forward"):
                output: StepOutput = self.method(batch)
            if measure:
                with section("metrics"):
                    norms.append(_gradient_norms(output))
            with section("backward"):
                self._backward(output.losses)
            outputs.append(output.detached())
            videos.append(batch.video)
        with section("optimiser"):
            average_gradients(self.method)
            self._update()
        with section("momentum and queue"):
            state, video = _of_the_batch(outputs, videos)
            self.method.after_step(state, video, progress)
        with section("metrics"):
            return StepResult(_scalars(outputs), torch.cat(videos), _measured(outputs, norms) if measure else {})

    def ahead(self, batches: Iterable[ClipBatch]) -> Generator[ClipBatch | Sequence[MethodBatch]]:
        """Batches as the step takes them: on a CPU the next one is augmented, by one thread, while a step is taken.

        Few of augmentation's many small operators gain by a second thread. On a GPU, which is not waited for, and on a
        single processor batches are left as they are.
        """
        if self.device.type != "cpu" or len(usable_processors()) < 2:
            yield from batches
            return

        def made(raw: ClipBatch) -> list[MethodBatch]:
            torch.set_num_threads(1)  # of this thread; and of those that begin until the main one sets it again
            return [self.make_views(part) for part in raw.parts(self.accumulate)]

        try:
            yield from in_order(made, batches, threads=1, ahead=1)
        finally:
            torch.set_num_threads(torch.get_num_threads())

    def _parts(self, raw: ClipBatch) -> Generator[MethodBatch]:
        """The parts of a batch, on the device and augmented, one by one as they are used."""
        with section("copy to the device"):
            raw = raw.to(self.device)
        for part in raw.parts(self.accumulate):
            with section("augmentation"):
                batch = self.make_views(part)
            yield batch

    def _autocast(self) -> Any:
        return nullcontext() if self.autocast is None else torch.autocast(self.device.type, dtype=self.autocast)

    def _backward(self, losses: Mapping[str, Tensor]) -> None:
        """Gradients of every objective at its own parameters, the mean over the parts of the batch."""
        scaled = {name: self._scale(loss / self.accumulate) for name, loss in losses.items()}
        if len(scaled) == 1:
            next(iter(scaled.values())).backward()  # type: ignore[no-untyped-call]
            return
        groups, left = self.method.parameter_groups(), len(scaled)
        for name, loss in scaled.items():
            left -= 1
            own = [parameter for group in groups[name] for parameter in group.parameters]
            loss.backward(inputs=own, retain_graph=left > 0)  # type: ignore[no-untyped-call]

    def _scale(self, loss: Tensor) -> Tensor:
        return loss if self.scaler is None else self.scaler.scale(loss)

    def _update(self) -> None:
        if self.clip_gradient is not None:
            if self.scaler is not None:
                self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.method.parameters(), self.clip_gradient)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()


@dataclass(frozen=True)
class StepResult:
    """What a step leaves: named scalars on the device, means over this process's samples; its videos; measurements."""

    scalars: Mapping[str, Tensor]
    video: Tensor
    measured: Mapping[str, float]


def _of_the_batch(outputs: Sequence[StepOutput], videos: Sequence[Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """State and videos of all samples, ``[B, …]`` in their order: a process has one piece of them, cut into parts."""
    names = outputs[0].state
    state = {name: gathered(torch.cat([output.state[name] for output in outputs])) for name in names}
    return state, gathered(torch.cat(list(videos)))


def _scalars(outputs: Sequence[StepOutput]) -> dict[str, Tensor]:
    """``loss``, ``loss_…`` of further objectives, terms and metrics: the means over the parts."""
    rows = []
    for output in outputs:
        losses = {"loss" if name == MAIN else f"loss_{name}": loss for name, loss in output.losses.items()}
        rows.append({**losses, **output.terms, **output.metrics})
    return {
        name: torch.stack([row[name] for row in rows]).mean() if len(rows) > 1 else rows[0][name] for name in rows[0]
    }


def _gradient_norms(output: StepOutput) -> dict[str, float]:
    """What each term does to the encoder: the norm of its gradient at the features of all processes' samples."""
    norms: dict[str, float] = {}
    if output.features is None:
        return norms
    for name, term in output.terms.items():
        (gradient,) = torch.autograd.grad(term, output.features, retain_graph=True, allow_unused=True)
        if gradient is not None:
            key = f"grad_{name.removesuffix('_loss')}"
            norms[key] = gathered(gradient.float()).norm().item() / world()
    return norms


def _measured(outputs: Sequence[StepOutput], norms: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The gradients of the whole batch from those of its parts, and the state of the features."""
    whole = {name: math.hypot(*(part[name] for part in norms)) / len(norms) for name in norms[0]}
    features = [output.features for output in outputs if output.features is not None]
    if not features:
        return whole
    first = torch.cat([part[0] if part.ndim == 3 else part for part in features])  # of clip and twin the clip
    rows = gathered(first.detach().float()).cpu().numpy()
    if not np.isfinite(rows).all():  # an earlier step's loss was not either, and is still to be fetched
        return whole
    health = feature_health(rows)
    return {**whole, "feature_std": health["std"], "feature_rank": health["effective_rank"]}
