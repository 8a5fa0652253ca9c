"""``cacl plan``: measured here for about a minute, worked out for this archive and for others of its kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cacl.config import Resolved
from cacl.distributed.agree import check_shares
from cacl.errors import UserError, counted
from cacl.experiments.plan.archive import sample_of
from cacl.experiments.plan.formulas import FORMULAS, SIZES, Stage, Verb, stages
from cacl.experiments.plan.measure import Measured, measure
from cacl.experiments.plan.steps import steps_of
from cacl.machine.device import device_auto
from cacl.training.wiring import batch_sizes


@dataclass(frozen=True)
class Plan:
    """What was measured, and what follows.

    Attributes:
        machines, gpus: that were asked about.
        measured: here.
        stages: of this archive, then of ``SIZES``.
        formulas: of the verbs, in the names of ``measured``.
    """

    machines: int
    gpus: int | None
    measured: Measured
    stages: tuple[Stage, ...]
    formulas: dict[Verb, str] = field(default_factory=lambda: dict(FORMULAS))


def make_plan(
    videos: str | Path,
    resolved: Resolved,
    *,
    folder: Path = Path("."),
    lists: Path | None = None,
    split: int = 1,
    rate: float = 0.0,
    machines: int = 1,
    gpus: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Plan:
    """Look at a sample of the videos, measure, and work out.

    Args:
        videos, lists, split, rate: as of ``cacl.data.videos.scan``.
        resolved: of the training.
        folder: on the disk that stores and indexes would lie on.
        machines: as this one.
        gpus: of each; ``None``: one device a machine.
        say: told what is measured.

    Raises:
        UserError: no video, GPUs that cannot be measured here, or a batch that so many devices cannot share.
    """
    device = device_auto()[0] if resolved.settings.run.device == "auto" else resolved.settings.run.device
    if gpus is not None and not device.startswith("cuda"):
        raise UserError(
            f"--gpus is {gpus}, but this machine computes on {device}: how long a step takes on a GPU is measured, so "
            "give this command on a machine that has one, or leave --gpus out."
        )
    settings = resolved.settings
    check_shares(batch_sizes(settings), machines * (gpus or 1), own_batchnorm=settings.method.own_batchnorm)
    archive = sample_of(Path(videos), lists=lists, split=split, rate=rate)
    say(f"Of {counted(archive.files, 'file')}, {counted(len(archive.sample.videos), 'video')} stand for all.")
    measured = measure(archive, resolved, folder, say=say)
    fixed = resolved.with_auto({"run.device": (measured.device, "plan")})
    found = list[Stage]()
    for count in (archive.videos, *SIZES):
        steps = steps_of(fixed, count, per_video=measured.per_video, frames=measured.frames)
        found += stages(measured, count, steps=steps, machines=machines, gpus=gpus)
    return Plan(machines, gpus, measured, tuple(found))
