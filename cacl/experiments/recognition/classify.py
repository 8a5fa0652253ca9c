"""``cacl classify``: what a classifier takes each video of a folder for, as a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cacl.arrow import SUFFIXES, check_arrow, is_arrow, write_arrow
from cacl.data.videos.catalog import Skipped, Video
from cacl.data.videos.dataset import open_videos, videos_at
from cacl.data.videos.resampled import resampled
from cacl.errors import UserError, counted
from cacl.evaluation.multilabel import MultiLabel, multilabel, truth_matrix
from cacl.evaluation.recognition import Recognition, predict_videos, ranking, recognition
from cacl.experiments.trained_on import trained_on_notes
from cacl.files import check_parent, check_replaceable, write_whole
from cacl.machine.device import choose_device
from cacl.models.classifier import Classifier

_BY = "cacl classify"
_COLUMNS = ("path", "first_frame", "frames", "status", "reason")  # and a class and its probability, rank after rank


@dataclass(frozen=True)
class Prediction:
    """One video with its most probable classes, the best first, each with its probability in [0, 1]."""

    video: Video
    classes: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Classified:
    """Every video of a folder: predicted, or skipped with the reason.

    Attributes:
        predicted: in the order of the folder.
        skipped: files that could not be read.
        note: how many were right, where the folder's labels are classes of the classifier; or why it cannot be
            said; and how many of these the classifier was trained with; empty where there are no labels.
    """

    predicted: tuple[Prediction, ...]
    skipped: tuple[Skipped, ...]
    note: str

    def to_csv(self) -> str:
        """``path,first_frame,frames,status,reason,class_1,probability_1,…``, the skipped last."""
        top = len(self.predicted[0].classes)
        ranks = [f"{word}_{k}" for k in range(1, top + 1) for word in ("class", "probability")]
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([*_COLUMNS, *ranks])
        for one in self.predicted:
            cells = [text for name, p in one.classes for text in (name, f"{p:.6f}")]
            video = one.video
            writer.writerow([video.path, video.first_frame, video.frames, "used", video.note, *cells])
        for item in self.skipped:
            writer.writerow([item.path, "", "", "skipped", item.reason, *[""] * len(ranks)])
        return out.getvalue()

    def to_json(self) -> str:
        """``{"videos": [{"path": …, "predictions": [{"class": …, "probability": …}]}], "skipped": […]}``."""
        videos: list[dict[str, Any]] = [
            {
                "path": one.video.path,
                "first_frame": one.video.first_frame,
                "frames": one.video.frames,
                "predictions": [{"class": name, "probability": round(p, 6)} for name, p in one.classes],
            }
            for one in self.predicted
        ]
        skipped = [{"path": item.path, "reason": item.reason} for item in self.skipped]
        return json.dumps({"videos": videos, "skipped": skipped}, indent=2, ensure_ascii=False) + "\n"

    def write(self, path: Path) -> None:
        """The table at ``path``, whole: ``.csv``, ``.json``, ``.parquet`` or ``.arrow``, these with the columns of CSV.

        Raises:
            UserError: it cannot be written.
        """
        if is_arrow(path):
            self._write_arrow(path)
        else:
            write_whole(path, self.to_json() if path.suffix.lower() == ".json" else self.to_csv())

    def _write_arrow(self, path: Path) -> None:
        import pyarrow as pa

        top = len(self.predicted[0].classes)
        types = dict(zip(_COLUMNS, (pa.string(), pa.int64(), pa.int64(), pa.string(), pa.string()), strict=True))
        for k in range(1, top + 1):
            types |= {f"class_{k}": pa.string(), f"probability_{k}": pa.float64()}
        rows: list[tuple[Any, ...]] = [
            (v.path, v.first_frame, v.frames, "used", v.note, *(cell for pair in one.classes for cell in pair))
            for one in self.predicted
            for v in (one.video,)
        ]
        rows += [(item.path, None, None, "skipped", item.reason, *[None] * 2 * top) for item in self.skipped]
        write_arrow(path, types, [list(zip(*rows, strict=True))], by=_BY)


def classify(
    run: str | Path,
    videos: str | Path,
    *,
    out: str | Path | None = None,
    top: int = 5,
    progress: Callable[[str, int, int], None] | None = None,
) -> Classified:
    """Predict the class of every video of a folder; labels are not needed.

    Args:
        run: a fine-tuned run, or a classifier folder.
        videos: a folder (any tree), one file, a list file, ``videos.csv``, or a store.
        out: a table to write whole, ``.csv``, ``.json``, ``.parquet`` or ``.arrow``; an older one is replaced.
        top: classes a video, at most as many as there are.
        progress: called with what is done, how much of it and of how much; may raise to end it.

    Raises:
        UserError: no classifier, no video that can be read, an ``out`` of another kind, or a file there
            that is no table of this command.
    """
    if top < 1:
        raise UserError(f"--top is {top}; it must be 1 or more.")
    target = None if out is None else Path(out)
    if target is not None and target.suffix.lower() not in (".csv", ".json", *SUFFIXES):
        raise UserError(f"{target}: a table ends in .csv, .json, .parquet or .arrow.")
    if target is not None:
        check_parent(target)
    if target is not None and is_arrow(target):
        check_arrow(target, by=_BY)
    elif target is not None:
        check_replaceable(target, _is_table, by=_BY)
    classifier = Classifier.load(run)
    clip = classifier.encoder.clip
    data = open_videos(
        videos_at(videos), resize=clip.resize, rules=clip.rules, blank=clip.blank, encoder=True, progress=progress
    )
    data = resampled(data, clip.frame_rate)
    entries = data.catalog.videos
    found = predict_videos(
        classifier,
        data,
        device=choose_device(fallback=True)[0],
        progress=None if progress is None else lambda done: progress("videos classified", done, len(entries)),
    )
    ranked_VK = ranking(found.probabilities)[:, :top]
    names, kept = classifier.classes, [entries[i] for i in found.kept.tolist()]
    rows = tuple(
        Prediction(video, tuple((names[k], float(p[k])) for k in best))
        for video, best, p in zip(kept, ranked_VK.tolist(), found.probabilities, strict=True)
    )
    notes = [_counted(kept, found.probabilities, names, several=classifier.several)]
    if known := [video for video in kept if not set(video.labels).isdisjoint(names)]:
        notes += trained_on_notes(Path(run), known, data.catalog.root, what="videos with a label", head=True)
    result = Classified(rows, (*data.catalog.skipped, *found.skipped), "\n".join(note for note in notes if note))
    if target is not None:
        result.write(target)
    return result


def _is_table(file: Path) -> bool:
    """Whether a file begins as the tables of ``classify`` do."""
    with file.open(encoding="utf-8", errors="replace") as text:
        head = text.read(1024)
    return head.startswith((f"{','.join(_COLUMNS)},class_1,probability_1", '{\n  "videos": [\n    {\n      "path": '))


def _counted(videos: list[Video], probabilities_VK: Any, classes: tuple[str, ...], *, several: bool) -> str:
    """Where the videos have labels that the classifier knows: how many it predicts right."""
    labels = [[classes.index(name) for name in video.labels if name in classes] for video in videos]
    known = [i for i, own in enumerate(labels) if own]
    strange = sorted({name for video in videos for name in video.labels if name not in classes})
    if not known:
        if not strange:
            return ""
        shown = ", ".join(strange[:3])
        return f"The folders or lists name {shown}, none of the classifier's classes ({', '.join(classes[:3])} …)."
    truth = [labels[i] for i in known]
    several = several or any(len(own) > 1 for own in truth)
    result: Recognition | MultiLabel
    if several:
        result = multilabel(probabilities_VK[known], truth_matrix(truth, len(classes)), classes)
    else:
        result = recognition(probabilities_VK[known], [own[0] for own in truth], classes)
    first = f"mAP {result.map:.1f} %, " if isinstance(result, MultiLabel) else ""
    other = f" Left out: {', '.join(strange[:5])}, no class of the classifier." if strange else ""
    top = f"{first}top-1 {result.top1:.1f} %, top-5 {result.top5:.1f} %"
    return f"Of {counted(len(known), 'video')} with a label: {top}.{other}"
