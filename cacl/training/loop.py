"""The training loop around the step (``step.py``): epochs, logging, saving, stopping and resuming.

It serves every method and stage. All randomness is a function of (seed, epoch, sample), so that the state to restore is
weights, optimiser, momentum copies, queue and the number of steps done. Several processes share each batch and have the
same weights throughout; the first of them logs and saves.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cacl.data.clips.batch import ClipBatch
from cacl.data.clips.loader import ClipLoader, Failure
from cacl.distributed.agree import any_wants
from cacl.distributed.processes import everyones, first_alone, gathered, is_first, wait_for_first, world
from cacl.errors import UserError
from cacl.machine.device_errors import device_errors
from cacl.machine.meter import Meter
from cacl.methods.contract import MethodBatch
from cacl.run_folder import Metrics
from cacl.sections import section, waited
from cacl.tensorboard import BoardMetrics
from cacl.training.checkpoint import (
    checkpoint_cost,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
    tidy_checkpoints,
)
from cacl.training.optim import load_optimizer, set_learning_rate
from cacl.training.profile import Profile
from cacl.training.progress import Progress, shown_of
from cacl.training.step import Step
from cacl.training.step_numbers import StepNumbers
from cacl.training.stop import StopRequest


def _to_stderr(text: str) -> None:
    """A line for the user."""
    print(text, file=sys.stderr, flush=True)


def _keep_nothing(step: int) -> None:
    """Nobody asked for it."""


@dataclass(frozen=True)
class Stage:
    """Everything a training needs, put together by ``pretrain``.

    Attributes:
        name: of the stage, the ``kind`` of its metrics rows.
        step: the method with its optimiser, and what every step does alike.
        loader: its batches.
        video_names: for messages, by the video numbers of what ``make_views`` gives.
        learning_rate: of a step, counted from 0.
        checkpoints: folder of this stage.
        metrics: ``metrics.jsonl``.
        optim: the group of settings that says how it is optimised, for messages.
        fetch_every: so many steps the numbers for ``metrics`` stay on the device (a GPU would have to be waited for).
        keep_at, keep: after these steps it is called, with their number: what a run keeps of its way.
        tensorboard: write the metrics as event files beside ``metrics``, too.
        profile: a folder for the trace of some steps, or None for no profile.
        say: told what the user should know.
    """

    name: str
    step: Step
    loader: ClipLoader
    video_names: Sequence[str]
    learning_rate: Callable[[int], float]
    epochs: int
    checkpoints: Path
    metrics: Path
    log_every: int
    save_minutes: float
    optim: str = "optim"
    fetch_every: int = 1
    keep_at: Collection[int] = ()
    keep: Callable[[int], None] = _keep_nothing
    tensorboard: bool = False
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
    done, spent = _restore(stage)
    meter = Meter(spent)
    kept = BoardMetrics if stage.tensorboard else Metrics
    metrics = kept(stage.metrics, kind=stage.name, step=done) if is_first() else None
    per_epoch, saved_at = stage.loader.steps_per_epoch, time.monotonic()
    waiting: list[StepNumbers] = []  # of the steps since the last fetch
    folder = stage.profile if is_first() else None
    stage.step.method.train()
    try:
        with (
            Progress(
                stage.name, total=stage.steps, done=done, shown=is_first(), keys=shown_of(stage.step.method.curves)
            ) as progress,
            Profile(folder, name=stage.name, device=stage.step.device, say=stage.say) as profile,
            device_errors(memory=_less_memory(stage)),
        ):
            for epoch in range(done // per_epoch, stage.epochs):
                _share_failures(stage.loader)
                start = done % per_epoch if epoch == done // per_epoch else 0
                ahead = stage.step.ahead(stage.loader.epoch(epoch, start_step=start))
                with closing(ahead) as batches:  # its threads end with the training, even if its error is kept
                    for raw in waited("waiting for data", batches):
                        waiting.append(_step(stage, raw, done, epoch))
                        done += 1
                        if done % per_epoch == 0:
                            stage.step.method.after_epoch(done / stage.steps)
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
                        if done in stage.keep_at and is_first():
                            stage.keep(done)
                        if save:
                            _check_weights(stage, last)
                            _share_failures(stage.loader)
                            if metrics is not None:
                                metrics.flush()
                                save_checkpoint(stage.checkpoints, done, _state(stage), cost=meter.so_far())
                            saved_at = time.monotonic()
                            wait_for_first()
                        if asked:  # by this step: a signal that came since then ends the next one
                            stop.ask(asked)
                            stop.raise_if_requested()
    finally:
        if metrics is not None:
            metrics.close()


def _step(stage: Stage, raw: ClipBatch | Sequence[MethodBatch], done: int, epoch: int) -> StepNumbers:
    """One training step and its row."""
    lr, progress = stage.learning_rate(done), (done + 1) / stage.steps
    set_learning_rate(stage.step.optimizer, lr)
    found = stage.step(raw, progress=progress, measure=done % stage.log_every == 0)
    row = {"step": done + 1, "epoch": epoch, "lr": lr, **found.measured}
    return StepNumbers(row, found.scalars, found.video)


def _fetch(stage: Stage, steps: Sequence[StepNumbers], metrics: Metrics | None) -> list[dict[str, Any]]:
    """Bring the numbers of steps from the device into the file; a loss that is not finite ends the training."""
    rows = StepNumbers.fetch(steps)
    for row, step in zip(rows, steps, strict=True):
        losses = [value for key, value in row.items() if key == "loss" or key.startswith("loss_")]
        if not all(math.isfinite(loss) for loss in losses):
            raise _not_finite(stage, f"The loss of {stage.name} is {sum(losses)}", step)
        if metrics is not None:
            metrics.add(row)
    return rows


def _check_weights(stage: Stage, last: StepNumbers) -> None:
    """A finite loss can have a gradient that is not: such weights never take a good checkpoint's place."""
    if not all(bool(parameter.isfinite().all()) for parameter in stage.step.method.parameters()):
        raise _not_finite(stage, f"Weights of {stage.name} are no longer finite", last)


