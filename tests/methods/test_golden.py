"""Golden losses: 20 steps of each preset's tiny variant, so that a change that should not alter results is seen.

``golden.json`` beside this file names the versions and the machine that its numbers come from. Where results are meant
to change: ``python tests/methods/test_golden.py`` writes it anew; say in the commit why.

The tolerance is for other CPUs and PyTorch versions: sums in another order, amplified by the steps.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cacl.config import Settings, resolve
from cacl.data.clips.batch import ClipBatch
from cacl.data.randomness import generator
from cacl.machine.auto import channels_last
from cacl.models.cnn3d import channels_last_
from cacl.presets import PRESETS
from cacl.training.optim import learning_rate, set_learning_rate
from cacl.training.stages import build_step
from cacl.training.views import augmented_views
from cacl.training.wiring import build_frames_network, build_method, initial_network

FILE = Path(__file__).with_name("golden.json")
STEPS, EPOCHS, BATCH = 20, 5, 5
# Relative tolerance of the first and of the last loss, a straight line in the logarithm between them. Measured without
# AVX and without oneDNN: 1e-5; 1e-3 in the frames of ``released``, where a sum of two products in another order
# (momentum copies) is amplified.
TOLERANCE = {("released", "frames"): (1e-4, 1e-2)}
OTHERS = (1e-4, 1e-4)
# Own learning rates, since at the presets' networks this small amplify rounding a hundredfold within three steps.
TINY = """
optim.lr=2e-5 frames.optim.lr=3e-5
data.resize=[36, 40] augment.size=32 model.width=4 model.frame_width=4 model.frame_encoder=resnet18
model.token_width=12 model.heads=3 model.depth=2 model.degree_hidden=16 method.queue_size=30 frames.queue_size=30
data.frames=16 data.stride=2
run.precision=float32
""".replace(", ", ",").split()


def tiny_settings(preset: str) -> Settings:
    return resolve(PRESETS[preset], assignments=tuple(TINY)).settings


def make_batch(method, epoch: int, step: int, *, moments: int, frames: int) -> ClipBatch:
    """Drifting coloured noise: a function of the step alone."""
    rng = np.random.default_rng([epoch, step])
    clips, targets = [], []
    for i in range(BATCH):
        plan = method.plan(120, generator(5, "golden", step, i))
        base = rng.integers(0, 150, (36, 40, 3)) + rng.integers(0, 105, 3)
        times = rng.integers(0, 40, (moments, 1)) + np.arange(frames)
        clips.append([[np.roll(base, (i + 1) * t // 4, axis=1) for t in row] for row in times.tolist()])
        targets.append(plan.targets)
    numbers = torch.arange(BATCH) + BATCH * step
    return ClipBatch(
        tuple(torch.from_numpy(np.array(clips, dtype=np.uint8)).unbind(1)),
        {name: torch.from_numpy(np.stack([t[name] for t in targets])) for name in targets[0]},
        numbers % 11,
        numbers,
        epoch,
    )


def train(settings: Settings, method, optim, views: dict[str, Any], *, moments: int, frames: int) -> list[float]:
    """As the loop does it."""
    layout = channels_last(settings.run, "cpu")
    if layout:
        channels_last_(method)
    method.train()
    make_views = augmented_views(method, seed=settings.run.seed, channels_last=layout, **views)
    run = settings.run.model_copy(update={"device": "cpu"})
    take, losses = build_step(method, make_views, optim, run), []
    for step in range(STEPS):
        epoch, within = divmod(step, STEPS // EPOCHS)
        rate = learning_rate(
            step,
            lr=optim.lr,
            schedule=optim.schedule,
            schedule_per=optim.schedule_per,
            milestones=optim.milestones,
            warmup_epochs=optim.warmup_epochs,
            steps_per_epoch=STEPS // EPOCHS,
            epochs=EPOCHS,
        )
        set_learning_rate(take.optimizer, rate)
        batch = make_batch(method, epoch, within, moments=moments, frames=frames)
        losses.append(take(batch, progress=(step + 1) / STEPS).scalars["loss"].item())
    return losses


def golden(preset: str) -> dict[str, list[float]]:
    settings, threads = tiny_settings(preset), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        moco = settings.method.build_frames(settings, frame_encoder=build_frames_network(settings, weights=None))
        crop = {"crop": settings.frames.crop, "area": settings.frames.area}
        views = {"settings": settings.augment.model_copy(update=crop), "purpose": "frame"}
        frames = train(settings, moco, settings.frames.optim, views, moments=1, frames=1)
        frame_encoder = build_frames_network(settings, weights=None)
        method = build_method(settings, network=initial_network(settings), frame_encoder=frame_encoder, videos=11)
        views = {"settings": settings.augment}
        clips = train(settings, method, settings.optim, views, moments=settings.data.moments, frames=16)
    finally:
        torch.set_num_threads(threads)
    return {"frames": frames, "clips": clips}


@pytest.mark.parametrize("preset", PRESETS)
def test_losses_are_the_stored_ones(preset):
    stored = json.loads(FILE.read_text())
    for stage, losses in golden(preset).items():
        wanted = np.array(stored[preset][stage])
        tolerance = np.geomspace(*TOLERANCE.get((preset, stage), OTHERS), STEPS)
        error = np.abs(np.array(losses) - wanted) / np.abs(wanted)
        assert (error <= tolerance).all(), (
            f"{preset}, {stage}: off by {error.max():.1e} at step {int((error / tolerance).argmax())}; stored with "
            f"torch {stored['torch']} on {stored['cpu']}. Meant? Then run: python {Path(__file__).name}"
        )


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {torch.backends.cpu.get_cpu_capability()}"


if __name__ == "__main__":
    content = {"torch": torch.__version__, "cpu": cpu(), "threads": 1, "dtype": "float32"}
    FILE.write_text(json.dumps(content | {preset: golden(preset) for preset in PRESETS}, indent=1) + "\n")
