"""The parts of an analysis, each from a trained run and its videos to numbers, tables and a picture in one folder."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cacl.config import Settings
from cacl.data.randomness import generator
from cacl.data.videos.catalog import Skipped
from cacl.data.videos.dataset import Dataset, thinned
from cacl.data.videos.labels import join_labels
from cacl.errors import counted
from cacl.evaluation.attention import choose_clips, mean_attention, write_attention
from cacl.evaluation.embed import video_features
from cacl.evaluation.method_views import drawn_views
from cacl.evaluation.projection import Projection, ProjectionName, project
from cacl.evaluation.similarity import pair_similarity
from cacl.evaluation.task_test import draw_examples, task_confusion
from cacl.evaluation.temporal.probe import probe_networks
from cacl.files import write_whole
from cacl.machine.auto import channels_last
from cacl.methods.contract import Method, MethodBatch
from cacl.methods.task import Task
from cacl.models.cnn3d import CNN3D
from cacl.models.encoder import ClipSpec
from cacl.reports.figures import save_figure
from cacl.reports.heatmap import attention_figure, confusion_figure
from cacl.reports.probes import probes_figure
from cacl.reports.scatter import draw_scatter
from cacl.reports.similarity import similarity_figure
from cacl.run import Run
from cacl.training.views import augmented_views
from cacl.training.wiring import clip_spec

Part = Literal["similarity", "attention", "tasks", "features", "probes"]
MOST_VIDEOS = 2000  # of each side: more would change the last digit only
SIMILARITY_CLIPS = 1000  # about, in small sets up to three clips a video
TASK_DRAWS = 3  # as at the end of a training, so that both say the same


@dataclass(frozen=True)
class Subject:
    """What every part looks at: a trained method and the numbers of the videos on both sides."""

    run: Run
    method: Method
    data: Dataset
    train: list[int]
    test: list[int]
    folder: Path
    device: str
    seed: int
    projection: ProjectionName

    @property
    def settings(self) -> Settings:
        """The run's."""
        return self.run.settings

    @property
    def untrained(self) -> CNN3D:
        """The network at its first step, in evaluation mode."""
        return self.run.untrained.network.to(self.device).eval()

    @property
    def clip(self) -> ClipSpec:
        """What a clip is to the run's network."""
        return clip_spec(self.settings, self.data.rules)


def why_not(part: Part, subject: Subject) -> str | None:
    """What a part needs and the run or the videos lack."""
    pairs = any(key.startswith("similarity_") for curve in subject.method.curves for key in curve.lines)
    if part == "similarity" and not pairs:
        return f"{subject.run.method} draws no pairs together"
    if part == "similarity" and type(subject.method).embeddings is Method.embeddings:
        return f"the embeddings of {subject.run.method} are not measured on unseen clips"
    if part == "attention" and not subject.settings.wants_frame_encoder:
        return f"{subject.run.method} has no video transformer"
    if part == "tasks" and not subject.method.tasks():
        return f"{subject.run.method} predicts nothing of time"
    if part == "features" and len(subject.test) < 3:
        return f"a picture needs 3 videos, there are {len(subject.test)}"
    if part == "probes" and (len(subject.train) < 5 or not subject.test):
        return f"probes need 5 videos to learn from, there are {len(subject.train)}"
    return None


