"""One cell of a recognition table: a split, so many labels a class, one draw of them.

A cell is finished when its ``result.json`` is there; a run that is stopped goes on with the first cell without one.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cacl.data.videos.catalog import Video
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.labels import join_labels
from cacl.distributed.processes import is_first
from cacl.errors import UserError, counted
from cacl.evaluation.embed import VideoFeatures
from cacl.evaluation.multilabel import MultiLabel, multilabel, truth_matrix
from cacl.evaluation.probes import fit_linear, neighbour_scores
from cacl.evaluation.recognition import Recognition, predict_videos, ranking, recognition
from cacl.experiments.recognition.labelled import LabelledSplit, draw_labels, held_out
from cacl.files import writing
from cacl.finetune_settings import FineTune
from cacl.models.classifier import Classifier
from cacl.models.encoder import Encoder
from cacl.run_folder import RunFolder
from cacl.training.finetune import Part, train_classifier
from cacl.training.progress import VideoProgress
from cacl.training.stop import StopRequest

COLUMNS = ("split", "labels_per_class", "draw", "path", "first_frame", "label", "predicted", "right", "probability",
           "label_probability", "label_rank")  # fmt: skip


Targets = dict[int, tuple[int, ...]]  # number of a video -> its classes, one or more


@dataclass(frozen=True)
class Cell:
    """Which split, how many labels a class (None: all), which draw of them."""

    split: int
    count: int | None
    draw: int

    @property
    def labels(self) -> str:
        """``5`` or ``all``."""
        return "all" if self.count is None else str(self.count)

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"split{self.split}-{self.labels}" + ("" if self.count is None else f"-draw{self.draw}")

    def __str__(self) -> str:
        drawn = "all labels" if self.count is None else f"{self.labels} a class, draw {self.draw + 1}"
        return f"split {self.split}, {drawn}"


@dataclass(frozen=True)
class Study:
    """What all cells of a run share.

    Attributes:
        folder: of the run.
        settings: resolved.
        encoder: where every training begins.
        classes: K names.
        data: all videos of all splits.
        number_of: (path, first frame) -> number in ``data``.
        features: of the frozen encoder; ``row_of`` gives the row of a video's number.
        beside: name -> features of another frozen encoder, rows of the table; and its rows by a video's number.
        linear: no fine-tuning, the linear probe is the result.
        several: some video has several classes.
        stop: checked between steps.
        say: told what is done.
    """

    folder: Path
    settings: FineTune
    encoder: Encoder
    classes: tuple[str, ...]
    data: Dataset
    number_of: Mapping[tuple[str, int], int]
    features: VideoFeatures
    row_of: Mapping[int, int]
    beside: Mapping[str, tuple[VideoFeatures, Mapping[int, int]]]
    linear: bool
    several: bool
    stop: StopRequest
    say: Callable[[str], None]

    @property
    def main(self) -> str:
        """Name of the row that the pictures and the saved classifier are of."""
        return "linear probe" if self.linear else "fine-tuned"

    def targets(self, videos: Sequence[Video]) -> Targets:
        """Number in ``data`` -> classes, of the videos whose frames can be read."""
        place = {name: k for k, name in enumerate(self.classes)}
        found = [(self.number_of.get((v.path, v.first_frame)), tuple(place[name] for name in v.labels)) for v in videos]
        return {number: labels for number, labels in found if number is not None}

    def measured(self, scores_VK: NDArray[np.float64], truth: Sequence[tuple[int, ...]]) -> Recognition | MultiLabel:
        """How well the videos are told: of several classes by mAP."""
        if self.several:
            return multilabel(scores_VK, truth_matrix(truth, len(self.classes)), self.classes)
        return recognition(scores_VK, [own[0] for own in truth], self.classes)


def run_cell(study: Study, split: LabelledSplit, cell: Cell, *, keep: bool) -> dict[str, Any]:
    """The cell's result, from its folder where it is finished.

    Args:
        keep: save the classifier as the run's.

    Raises:
        UserError, Stopped: as ``train_classifier``.
    """
    folder = study.folder / "parts" / cell.name
    if (folder / "result.json").exists():
        _tidy(folder)
        finished: dict[str, Any] = json.loads((folder / "result.json").read_text())
        return finished
    settings = study.settings
    train, validation = _training_videos(study, split, cell)
    test = study.targets(split.test)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        "split": cell.split,
        "labels": cell.labels,
        "draw": cell.draw,
        "train videos": len(train),
        "test videos": len(test),
    }
    found, linear = _frozen(study, train, test)
    if study.linear:
        classifier, numbers = (
            Classifier(study.encoder, study.classes, linear=linear, clips=settings.test.clips, several=study.several),
            _readable(study, test),
        )
        logits_VK = _linear_scores(linear, study, numbers).double()
        scores_VK = (logits_VK.sigmoid() if study.several else logits_VK.softmax(dim=1)).numpy()
    else:
        study.say(f"Fine-tuning on {counted(len(train), 'video')}: {cell} …")
        part = Part(folder, tuple(train), tuple(train.values()), settings.run.seed + cell.draw)
        classifier, failed = train_classifier(
            part, study.encoder, study.classes, study.data, settings, study.stop, say=study.say
        )
        result |= _length(folder) | ({"unreadable": failed} if failed else {})
        numbers, scores_VK = _predicted(study, classifier, list(test))
        found["fine-tuned"] = study.measured(scores_VK, [test[n] for n in numbers])
        if validation:
            seen, seen_VK = _predicted(study, classifier, list(validation))
            held_out = study.measured(seen_VK, [validation[n] for n in seen])
            kept = {name: value for name, value in held_out.numbers.items() if name != "mean class"}
            result["validation"] = {"videos": len(seen), **kept}
    result["skipped"] = [study.data.catalog.videos[n].path for n in test if n not in set(numbers)]
    result["recognition"] = {name: r.numbers for name, r in found.items()}
    main = found[study.main]
    result["per class"] = main.per_class
    if isinstance(main, Recognition):
        result["confusion"] = main.confusion.tolist()
    truth = [test[n] for n in numbers]
    run = RunFolder(study.folder, owner=is_first())
    run.write(f"parts/{cell.name}/predictions.csv", _predictions(study, cell, numbers, truth, scores_VK))
    if keep and is_first():
        measured = f"{study.main}, {cell}: {main} (k-NN of the frozen encoder: top-1 {found['k-NN'].top1:.1f} %)."
        classifier.save(
            study.folder / "classifier",
            trained_on=f"{len(train)} labelled videos, preset {settings.preset}.",
            measured=measured,
        )
    run.write(f"parts/{cell.name}/result.json", json.dumps(result, indent=2) + "\n")  # last: it ends the cell
    _tidy(folder)
    told_text = "; ".join(f"{name} {next(iter(r.numbers.values())):.1f} %" for name, r in found.items())
    study.say(f"{cell}: {told_text} {'mAP' if study.several else 'right'}.")
    return result


def _tidy(folder: Path) -> None:
    """Nobody goes on with a training whose result is there; a kill may have come before its checkpoints were gone."""
    if is_first():
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _training_videos(study: Study, split: LabelledSplit, cell: Cell) -> tuple[Targets, Targets]:
    """Number -> classes of the videos to train on, and of those held out; of few labels none can be spared."""
    seed, count = study.settings.run.seed, study.settings.data.hold_out
    assert count != "auto"
    if cell.count is None:
        kept, aside = held_out(split.train, count, seed=seed, split=cell.split)
        return study.targets(kept), study.targets(aside)
    return study.targets(draw_labels(split.train, cell.count, seed=seed, draw=cell.draw, split=cell.split)), {}


def _frozen(study: Study, train: Targets, test: Targets) -> tuple[dict[str, Recognition | MultiLabel], nn.Linear]:
    """The linear probe and k-NN on the frozen encoder's features."""
    fit, ask = _readable(study, train), _readable(study, test)
    if not fit or not ask:
        raise UserError(
            f"{study.data.catalog.root}: {len(fit)} training and {len(ask)} test videos can be read; run cacl check."
        )
    features, classes = study.features.features, study.classes
    rows_G, rows_Q = [study.row_of[n] for n in fit], [study.row_of[n] for n in ask]
    labels, truth = [train[n] for n in fit], [test[n] for n in ask]
    linear = fit_linear(features[rows_G], labels, classes=len(classes), strength=study.settings.test.strength)
    probe_VK = _linear_scores(linear, study, ask).double().numpy()
    votes_VK = neighbour_scores(features[rows_Q], features[rows_G], labels, classes=len(classes))
    found = {
        "linear probe": study.measured(probe_VK, truth),
        "k-NN": study.measured(votes_VK, truth),
    }
    for name, (others, row_of) in study.beside.items():
        found |= _rows_beside(study, name, others.features, row_of, train, test)
    return found, linear


