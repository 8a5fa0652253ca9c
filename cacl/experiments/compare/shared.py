"""What all cells of a comparison share, made once: decoded frames, test videos, length of training, frame encoders.

Whoever comes first makes it, the others wait: several commands may work in one folder.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cacl.config import Settings
from cacl.data.videos.dataset import Dataset, open_videos
from cacl.data.videos.pixel_rules import choose_rules
from cacl.data.videos.recordings import recording
from cacl.data.videos.resampled import resampled
from cacl.data.videos.store import is_store
from cacl.errors import UserError
from cacl.evaluation.evaluate import retrieval_parts
from cacl.experiments.compare.passes import passes_a_sample
from cacl.experiments.compare.plan import Budget, Cell, Plan
from cacl.experiments.plan_folder import kept
from cacl.experiments.reproduce.step_time import pretrain_step
from cacl.lock import FolderLock, InUse
from cacl.machine.auto import auto_values, samples_per_video
from cacl.run_folder import RunFolder
from cacl.training.pretrain import pretrain_frame_encoder
from cacl.training.videos import training_numbers
from cacl.training.wiring import clip_counts

_WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class Length:
    """How long the cells of a method and network train.

    Attributes:
        passes_a_sample: see ``passes_a_sample``.
        epochs: of the videos.
        steps: of all of them.
        passes: through the encoder, of all of them.
    """

    passes_a_sample: float
    epochs: int
    steps: int
    passes: float


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is in the folder, then be in it."""
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            with FolderLock(folder):
                yield
                return
        except InUse:
            time.sleep(_WAIT_SECONDS)


def open_shared(plan: Plan, *, decoded: bool = True, say: Callable[[str], None]) -> Dataset:
    """The videos, with their decoded frames kept in ``store`` where the disk has room. Raises UserError.

    Args:
        decoded: False: they are only found, and nothing is written.
    """
    settings = plan.resolved(plan.cells[0]).settings
    with alone(plan.out / "sharing"):
        data = open_videos(
            plan.videos,
            resize=settings.data.resize,
            lists=plan.lists,
            split=plan.split,
            rules=partial(choose_rules, colours=settings.data.colours, levels=settings.data.levels, say=say),
            blank=settings.data.blank,
            rate=settings.data.picture_rate or 0.0,
            store=settings.data.store if decoded else "none",
            store_folder=plan.out / "store",
            say=say,
        )
    return resampled(data, settings.data.frame_rate, say=say)


def store_of(plan: Plan) -> str:
    """``data.store`` of a cell: the shared frames where there are some."""
    store = plan.out / "store"
    return str(store.resolve()) if is_store(store) else plan.resolved(plan.cells[0]).settings.data.store


def queries(run: RunFolder, data: Dataset) -> dict[str, Any]:
    """The test videos: ``path``, ``label`` and ``source`` of each, in ``queries.json``. Raises UserError: no labels."""
    test, train = retrieval_parts(data)[::-1]

    def make() -> dict[str, Any]:
        videos = data.videos(test)
        return {
            "queries": len(test),
            "gallery": len(train),
            "path": [video.path for video in videos],
            "label": [" | ".join(video.labels) for video in videos],
            "source": [recording(video) for video in videos],
        }

    with alone(run.path / "sharing"):
        return kept(run, "queries.json", make, indent=None)


def lengths(plan: Plan, run: RunFolder, data: Dataset) -> dict[str, Length]:
    """Row of a cell -> how long it trains, from ``lengths.json``; what is missing is worked out, and measured once.

    Raises:
        UserError: a budget that does not reach for one epoch.
    """
    with alone(run.path / "sharing"):
        file = run.path / "lengths.json"
        known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        found = {row: Length(**values) for row, values in known.items()}
        for cell in plan.cells:
            if cell.row not in found:
                found[cell.row] = _length(plan, cell, data, say=run.log)
        if len(found) > len(known):
            run.write("lengths.json", json.dumps({row: vars(one) for row, one in found.items()}, indent=1) + "\n")
    return found


def _length(plan: Plan, cell: Cell, data: Dataset, *, say: Callable[[str], None]) -> Length:
    resolved = plan.resolved(cell)
    settings = resolved.settings
    numbers = training_numbers(settings, data)
    counts = clip_counts(settings.data.clips_per_video, data.videos(numbers))
    samples, batch = len(numbers) if counts is None else round(sum(counts)), settings.optim.batch_size
    steps = samples * samples_per_video(samples, batch) // batch
    each = passes_a_sample(resolved)
    of_epoch = {"passes": steps * batch * each, "steps": steps, "epochs": 1}
    if plan.budget.kind == "seconds":
        values = auto_values(settings, videos=len(numbers), samples=samples)
        said = resolved.with_auto({**values, "model.frame_weights": (None, "")}).settings
        of_epoch["seconds"] = steps * _step_seconds(said)
    epochs = _epochs(plan.budget, of_epoch[plan.budget.kind], cell)
    say(f"{cell.method}, {cell.network}: {each:g} passes a sample, {epochs} epochs of {steps} steps.")
    return Length(each, epochs, epochs * steps, epochs * steps * batch * each)


def _step_seconds(settings: Settings) -> float:
    run = settings.run
    exact = settings.model_copy(update={"run": run.model_copy(update={"precision": "float32"})})
    return pretrain_step(exact if run.precision == "auto" else settings, run.device).seconds


def _epochs(budget: Budget, one: float, cell: Cell) -> int:
    epochs = round(budget.amount / one)
    if epochs < 1:
        raise UserError(
            f"--budget {budget} does not reach for one epoch of {cell.method} with {cell.network} "
            f"({one:.0f} {budget.kind}): give {budget.kind}={one:.0f} or more."
        )
    return epochs


def shared_frames(plan: Plan, cell: Cell, *, say: Callable[[str], None]) -> dict[str, str]:
    """``model.frame_weights`` of a cell: the frame encoder of its seed, trained by whoever needs it first.

    Raises:
        UserError, Stopped: as ``pretrain``.
    """
    resolved = plan.resolved(cell, **{"data.store": store_of(plan)})
    settings = resolved.settings
    if not settings.wants_frame_encoder or settings.model.frame_weights is not None:
        return {}
    folder = frames_folder(plan, settings)
    with alone(plan.out / "sharing" / folder.name):
        if not (folder / "frame_encoder" / "config.json").exists():
            say(f"Training {folder} …")
            pretrain_frame_encoder(plan.videos, out=folder, resolved=resolved, lists=plan.lists, split=plan.split)
    return {"model.frame_weights": str((folder / "frame_encoder").resolve())}


def frames_folder(plan: Plan, settings: Settings) -> Path:
    """Where the frame encoder of these settings' method and seed is."""
    return plan.out / "frames" / f"{settings.method.name}-seed{settings.run.seed}"