def _similarity(subject: Subject) -> dict[str, Any]:
    numbers, skipped = thinned(subject.test, MOST_VIDEOS), list[Skipped]()
    draws = max(1, min(3, SIMILARITY_CLIPS // len(numbers)))
    batches = _views(subject, numbers, draws, skipped)
    similarity = pair_similarity(subject.method, batches)
    found = similarity.numbers()
    save_figure(similarity_figure(found, heading="Similarity of positive pairs"), subject.folder / "similarity.png")
    return {**found, **_unread(skipped)}


def _attention(subject: Subject) -> dict[str, Any]:
    chosen, draws = choose_clips(len(subject.test), generator(subject.seed, "attention"))
    skipped = list[Skipped]()
    batches = _views(subject, [subject.test[i] for i in chosen], draws, skipped)
    attention = mean_attention(subject.method, batches)
    write_attention(attention, subject.folder)
    heading = f"First-layer attention of T, {attention.clips} clips"
    figure = attention_figure(attention.weights, attention.names, heading=heading)
    save_figure(figure, subject.folder / "attention.png")
    return {**attention.numbers(), **_unread(skipped)}


def _tasks(subject: Subject) -> dict[str, Any]:
    """One entry a task, under its name."""
    return {task.name: _task(subject, task) for task in subject.method.tasks()}


def _task(subject: Subject, task: Task) -> dict[str, Any]:
    examples = draw_examples(
        task,
        subject.data.subset(thinned(subject.test, MOST_VIDEOS)),
        subject.clip,
        purpose="test",
        draws=TASK_DRAWS,
        seed=subject.seed,
        encoder=subject.method.encoder,
        device=subject.device,
    )
    assert examples.logits is not None
    predicted = examples.logits.argmax(axis=1)
    confusion = task_confusion(examples.classes, predicted, task.values, ordered=task.ordered)
    found = confusion.numbers()
    heading = f"{task.title} of {found['pairs']} pairs: {found['accuracy']:.1f} % right"
    figure = confusion_figure(confusion.counts, [str(value) for value in task.values], what=task.name, heading=heading)
    save_figure(figure, subject.folder / f"{task.name}.png")
    return {"title": task.title, **found, **_unread(examples.skipped)}


def _features(subject: Subject) -> dict[str, Any]:
    videos = subject.data.videos(subject.test)
    found: dict[str, Projection] = {}
    for name, network in {"untrained": subject.untrained, subject.run.method: subject.method.encoder}.items():
        features = video_features(network, subject.data.subset(subject.test), subject.clip, device=subject.device)
        length_V1 = np.linalg.norm(features.features, axis=1, keepdims=True)  # 1, as retrieval compares them
        unit_VD = features.features / np.maximum(length_V1, 1e-12)
        found[name] = project(unit_VD, subject.projection, seed=subject.seed)
    kept = [videos[i] for i in features.kept]
    draw_scatter(found, [video.label for video in kept], subject.folder / "features.png")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", *(f"{name} {axis}" for name in found for axis in (1, 2))])
    for row, video in enumerate(kept):
        points = [f"{value:.6g}" for projection in found.values() for value in projection.points[row]]
        writer.writerow([video.path, join_labels(video.labels) if video.several else video.label, *points])
    write_whole(subject.folder / "features.csv", text.getvalue())
    axes = {name: list(projection.axes) for name, projection in found.items()}
    return {"projection": subject.projection, "videos": len(kept), "axes": axes, **_unread(features.skipped)}


def _probes(subject: Subject) -> dict[str, Any]:
    networks = {"untrained": subject.untrained, subject.run.method: subject.method.encoder}
    skipped, clip = list[Skipped](), subject.settings.data.frames
    results = probe_networks(
        networks,
        subject.data,
        subject.train,
        subject.test,
        subject.clip,
        most=MOST_VIDEOS,
        seed=subject.seed,
        skipped=skipped,
        device=subject.device,
    )
    if "playback speed" not in results:
        say(f"Left out: playback speed, at least half of the videos would have to be {2 * clip - 1} frames long.")
    save_figure(probes_figure(results), subject.folder / "probes.png")
    return {**results, **_unread(skipped)}


def _views(subject: Subject, numbers: list[int], draws: int, skipped: list[Skipped]) -> Iterator[MethodBatch]:
    return drawn_views(
        subject.method,
        augmented_views(
            subject.method,
            subject.settings.augment,
            seed=subject.settings.run.seed,
            channels_last=channels_last(subject.settings.run, subject.device),
        ),
        subject.data.subset(numbers),
        draws=draws,
        seed=subject.seed,
        skipped=skipped,
        device=subject.device,
    )


def _unread(skipped: Sequence[Skipped]) -> dict[str, Any]:
    """Videos that could not be read, for the results, and a line about them."""
    reasons = {bad.path: bad.reason for bad in skipped}
    if reasons:
        say(
            f"{counted(len(reasons), 'video')} could not be read: " + "; ".join(f"{p}: {r}" for p, r in reasons.items())
        )
    return {"skipped": reasons} if reasons else {}


def say(text: str) -> None:
    """A line for the user, on stderr."""
    print(text, file=sys.stderr, flush=True)


PARTS: dict[Part, Callable[[Subject], dict[str, Any]]] = {
    "similarity": _similarity,
    "attention": _attention,
    "tasks": _tasks,
    "features": _features,
    "probes": _probes,
}
"""What to call for a part, in the order in which they are done."""