def _rows_beside(
    study: Study,
    name: str,
    features: NDArray[np.float32],
    row_of: Mapping[int, int],
    train: Targets,
    test: Targets,
) -> dict[str, Recognition | MultiLabel]:
    """The linear probe and k-NN on another encoder's features."""
    fit, ask = ([number for number in videos if number in row_of] for videos in (train, test))
    gallery, query = (features[[row_of[number] for number in numbers]] for numbers in (fit, ask))
    labels, truth = [train[number] for number in fit], [test[number] for number in ask]
    count = len(study.classes)
    linear = fit_linear(gallery, labels, classes=count, strength=study.settings.test.strength)
    with torch.no_grad():
        scores_VK = linear(torch.from_numpy(query)).double().numpy()
    votes_VK = neighbour_scores(query, gallery, labels, classes=count)
    return {
        f"linear probe, {name}": study.measured(scores_VK, truth),
        f"k-NN, {name}": study.measured(votes_VK, truth),
    }


def _readable(study: Study, videos: Targets) -> list[int]:
    return [number for number in videos if number in study.row_of]


@torch.no_grad()
def _linear_scores(linear: nn.Linear, study: Study, numbers: Sequence[int]) -> torch.Tensor:
    """Logits of the mean feature, which are the mean of the clips' logits."""
    logits_VK: torch.Tensor = linear(torch.from_numpy(study.features.features[[study.row_of[n] for n in numbers]]))
    return logits_VK