def _not_finite(stage: Stage, what: str, step: StepNumbers) -> UserError:
    names = sorted({stage.video_names[i] for i in gathered(step.video).tolist()})
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    kept = newest_checkpoint(stage.checkpoints)
    good = "No checkpoint was written yet" if kept is None else f"The last good checkpoint is kept ({kept})"
    where = f"{what} at step {step.row['step']}. {good}."
    return UserError(f"{where} Lower {stage.optim}.lr or use run.precision float32. Videos of the batch: {shown}.")


def _less_memory(stage: Stage) -> str:
    """What to do where a step does not fit into the memory of the device."""
    optim, parts, clips = stage.optim, stage.step.accumulate, stage.loader.batch_size // world()
    recompute = "" if stage.name == "frames" else "run.checkpoint_activations=true, "
    return (
        f"{stage.name} sends {clips // parts} clips of a batch through the networks at once: begin anew "
        f"with {recompute}{optim}.accumulate={2 * parts} or a smaller {optim}.batch_size; or, if something "
        "else took the memory, end that and resume."
    )


def _share_failures(loader: ClipLoader) -> None:
    """A video that failed in one process is left out by all, from the next epoch on."""
    for failure in (failure for failures in everyones(loader.failures) for failure in failures):
        if failure.video not in {known.video for known in loader.failures} and loader.on_failure:
            loader.on_failure(failure)
        loader.leave_out([failure])


def _state(stage: Stage) -> dict[str, Any]:
    step, scaler = stage.step, stage.step.scaler
    return {
        "method": step.method.state_dict(),
        "optimizer": step.optimizer.state_dict(),
        "scaler": {} if scaler is None else scaler.state_dict(),
        "failures": [[f.video, f.epoch, f.reason] for f in stage.loader.failures],
        "processes": world(),
    }


def _restore(stage: Stage) -> tuple[int, dict[str, float]]:
    """Load the newest complete checkpoint; the number of steps done, 0 without one, and what they cost."""
    if is_first() and (damaged := tidy_checkpoints(stage.checkpoints)):
        stage.say(f"{stage.checkpoints}: {', '.join(damaged)} was damaged and is not used; another checkpoint is.")
    path = first_alone(lambda: newest_checkpoint(stage.checkpoints))
    if len(set(everyones(None if path is None else path.name))) > 1:
        raise UserError(f"{stage.checkpoints}: not every process sees the same files; put the run on a shared disk.")
    if path is None:
        return 0, {}
    done, state = load_checkpoint(path)
    if (before := state.get("processes", 1)) != world() and done < stage.steps:
        stage.say(
            f"{stage.name}: {done} of {stage.steps} steps were made with {before} process{'es' * (before > 1)}, now it "
            f"is {world()}. The samples stay the same; sums are taken in another order, so not every bit does."
        )
    stage.step.method.load_state_dict(state["method"])
    load_optimizer(stage.step.optimizer, state["optimizer"])
    if stage.step.scaler is not None:
        stage.step.scaler.load_state_dict(state["scaler"])
    stage.loader.leave_out([Failure(*failure) for failure in state["failures"]])
    return done, checkpoint_cost(path)
