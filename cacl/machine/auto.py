"""What ``auto`` means: each value is worked out once, and written into the run with its reason."""

from __future__ import annotations

import math
import os
from typing import Any

import torch

from cacl.config import Run, Settings
from cacl.machine.device import device_auto
from cacl.machine.load import SHARED, threads_auto, usable_processors
from cacl.methods.queue_size import queue_size

STEPS = 900  # of CACL: see docs/recipes.md
FRAME_STEPS = 350  # of MoCo on frames
FRAME_QUEUE = 1024  # older keys than a few steps are too old for so short a training


def auto_values(
    settings: Settings, *, videos: int, held_out: int = 0, samples: int | None = None
) -> dict[str, tuple[Any, str]]:
    """Every ``auto`` that can be told from the machine and the number of training videos.

    Args:
        settings: as given.
        videos: training videos, without those that are held out.
        held_out: these.
        samples: clips an epoch, where these are not one of each video.

    Returns:
        Dotted key -> (value, reason).
    """
    values: dict[str, tuple[Any, str]] = {}
    if settings.run.device == "auto":
        values["run.device"] = device_auto()
    if settings.run.tf32 == "auto":
        values["run.tf32"] = tf32_auto(values["run.device"][0] if "run.device" in values else settings.run.device)
    if settings.run.channels_last == "auto":
        values["run.channels_last"] = channels_last_auto(
            values["run.device"][0] if "run.device" in values else settings.run.device
        )
    if settings.run.threads == "auto":
        values["run.threads"] = threads_auto()
    if settings.data.workers == "auto":
        cpus = len(usable_processors())
        values["data.workers"] = (max(1, min(4, cpus)), f"{cpus} processors")
    if settings.data.hold_out == "auto":
        values["data.hold_out"] = hold_out_auto(videos + held_out)
    optim = settings.optim
    if optim.epochs == "auto":
        samples = videos if samples is None else samples
        steps = max(1, samples * samples_per_video(samples, optim.batch_size) // optim.batch_size)
        values["optim.epochs"] = (math.ceil(STEPS / steps), f"about {STEPS} steps of {steps} an epoch")
    return values | settings.method.auto_values(videos=videos)


def frame_auto_values(settings: Settings, *, frames: int) -> dict[str, tuple[Any, str]]:
    """The same for the frame stage, from the number of sampled frames."""
    values: dict[str, tuple[Any, str]] = {}
    optim = settings.frames.optim
    if optim.epochs == "auto":
        steps = max(1, frames * samples_per_video(frames, optim.batch_size) // optim.batch_size)
        values["frames.optim.epochs"] = (
            math.ceil(FRAME_STEPS / steps),
            f"about {FRAME_STEPS} steps of {steps} an epoch",
        )
    if settings.frames.queue_size == "auto":
        size, bound = queue_size(frames // 2, most=FRAME_QUEUE)
        values["frames.queue_size"] = (size, f"{bound}half of {frames} sampled frames")
    return values


def hold_out_auto(videos: int) -> tuple[int, str]:
    """How many training videos the authors' code would hold out for validation, and why."""
    count = 800 if videos >= 8000 else 400 if videos >= 3000 else videos // 10
    return count, f"of {videos} (released code: 800 of UCF101's, 400 of HMDB51's)"


def fetch_every(device: str, log_every: int) -> int:
    """Steps between fetches of numbers: a GPU would have to be waited for, a CPU has them at once."""
    return 1 if device == "cpu" else log_every


def channels_last_auto(device: str) -> tuple[bool, str]:
    """Whether convolutions run with their channels innermost in memory, and why."""
    if device == "mps":
        return False, "not known to help on an Apple GPU"
    return True, "the layout that fast convolutions want on this device"


def machine_choices(run: Run, *, workers: int, why_threads: str = "") -> str:
    """How a run uses this machine, in a sentence that says where the reasons are.

    Args:
        run: without ``auto``.
        workers: ``data.workers``.
        why_threads: where ``run.threads`` comes from; said where other programs are the reason.
    """
    layout = ", channels last" if run.channels_last else ""
    _, shared, rest = why_threads.partition(SHARED)
    threads = f"{run.threads} thread{'s' * (run.threads != 1)}" + f" ({shared}{rest})" * bool(shared)
    return (
        f"On {run.device} in {run.precision}{layout}, {threads}, {workers} worker{'s' * (workers != 1)}; "
        "why: config.yaml."
    )


def channels_last(run: Run, device: str) -> bool:
    """``run.channels_last`` on this device, also before ``auto`` was worked out."""
    return channels_last_auto(device)[0] if run.channels_last == "auto" else run.channels_last


def tf32_auto(device: str) -> tuple[bool, str]:
    """Whether float32 products may be rounded to TF32 on the way, and why."""
    if not device.startswith("cuda"):
        return False, f"{device} has none"
    major, minor = torch.cuda.get_device_capability(None if device == "cuda" else device)
    if major < 8:
        return False, f"this GPU has none (compute capability {major}.{minor})"
    return True, "this GPU has it"


def set_tf32(allowed: bool) -> None:
    """Allow TF32 in matrix products and convolutions, or forbid it; CPUs and other GPUs do not heed it."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def set_deterministic(wanted: bool) -> None:
    """Refuse operations that give other bits each time, or allow them; before anything is computed on a GPU.

    cuBLAS heeds an environment variable, which PyTorch reads at its first matrix product and never again.
    """
    if wanted and os.environ.get("CUBLAS_WORKSPACE_CONFIG") not in (":4096:8", ":16:8"):
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    if wanted != torch.are_deterministic_algorithms_enabled():  # to set it takes a second
        torch.use_deterministic_algorithms(wanted)


def samples_per_video(videos: int, batch_size: int) -> int:
    """Passes an epoch: one, or as many as fill one batch when there are fewer videos than that."""
    return max(1, math.ceil(batch_size / max(1, videos)))
