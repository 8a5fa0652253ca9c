"""The training loop: one step that can be read without scrolling, ruled off from logging and saving.

It serves every method and stage. All randomness is a function of (seed, epoch, sample), so that the state to restore is
weights, optimiser, momentum copies, queue and the number of steps done. Several processes share each batch and have the
same weights throughout; the first of them logs and saves.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from cacl.data.clips.loader import ClipBatch, ClipLoader, Failure
from cacl.distributed.agree import any_wants, average_gradients
from cacl.distributed.processes import everyones, first_alone, gathered, is_first, wait_for_first, world
from cacl.errors import UserError
from cacl.evaluation.health import feature_health
from cacl.machine.device_errors import device_errors
from cacl.methods.batch import StepOutput, ViewBatch, joined
from cacl.run_folder import Metrics
from cacl.sections import section, waited
from cacl.training.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint, tidy_checkpoints
from cacl.training.profile import Profile
from cacl.training.progress import Progress
from cacl.training.step_numbers import StepNumbers
from cacl.training.stop import StopRequest


class Method(Protocol):
    """What the loop wants of a method (an ``nn.Module``)."""

    views: int
    uniforms: int

    def after_step(self, output: StepOutput, progress: float) -> None:
        """Momentum copies and queue, after the optimiser's step."""


