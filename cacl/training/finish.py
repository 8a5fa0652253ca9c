"""What a run leaves behind: curves, the test of its tasks, warnings, and the encoder folder."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cacl.config import Settings
from cacl.data.videos.dataset import Dataset, thinned
from cacl.errors import quoted
from cacl.evaluation.choice.fuse import FUSED, fuse_parts, open_image_encoder, verdict_of
from cacl.evaluation.health import warnings_from
from cacl.evaluation.results import task_line
from cacl.evaluation.task_test import TaskExamples, difference_baseline, draw_examples
from cacl.methods.contract import Method
from cacl.methods.task import Task
from cacl.models.cnn3d import CNN3D
from cacl.models.encoder_card import encoder_card
from cacl.reports.curves import draw_curves
from cacl.reports.run import write_run_report
from cacl.run import Run
from cacl.run_folder import RunFolder, read_metrics
from cacl.training.wiring import clip_spec, run_encoder

TRAIN_DRAWS, TEST_DRAWS = 4, 3
MOST_VIDEOS = 2000


def finish(
    run: RunFolder,
    data: Dataset,
    train_numbers: list[int],
    method: Method,
    *,
    unreadable: Mapping[str, str] | None = None,
    verdict: Mapping[str, Any] | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Write the encoder folder, the curves, the report and ``finished.json``; print what the user should know.

    Args:
        run: the run, trained to its end.
        data: its videos.
        train_numbers: those that it was trained on.
        method: what was trained.
        unreadable: videos that failed while training, with the reason.
        verdict: own, frozen or fused, from ``end_with_frozen``.
        check: called now and then; raises when a stop was asked for (``resume`` then ends the run).
    """
    settings = run.resolved.settings
    rows = read_metrics(run.path / "metrics.jsonl")
    own = [row for row in rows if row["kind"] == "train"]
    draw_curves(own, run.path / "curves.png", method.curves)
    found: dict[str, Any] = {"steps": rows[-1]["step"] if rows else 0}
    warnings = [*warnings_from(own, method.curves), *settings.method.warnings(own)]
    for task in method.tasks():
        result = found[task.name] = task_result(task, settings, data, train_numbers, method, check=check)
        run.log(f"{task_line(result)}.")
        if result["accuracy"] <= result["frame-difference baseline"]:
            warnings.append(
                f"The {task.name} head knows no more than plain frame differences do; train longer, or {task.advice}."
            )
    found["warnings"] = warnings
    for warning in warnings:
        run.log(f"Warning: {warning}")
    encoder = run_encoder(settings, method.encoder, data.rules)
    told = [f"{task.title} predicted: {found[task.name]['accuracy']:.1f} %." for task in method.tasks()]
    trained_on = f"{len(train_numbers)} videos, {found['steps']} steps, preset {settings.preset}."
    encoder.save(
        run.path / "encoder", card=encoder_card(encoder.config, trained_on=trained_on, measured=" ".join(told))
    )
    if verdict is not None:
        found["verdict"] = dict(verdict)
        run.log(f"Both beside each other: {run.path / FUSED}. {verdict['sentence']}")
    summary = data.catalog.summary()
    if unreadable:
        found["unreadable"] = dict(unreadable)
        summary += f"; {len(unreadable)} of those used broke while training ({', '.join(sorted(unreadable)[:8])})"
    report = write_run_report(
        Run(run.path),
        {task.name: found[task.name] for task in method.tasks()},
        finished=found,
        command=f"cacl pretrain … --out {quoted(run.path)}",
    )
    run.write("finished.json", json.dumps(found, indent=2) + "\n")
    run.log(f"{summary}: see {run.path / 'videos.csv'}. Encoder: {run.path / 'encoder'}. Report: {report}")
    run.log(f"How good is it? cacl evaluate {quoted(run.path)}")


def end_with_frozen(
    run: RunFolder,
    data: Dataset,
    train_numbers: list[int],
    network: CNN3D,
    image_encoder: str | Path,
    *,
    progress: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """Write ``fused/``, what was trained beside a frozen image encoder; every process calls this.

    Args:
        run: the run, trained to its end.
        data: its videos.
        train_numbers: those that it was trained on.
        network: what was trained; left as it is.
        image_encoder: a folder of ``cacl import --image-encoder``.
        progress: called with what is done, how much of it and of how much; may raise to end it.

    Returns:
        The verdict, for ``finished.json``.
    """
    own = run_encoder(run.resolved.settings, copy.deepcopy(network), data.rules)
    made = fuse_parts(own, open_image_encoder(image_encoder), data, train_numbers, progress=progress)
    verdict = verdict_of(made, data, progress=progress)
    if run.owner:
        made.encoder.save(run.path / FUSED)
    return verdict.numbers


def task_result(
    task: Task,
    settings: Settings,
    data: Dataset,
    train_numbers: list[int],
    method: Method,
    *,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Accuracy in percent on clips of the test (or validation) videos, of the training videos without these."""
    test_numbers = data.numbers(data.test_part) if data.has_test else train_numbers
    device, clip = next(method.parameters()).device, clip_spec(settings, data.rules)
    was_training = method.training
    method.eval()
    examples: dict[str, TaskExamples] = {}
    for purpose, numbers, draws in (("train", train_numbers, TRAIN_DRAWS), ("test", test_numbers, TEST_DRAWS)):
        examples[purpose] = draw_examples(
            task,
            data.subset(thinned(numbers, MOST_VIDEOS)),
            clip,
            purpose=purpose,
            draws=draws,
            seed=settings.run.seed,
            encoder=method.encoder if purpose == "test" else None,
            device=device,
        )
        check()
    method.train(was_training)
    result = examples["test"].network_result(task)
    baseline = difference_baseline(task, examples["train"], examples["test"], seed=settings.run.seed)
    where = "unseen videos" if data.has_test else "new clips of the training videos"
    return {
        "title": task.title,
        "accuracy": result.accuracy,
        "cross entropy": result.cross_entropy,
        "mean error": result.mean_error,
        "chance": 100 / len(task.values),
        "frame-difference baseline": baseline.accuracy,
        "pairs": result.examples,
        "tested on": where,
    }
