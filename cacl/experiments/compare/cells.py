"""One cell: train it as the plan says, measure what it knows, write its ``results.json``. Never done twice.

Beside the cells stand the references: chance, colour histogram and thumbnail once, the untrained network once a network
and seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from cacl.data.videos.dataset import Dataset
from cacl.evaluation.baselines import BaselineFeatures, video_baselines
from cacl.evaluation.embed import VideoFeatures, encoder_features
from cacl.evaluation.evaluate import retrieval_parts, with_statistics
from cacl.evaluation.multilabel import related
from cacl.evaluation.retrieval import chance, related_chance
from cacl.experiments.compare.measure import Sides, knowledge, knows_time, percent, rounded, shown_neighbours
from cacl.experiments.compare.plan import SNAPSHOTS, Cell, Plan
from cacl.experiments.compare.shared import Length, frames_folder, shared_frames, store_of
from cacl.experiments.plan_folder import kept, trained_run
from cacl.finetune_settings import FINETUNE_PRESETS
from cacl.machine.device import run_device
from cacl.models.cnn3d import channels_last_
from cacl.models.encoder import Encoder
from cacl.run import Run
from cacl.run_folder import RunFolder
from cacl.training.checkpoint import checkpoint_cost, newest_checkpoint
from cacl.training.pretrain import pretrain
from cacl.training.videos import open_run_data
from cacl.training.wiring import initial_network, run_encoder

CLIPS, CURVE_CLIPS = 10, 1  # a video: at the end as in the paper, on the way its middle


def cell_results(plan: Plan, run: RunFolder, cell: Cell, length: Length) -> dict[str, Any]:
    """What a cell found, from its ``results.json`` where that is there.

    Raises:
        UserError, Stopped: as ``pretrain``.
    """
    return kept(run, f"cells/{cell.name}/results.json", lambda: _made(plan, run, cell, length), indent=None)


def _made(plan: Plan, run: RunFolder, cell: Cell, length: Length) -> dict[str, Any]:
    path = run.path / "cells" / cell.name / "run"
    settings = {**plan.settings, "data.store": store_of(plan), **shared_frames(plan, cell, say=run.log)}

    def begin() -> Run:
        return pretrain(
            plan.videos,
            out=path,
            preset=plan.preset,
            method=cell.method,
            lists=plan.lists,
            split=plan.split,
            epochs=length.epochs,
            network=cell.network,
            seed=cell.seed,
            settings=settings,
            assignments=plan.assignments,
            with_frozen=plan.with_frozen if plan.resolved(cell).settings.method.frozen_moments else None,
            snapshots=SNAPSHOTS,
        )

    trained = trained_run(path, begin, say=run.log)
    run.log(f"Measuring {cell} …")
    data = open_run_data(RunFolder.open(path))
    train, test = retrieval_parts(data)
    device, autocast = run_device(trained.settings.run, path, say=run.log)

    def features(encoder: Encoder, clips: int) -> Sides:
        found = _features(encoder, data, [*test, *train], clips, device, autocast)
        return Sides.of(found, data, test, train)

    steps = int((trained.finished or {})["steps"])
    curve = []
    for place in sorted((path / "snapshots").glob("step-*")):
        curve.append([int(place.name[5:]), _on_the_way(features(Encoder.load(place), CURVE_CLIPS))])
    curve.append([steps, _on_the_way(features(trained.encoder, CURVE_CLIPS))])
    sides = features(trained.encoder, CLIPS)
    known = knowledge(sides, test, seed=cell.seed, strength=_strength(plan), split=plan.split)
    return {
        "format": 1,
        "method": cell.method,
        "network": cell.network,
        "seed": cell.seed,
        "budget": str(plan.budget),
        "epochs": length.epochs,
        "steps": steps,
        "passes a sample": length.passes_a_sample,
        "passes": round(length.passes),
        "cost": _cost(path, "train"),
        "frame encoder": _cost(frames_folder(plan, trained.settings), "frames") if "model.frame_weights" in settings
        else {},
        "curve": curve,
        **known,
        "time": knows_time(trained.encoder, data, test, train, seed=cell.seed, device=device)[0],
        "neighbours": shown_neighbours(sides, test, train),
        "warnings": (trained.finished or {}).get("warnings", []),
    }  # fmt: skip


def _features(
    encoder: Encoder, data: Dataset, numbers: list[int], clips: int, device: str, autocast: torch.dtype | None
) -> VideoFeatures:
    if autocast is not None:  # 16-bit convolutions are twice as fast so
        channels_last_(encoder.network.to(device))
    return encoder_features(encoder, data.subset(numbers), clips=clips, device=device, autocast_dtype=autocast)


def _on_the_way(sides: Sides) -> float:
    """What the curve shows: R@1."""
    return round(percent(sides.first_hits()), 3)


def _strength(plan: Plan) -> float:
    return float(FINETUNE_PRESETS[plan.preset]["test"]["strength"])


def _cost(path: Path, stage: str) -> dict[str, float]:
    """What a stage of a run cost; a frame encoder that was given ready has none."""
    newest = newest_checkpoint(path / "checkpoints" / stage)
    return {} if newest is None else rounded(checkpoint_cost(newest))


def video_references(plan: Plan, run: RunFolder, data: Dataset) -> dict[str, Any]:
    """Chance, colour histogram and thumbnail: row -> numbers as of a cell; once for all seeds."""

    def make() -> dict[str, Any]:
        run.log("Measuring colour histogram and thumbnail …")
        train, test = retrieval_parts(data)
        found = video_baselines(data.subset([*test, *train]))
        return {
            "chance": {"retrieval": rounded(_chance(data, test, train))},
            "colour histogram": _reference(plan, data, found, found.histogram, test, train),
            "thumbnail": _reference(plan, data, found, found.thumbnail, test, train),
        }

    return kept(run, "references/videos.json", make, indent=None)


def _chance(data: Dataset, test: list[int], train: list[int]) -> dict[str, float]:
    if any(video.several for video in data.videos([*test, *train])):
        return related_chance(related(data, test, train))
    labels = np.array([video.label or "" for video in data.catalog.videos])
    return chance(labels[test], labels[train])


def _reference(
    plan: Plan,
    data: Dataset,
    found: BaselineFeatures,
    rows_VD: Any,
    test: list[int],
    train: list[int],
) -> dict[str, Any]:
    sides = Sides.of(VideoFeatures(rows_VD, found.kept, found.skipped), data, test, train)
    return knowledge(sides, test, seed=0, strength=_strength(plan), split=plan.split)


def untrained_reference(plan: Plan, run: RunFolder, cell: Cell, data: Dataset) -> dict[str, Any]:
    """The cell's network with its initial weights and the BatchNorm statistics of training clips; of every method."""

    def make() -> dict[str, Any]:
        run.log(f"Measuring {cell.network}, seed {cell.seed}, untrained …")
        settings = plan.resolved(cell).settings
        train, test = retrieval_parts(data)
        initial = run_encoder(settings, initial_network(settings), data.rules)
        device = settings.run.device if settings.run.device != "auto" else "cpu"
        ready = with_statistics(initial, data, train, cell.seed, device)
        few, sides = (
            Sides.of(_features(ready, data, [*test, *train], clips, device, None), data, test, train)
            for clips in (CURVE_CLIPS, CLIPS)
        )
        right, by_chance = knows_time(ready, data, test, train, seed=cell.seed, device=device)
        return {
            "curve": [[0, _on_the_way(few)]],
            **knowledge(sides, test, seed=cell.seed, strength=_strength(plan), split=plan.split),
            "time": right,
            "time by chance": by_chance,
        }

    return kept(run, f"references/untrained-{cell.network}-seed{cell.seed}.json", make, indent=None)
