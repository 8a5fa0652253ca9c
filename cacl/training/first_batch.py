"""``samples/first-batch.png``: what the network is shown, drawn when a training begins."""

from __future__ import annotations

import torch
from torch import Tensor

from cacl.config import Augment
from cacl.files import writing
from cacl.reports.samples import draw_samples, samples_from
from cacl.run_folder import RunFolder
from cacl.training.loop import Stage


def draw_first_batch(run: RunFolder, stage: Stage) -> None:
    """The clips of some samples, the twin where there is one, and the views, as the method will see them."""
    target = run.path / "samples" / "first-batch.png"
    if target.exists():
        return
    batch, step = next(iter(stage.loader.epoch(0))), stage.step
    views, augment = step.make_views(batch.to(step.device)).views, run.resolved.settings.augment
    letters = "qk" if len(views) <= 2 else "0123456789"
    permutation = batch.targets.get("permutation")
    scalars = {name: value for name, value in batch.targets.items() if value.ndim == 1}
    values = {task.name: task.values for task in step.method.tasks()}
    notes = []
    for row in range(len(batch)):
        said = {name: values[name][int(v[row])] if name in values else v[row].item() for name, v in scalars.items()}
        notes.append(", ".join(f"{name} {value}" for name, value in said.items()))
    samples = samples_from(
        {f"clip {n}" if n else "clip": clip for n, clip in enumerate(batch.clips)},
        {f"view {letters[n]}": _pixels(view, augment) for n, view in enumerate(views)},
        permutations_BT=permutation,
        notes=notes,
        names=[stage.video_names[i] for i in batch.video.tolist()],
    )
    with writing(target):
        target.parent.mkdir(exist_ok=True)
    draw_samples(samples, target)


def _pixels(view: Tensor, augment: Augment) -> Tensor:
    """A view back in [0, 1] for a picture."""
    if augment.mean is None or augment.std is None:
        return view
    mean, std = (torch.tensor(v, device=view.device).view(1, 3, 1, 1, 1) for v in (augment.mean, augment.std))
    return view * std + mean
