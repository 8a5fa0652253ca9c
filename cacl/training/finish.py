"""What a run leaves behind: the first batch drawn, curves, the degree test, warnings, and the encoder folder."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cacl.config import Settings
from cacl.data.clips.loader import ClipBatch, ClipLoader
from cacl.data.clips.shuffle import possible_degrees
from cacl.data.videos.dataset import Dataset
from cacl.evaluation.degree_baseline import degree_baseline, draw_pairs
from cacl.evaluation.health import warnings_from
from cacl.files import writing
from cacl.methods.batch import ViewBatch
from cacl.methods.cacl import CACL
from cacl.models.cnn3d import CNN3D
from cacl.models.encoder import Encoder
from cacl.models.encoder_card import encoder_card
from cacl.presets import ALL_PAIRS
from cacl.report.curves import draw_curves
from cacl.report.run import write_run_report
from cacl.report.samples import draw_samples, samples_from
from cacl.run import Run
from cacl.run_folder import RunFolder, read_metrics
from cacl.training.fuse import FUSED, fuse_parts, open_image_encoder, verdict_of
from cacl.training.wiring import clip_spec

TRAIN_DRAWS, TEST_DRAWS = 4, 3
MOST_DEGREE_VIDEOS = 2000


def draw_first_batch(
    run: RunFolder, loader: ClipLoader, make_views: Callable[[ClipBatch], ViewBatch], names: Sequence[str]
) -> None:
    """``samples/first-batch.png``: clip, twin with its degree, both views, as the method will see them."""
    target = run.path / "samples" / "first-batch.png"
    if target.exists():
        return
    batch = next(iter(loader.epoch(0)))
    device = run.resolved.settings.run.device
    views = make_views(batch.to(device))
    settings = run.resolved.settings
    shown = {f"view {name}": _pixels(view, settings) for name, view in zip("qk", views.views, strict=False)}
    permutations = batch.targets.get("permutation")
    classes = batch.targets.get("degree")
    samples = samples_from(
        batch.frames[:, 0],
        shown,
        permutations_BT=permutations,
        degrees=None if classes is None else [c + 1 if c else 0 for c in classes.tolist()],
        names=[names[i] for i in batch.video.tolist()],
    )
    with writing(target):
        target.parent.mkdir(exist_ok=True)
    draw_samples(samples, target)


def finish(
    run: RunFolder,
    data: Dataset,
    train_numbers: list[int],
    method: CACL,
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
    degrees = len(possible_degrees(settings.data.frames))
    draw_curves([row for row in rows if row["kind"] == "train"], run.path / "curves.png", degrees=degrees)
    found: dict[str, Any] = {"steps": rows[-1]["step"] if rows else 0}
    warnings = warnings_from([_of_the_loss(row, settings) for row in rows], degrees=degrees)
    if settings.method.twin and settings.method.degree_weight > 0:
        found["degree"] = degree_test(settings, data, train_numbers, method, check=check)
        degree = found["degree"]
        run.log(
            f"Shuffle degree on {degree['tested on']}: {degree['accuracy']:.1f} % right "
            f"(chance {degree['chance']:.1f} %, frame differences {degree['frame-difference baseline']:.1f} %)."
        )
        if degree["accuracy"] <= degree["frame-difference baseline"]:
            warnings.append(
                "The degree head knows no more than plain frame differences do; train longer, or raise degree_weight."
            )
    found["warnings"] = warnings
    for warning in warnings:
        run.log(f"Warning: {warning}")
    encoder = _encoder(settings, method.encoder)
    measured = "" if "degree" not in found else f"Shuffle degrees told: {found['degree']['accuracy']:.1f} %."
    trained_on = f"{len(train_numbers)} videos, {found['steps']} steps, preset {settings.preset}."
    encoder.save(run.path / "encoder", card=encoder_card(encoder.config, trained_on=trained_on, measured=measured))
    if verdict is not None:
        found["verdict"] = dict(verdict)
        run.log(f"Both beside each other: {run.path / FUSED}. {verdict['sentence']}")
    summary = data.catalog.summary()
    if unreadable:
        found["unreadable"] = dict(unreadable)
        summary += f"; {len(unreadable)} of those used broke while training ({', '.join(sorted(unreadable)[:8])})"
    report = write_run_report(
        Run(run.path),
        {key: found[key] for key in ("degree",) if key in found},
        finished=found,
        command=f"cacl pretrain … --out {run.path}",
    )
    run.write("finished.json", json.dumps(found, indent=2) + "\n")
    run.log(f"{summary}: see {run.path / 'videos.csv'}. Encoder: {run.path / 'encoder'}. Report: {report}")
    run.log(f"How good is it? cacl evaluate {run.path}")


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
    own = _encoder(run.resolved.settings, copy.deepcopy(network))
    made = fuse_parts(own, open_image_encoder(image_encoder), data, train_numbers, progress=progress)
    verdict = verdict_of(made, data, progress=progress)
    if run.owner:
        made.encoder.save(run.path / FUSED)
    return verdict.numbers


def _encoder(settings: Settings, network: CNN3D) -> Encoder:
    """What was trained, with the clips that it knows, on the CPU in float32."""
    return Encoder(
        settings.model.network, width=settings.model.width, clip=clip_spec(settings), network=network.float().cpu()
    )


def degree_test(
    settings: Settings,
    data: Dataset,
    train_numbers: list[int],
    method: CACL,
    *,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Degree accuracy in percent on clips of the test (or validation) videos, of the training videos without these."""
    test_numbers = data.numbers(data.test_part) if data.has_test else train_numbers
    train_numbers, test_numbers = _thinned(train_numbers), _thinned(test_numbers)
    device = next(method.parameters()).device
    common: dict[str, Any] = {
        "seed": settings.run.seed,
        "frames": settings.data.frames,
        "stride": settings.data.stride,
        "size": settings.augment.size,
    }

    def scores(clip_BCTHW: Tensor, twin_BCTHW: Tensor) -> Tensor:
        logits: Tensor = method.degree(method.encoder(clip_BCTHW), method.encoder(twin_BCTHW))
        return logits

    was_training = method.training
    method.eval()
    train_pairs = draw_pairs(
        data.source,
        data.videos(train_numbers),
        numbers=train_numbers,
        purpose="train",
        draws=TRAIN_DRAWS,
        **common,
    )
    check()
    test_pairs = draw_pairs(
        data.source,
        data.videos(test_numbers),
        numbers=test_numbers,
        purpose="test",
        draws=TEST_DRAWS,
        network=scores,
        device=device,
        mean=settings.augment.mean,
        std=settings.augment.std,
        standardise=settings.model.standardise,
        **common,
    )
    method.train(was_training)
    classes = len(possible_degrees(settings.data.frames))
    own = test_pairs.network_result()
    baseline = degree_baseline(train_pairs, test_pairs, classes=classes, seed=settings.run.seed)
    where = "unseen videos" if data.has_test else "new clips of the training videos"
    return {
        "accuracy": own.accuracy,
        "cross entropy": own.cross_entropy,
        "mean error": own.mean_error,
        "chance": 100 / classes,
        "frame-difference baseline": baseline.accuracy,
        "pairs": own.pairs,
        "tested on": where,
    }


def _of_the_loss(row: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """A row without the numbers of what is measured but not learnt: no warning is due about them."""
    method = settings.method
    unlearnt = {f"similarity_{pair}" for pair in ALL_PAIRS if pair not in method.pairs}
    if method.degree_weight == 0:
        unlearnt |= {"degree_accuracy", "grad_degree"}
    return {key: value for key, value in row.items() if key not in unlearnt}


def _thinned(numbers: list[int]) -> list[int]:
    step = -(-len(numbers) // MOST_DEGREE_VIDEOS)
    return numbers[:: max(1, step)]


def _pixels(view: Tensor, settings: Settings) -> Tensor:
    """A view back in [0, 1] for a picture."""
    mean, std = settings.augment.mean, settings.augment.std
    if mean is None or std is None:
        return view
    shape = (1, 3, 1, 1, 1)
    return view * torch.tensor(std, device=view.device).view(shape) + torch.tensor(mean, device=view.device).view(shape)