def _to_stderr(text: str) -> None:
    """A line for the user."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Stage:
    """Everything a training needs, put together by ``pretrain``.

    Attributes:
        name: of the stage, the ``kind`` of its metrics rows.
        method: the module to train; ``method(views)`` gives a ``StepOutput``.
        loader: its batches.
        make_views: augmentation: a batch on the device to what the method sees.
        video_names: for messages, by the video numbers of what ``make_views`` gives.
        learning_rate: of a step, counted from 0.
        checkpoints: folder of this stage.
        metrics: ``metrics.jsonl``.
        autocast: bfloat16/float16, or None for float32.
        accumulate: so many equal parts a batch goes through the networks in, one after the other; their gradients are
            averaged, and copies and queue move once.
        fetch_every: so many steps the numbers for ``metrics`` stay on the device (a GPU would have to be waited for).
        profile: a folder for the trace of some steps, or None for no profile.
        say: told what the user should know.
    """

    name: str
    method: nn.Module
    loader: ClipLoader
    optimizer: torch.optim.Optimizer
    make_views: Callable[[ClipBatch], ViewBatch]
    video_names: Sequence[str]
    learning_rate: Callable[[int], float]
    epochs: int
    checkpoints: Path
    metrics: Path
    device: torch.device
    autocast: torch.dtype | None
    clip_gradient: float | None
    log_every: int
    save_minutes: float
    accumulate: int = 1
    fetch_every: int = 1
    profile: Path | None = None
    say: Callable[[str], None] = _to_stderr

    @property
    def steps(self) -> int:
        """Steps of the whole stage."""
        return self.epochs * self.loader.steps_per_epoch


def train(stage: Stage, stop: StopRequest) -> None:
    """Run a stage to its end, from its newest checkpoint when there is one.

    Raises:
        UserError: the loss is not finite (the batch's videos are named), a checkpoint cannot be written, or the
            device's memory does not suffice.
        Stopped: SIGTERM or Ctrl-C asked for it; the step was finished and saved.
        LostProcess: another process of the job has gone.
    """
    scaler = torch.amp.GradScaler(stage.device.type, enabled=stage.autocast == torch.float16)
    done = _restore(stage, scaler)
    metrics = Metrics(stage.metrics, kind=stage.name, step=done) if is_first() else None
    per_epoch, saved_at = stage.loader.steps_per_epoch, time.monotonic()
    waiting: list[StepNumbers] = []  # of the steps since the last fetch
    folder = stage.profile if is_first() else None
    stage.method.train()
    try:
        with (
            Progress(stage.name, total=stage.steps, done=done, shown=is_first()) as progress,
            Profile(folder, name=stage.name, device=stage.device, say=stage.say) as profile,
            device_errors(memory=_less_memory(stage)),
        ):
            for epoch in range(done // per_epoch, stage.epochs):
                _share_failures(stage.loader)
                start = done % per_epoch if epoch == done // per_epoch else 0
                for raw in waited("waiting for data", stage.loader.epoch(epoch, start_step=start)):
                    waiting.append(_step(stage, raw, scaler, done, epoch))
                    done += 1
                    waiting[-1].row["clips_per_second"] = round(progress.rate * stage.loader.batch_size, 2)
                    time_to = time.monotonic() - saved_at > 60 * stage.save_minutes
                    due, asked = any_wants(time_to, stop.signal if stop.requested else 0)
                    save = due or asked or done == stage.steps
                    rows = []
                    if save or len(waiting) >= stage.fetch_every:
                        with section("metrics"):
                            rows, last = _fetch(stage, waiting, metrics), waiting[-1]
                        waiting = []
                    progress.advance(*rows)
                    profile.step_done()
                    if save:
                        _check_weights(stage, last)
                        _share_failures(stage.loader)
                        if metrics is not None:
                            metrics.flush()
                            save_checkpoint(stage.checkpoints, done, _state(stage, scaler))
                        saved_at = time.monotonic()
                        wait_for_first()
                    if asked:  # by this step: a signal that came since then ends the next one
                        stop.ask(asked)
                        stop.raise_if_requested()
    finally:
        if metrics is not None:
            metrics.close()


def _step(stage: Stage, raw: ClipBatch, scaler: torch.amp.GradScaler, done: int, epoch: int) -> StepNumbers:
    """One training step. Nothing in it waits for the device, but every ``log_every`` steps for the gradients' norms."""
    row: dict[str, Any] = {"step": done + 1, "epoch": epoch, "lr": _set_learning_rate(stage, done)}
    stage.optimizer.zero_grad(set_to_none=True)
    with section("copy to the device"):
        raw = raw.to(stage.device)
    outputs, videos, norms = [], [], []
    for part in raw.parts(stage.accumulate):
        with section("augmentation"):
            batch = stage.make_views(part)
        with _autocast(stage), section("heads and losses, forward"):
            output: StepOutput = stage.method(batch)
        if done % stage.log_every == 0:
            with section("metrics"):
                norms.append(_gradient_norms(output))
        with section("backward"):
            scaler.scale(output.terms["total"] / stage.accumulate).backward()  # type: ignore[no-untyped-call]
        outputs.append(output.detached())
        videos.append(batch.video)
    output = joined(outputs)
    with section("optimiser"):
        average_gradients(stage.method)
        _clip(stage, scaler)
        scaler.step(stage.optimizer)
        scaler.update()
    with section("momentum and queue"):
        stage.method.after_step(output, progress=(done + 1) / stage.steps)  # type: ignore[operator]
    with section("metrics"):
        return StepNumbers(row | _measured(output, norms), _scalars(output), torch.cat(videos))


def _set_learning_rate(stage: Stage, step: int) -> float:
    """The schedule's rate in every group but those that keep a rate of their own (``constant_lr``)."""
    lr = stage.learning_rate(step)
    for group in stage.optimizer.param_groups:
        group["lr"] = group.get("constant_lr", lr)
    return lr


def _autocast(stage: Stage) -> Any:
    return nullcontext() if stage.autocast is None else torch.autocast(stage.device.type, dtype=stage.autocast)


def _clip(stage: Stage, scaler: torch.amp.GradScaler) -> None:
    if stage.clip_gradient is not None:
        scaler.unscale_(stage.optimizer)
        nn.utils.clip_grad_norm_(stage.method.parameters(), stage.clip_gradient)


def _scalars(output: StepOutput) -> dict[str, Tensor]:
    names = {"nce": "nce", "degree": "degree_loss", "total": "loss"}
    return {names[name]: value for name, value in output.terms.items()} | dict(output.metrics)


def _gradient_norms(output: StepOutput) -> dict[str, float]:
    """What each term does to G: the norm of its gradient at G's features, over the samples of all processes."""
    norms = {}
    for name, term in output.terms.items():
        if name != "total":
            (gradient,) = torch.autograd.grad(term, output.features, retain_graph=True)
            norms[f"grad_{name}"] = gathered(gradient.float()).norm().item() / world()
    return norms


def _measured(output: StepOutput, norms: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The gradients of the whole batch from those of its parts, and the state of the features; empty in most steps."""
    if not norms:
        return {}
    whole = {name: math.hypot(*(part[name] for part in norms)) / len(norms) for name in norms[0]}
    features = _clip_features(output.features)
    if not np.isfinite(features).all():  # an earlier step's loss was not either, and is still to be fetched
        return whole
    health = feature_health(features)
    return {**whole, "feature_std": health["std"], "feature_rank": health["effective_rank"]}


def _clip_features(features: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """G(x) of a batch, ``[B, D]``: the first of clip and twin where there are two."""
    first = features[0] if features.ndim == 3 else features
    return gathered(first.detach().float()).cpu().numpy()


def _fetch(stage: Stage, steps: Sequence[StepNumbers], metrics: Metrics | None) -> list[dict[str, Any]]:
    """Bring the numbers of steps from the device into the file; a loss that is not finite ends the training."""
    rows = StepNumbers.fetch(steps)
    for row, step in zip(rows, steps, strict=True):
        if not math.isfinite(row["loss"]):
            raise _not_finite(stage, f"The loss of {stage.name} is {row['loss']}", step)
        if metrics is not None:
            metrics.add(row)
    return rows


def _check_weights(stage: Stage, last: StepNumbers) -> None:
    """A finite loss can have a gradient that is not: such weights never take a good checkpoint's place."""
    if not all(bool(parameter.isfinite().all()) for parameter in stage.method.parameters()):
        raise _not_finite(stage, f"Weights of {stage.name} are no longer finite", last)


def _not_finite(stage: Stage, what: str, step: StepNumbers) -> UserError:
    names = sorted({stage.video_names[i] for i in gathered(step.video).tolist()})
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    kept = newest_checkpoint(stage.checkpoints)
    good = "No checkpoint was written yet" if kept is None else f"The last good checkpoint is kept ({kept})"
    lr = "frames.optim.lr" if stage.name == "frames" else "optim.lr"
    where = f"{what} at step {step.row['step']}. {good}."
    return UserError(f"{where} Lower {lr} or use run.precision float32. Videos of the batch: {shown}.")


def _less_memory(stage: Stage) -> str:
    """What to do where a step does not fit into the memory of the device."""
    optim, clips = "frames.optim" if stage.name == "frames" else "optim", stage.loader.batch_size // world()
    recompute = "" if stage.name == "frames" else "run.checkpoint_activations=true, "
    return (
        f"{stage.name} sends {clips // stage.accumulate} clips of a batch through the networks at once: begin anew "
        f"with {recompute}{optim}.accumulate={2 * stage.accumulate} or a smaller {optim}.batch_size; or, if something "
        "else took the memory, end that and resume."
    )


def _share_failures(loader: ClipLoader) -> None:
    """A video that failed in one process is left out by all, from the next epoch on."""
    for failure in (failure for failures in everyones(loader.failures) for failure in failures):
        if failure.video not in {known.video for known in loader.failures} and loader.on_failure:
            loader.on_failure(failure)
        loader.leave_out([failure])


def _state(stage: Stage, scaler: torch.amp.GradScaler) -> dict[str, Any]:
    failures = [[f.video, f.epoch, f.reason] for f in stage.loader.failures]
    return {
        "method": stage.method.state_dict(),
        "optimizer": stage.optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "failures": failures,
        "processes": world(),
    }


def _restore(stage: Stage, scaler: torch.amp.GradScaler) -> int:
    """Load the newest complete checkpoint; the number of steps done, 0 without one."""
    if is_first() and (damaged := tidy_checkpoints(stage.checkpoints)):
        stage.say(f"{stage.checkpoints}: {', '.join(damaged)} was damaged and is not used; another checkpoint is.")
    path = first_alone(lambda: newest_checkpoint(stage.checkpoints))
    if len(set(everyones(None if path is None else path.name))) > 1:
        raise UserError(f"{stage.checkpoints}: not every process sees the same files; put the run on a shared disk.")
    if path is None:
        return 0
    done, state = load_checkpoint(path)
    if (before := state.get("processes", 1)) != world() and done < stage.steps:
        stage.say(
            f"{stage.name}: {done} of {stage.steps} steps were made with {before} process{'es' * (before > 1)}, now it "
            f"is {world()}. The samples stay the same; sums are taken in another order, so not every bit does."
        )
    stage.method.load_state_dict(state["method"])
    stage.optimizer.load_state_dict(state["optimizer"])
    scaler.load_state_dict(state["scaler"])
    stage.loader.leave_out([Failure(*failure) for failure in state["failures"]])
    return done
