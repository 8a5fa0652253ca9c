"""The settings of a training of so many videos without ``auto``, and how many steps it has."""

from __future__ import annotations

from cacl.config import Resolved, Settings
from cacl.machine.auto import auto_values, frame_auto_values, samples_per_video
from cacl.machine.device import choose_device
from cacl.machine.precision import choose_precision
from cacl.training.wiring import checked_networks


def settled(resolved: Resolved, videos: int) -> Settings:
    """The settings without ``auto``, as a training of so many videos would have them here."""
    device, _ = choose_device(resolved.settings.run.device)
    resolved = resolved.with_auto({"run.device": (device, "plan")})
    values = auto_values(resolved.settings, videos=videos)
    settings = resolved.with_auto(values).settings
    if settings.run.precision == "auto":
        dtype = choose_precision("auto", checked_networks(settings, device), device=device).dtype
        name = "float32" if dtype is None else str(dtype).removeprefix("torch.")
        settings = resolved.with_auto({**values, "run.precision": (name, "plan")}).settings
    return settings


def steps_of(resolved: Resolved, videos: int, *, per_video: float, frames: float) -> tuple[int, int]:
    """Steps of a training of so many videos, and of the frame encoder before it.

    Args:
        per_video: samples of a video in an epoch.
        frames: of a video.
    """
    samples = round(videos * per_video)
    settings = resolved.with_auto(auto_values(resolved.settings, videos=videos, samples=samples)).settings
    steps = _steps(samples, settings.optim.batch_size, settings.optim.epochs)
    if not settings.wants_frame_encoder or settings.model.frame_weights is not None:
        return steps, 0
    count = round(videos * max(1.0, frames / settings.frames.every))
    settings = resolved.with_auto(frame_auto_values(settings, frames=count)).settings
    return steps, _steps(count, settings.frames.optim.batch_size, settings.frames.optim.epochs)


def _steps(samples: int, batch: int, epochs: int | str) -> int:
    return max(1, samples * samples_per_video(samples, batch) // batch) * int(epochs)
