"""A run's whole method again, from its newest checkpoint: every network, copy, head, queue and bank."""

from __future__ import annotations

import torch
from torch import nn

from cacl.errors import UserError, quoted
from cacl.methods.contract import Method
from cacl.models.image.frozen_frames import load_frozen_frames
from cacl.run import Run
from cacl.training.checkpoint import load_checkpoint, newest_checkpoint
from cacl.training.videos import training_count
from cacl.training.wiring import build_frames_network, build_method, initial_network


def trained_method(run: Run, *, device: str = "cpu") -> tuple[Method, int]:
    """(method in evaluation mode and float32, steps it was trained). Leaves the global random state alone.

    Args:
        run: a run whose training has written a checkpoint; it need not be finished.
        device: where to put it.

    Raises:
        UserError: no checkpoint yet, a damaged one, or one that does not fit the run's settings; or the table of a
            frozen encoder is gone.
    """
    settings, folder = run.settings, run.path / "checkpoints" / "train"
    checkpoint = newest_checkpoint(folder)
    if checkpoint is None:
        raise UserError(
            f"{folder} has no complete checkpoint; continue the run: cacl pretrain --resume {quoted(run.path)}"
        )
    steps, state = load_checkpoint(checkpoint)
    with torch.random.fork_rng(devices=[]):
        method = build_method(
            settings, network=initial_network(settings), frame_encoder=_beside(run), videos=training_count(run)
        )
    try:
        method.load_state_dict(state["method"])
    except (KeyError, RuntimeError) as error:
        reason = str(error).split("\n", 1)[-1].strip().split("\n")[0]
        raise UserError(
            f"{checkpoint} does not fit the settings of {run.path} ({reason}); was it written by another version?"
        ) from error
    return method.to(device).eval(), steps


def _beside(run: Run) -> nn.Module | None:
    """The frozen network that the run's method stands on, or the table of what one said; None where there is none."""
    if run.settings.wants_frame_encoder:
        return build_frames_network(run.settings, weights=run.path / "frame_encoder")
    return load_frozen_frames(run.path) if run.settings.method.frozen_moments else None