def _predicted(study: Study, classifier: Classifier, numbers: list[int]) -> tuple[list[int], NDArray[np.float64]]:
    """The numbers of the videos that could be read, and their probabilities."""
    with VideoProgress(study.stop) as progress:
        found = predict_videos(
            classifier,
            study.data.subset(numbers),
            device=study.settings.run.device,
            progress=lambda done: progress("videos classified", done, len(numbers)),
        )
    classifier.cpu()
    return [numbers[i] for i in found.kept.tolist()], found.probabilities


def _length(folder: Path) -> dict[str, int]:
    """Steps and epochs that the metrics say."""
    last: dict[str, Any] = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    return {"steps": last["step"], "epochs": last["epoch"] + 1}


def _predictions(
    study: Study, cell: Cell, numbers: Sequence[int], truth: Sequence[tuple[int, ...]], scores_VK: NDArray[np.float64]
) -> str:
    """Rows of ``predictions.csv``: what each test video was taken for; of several labels, the one ranked last."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    ranked_VK = ranking(scores_VK)
    for row, (number, own) in enumerate(zip(numbers, truth, strict=True)):
        video, best = study.data.catalog.videos[number], int(ranked_VK[row, 0])
        rank = int(np.flatnonzero(np.isin(ranked_VK[row], own))[-1]) + 1
        chances = [f"{scores_VK[row, k]:.6f}" for k in (best, int(ranked_VK[row, rank - 1]))]
        names = [study.classes[label] for label in own]
        label = join_labels(names) if len(names) > 1 else names[0]
        row_words = (label, study.classes[best], int(best in own))
        writer.writerow([cell.split, cell.labels, cell.draw, video.path, video.first_frame, *row_words, *chances, rank])
    return out.getvalue().encode("utf-8", "replace").decode()  # a file name may hold bytes that are no text
