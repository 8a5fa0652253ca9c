"""``cacl classify``: what a classifier takes each video of a folder for, as a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cacl.data.videos.catalog import Skipped, Video
from cacl.errors import UserError, counted
from cacl.evaluation.recognition import predict_videos, ranking, recognition
from cacl.experiments.any_videos import open_unlabelled
from cacl.experiments.trained_on import trained_on_notes
from cacl.files import check_replaceable, write_whole
from cacl.machine.auto import usable_device
from cacl.models.classifier import Classifier

_COLUMNS = ("path", "first_frame", "frames", "status", "reason")  # and a class and its probability, rank after rank


@dataclass(frozen=True)
class Told:
    """One video with its most probable classes, the best first, each with its probability in [0, 1]."""

    video: Video
    classes: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Classified:
    """Every video of a folder: told, or skipped with the reason.

    Attributes:
        told: in the order of the folder.
        skipped: files that could not be read.
        note: how many were told right, where the folder's labels are classes of the classifier; or why it cannot be
            said; and how many of these the classifier was trained with; empty where there are no labels.
    """

    told: tuple[Told, ...]
    skipped: tuple[Skipped, ...]
    note: str

    def to_csv(self) -> str:
        """``path,first_frame,frames,status,reason,class_1,probability_1,…``, the skipped last."""
        top = len(self.told[0].classes)
        ranks = [f"{word}_{k}" for k in range(1, top + 1) for word in ("class", "probability")]
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([*_COLUMNS, *ranks])
        for one in self.told:
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
            for one in self.told
        ]
        skipped = [{"path": item.path, "reason": item.reason} for item in self.skipped]
        return json.dumps({"videos": videos, "skipped": skipped}, indent=2, ensure_ascii=False) + "\n"


def classify(
    run: str | Path,
    videos: str | Path,
    *,
    out: str | Path | None = None,
    top: int = 5,
    progress: Callable[[str, int, int], None] | None = None,
) -> Classified:
    """Tell the class of every video of a folder; labels are not needed.

    Args:
        run: a fine-tuned run, or a classifier folder.
        videos: a folder (any tree), one file, a list file, ``videos.csv``, or a store.
        out: a table to write whole, ``.csv`` or ``.json``; an older one is replaced.
        top: classes a video, at most as many as there are.
        progress: called with what is done, how much of it and of how much; may raise to end it.

    Raises:
        UserError: no classifier, no video that can be read, an ``out`` of another kind, or a file there
            that is no table of this command.
    """
    if top < 1:
        raise UserError(f"--top is {top}; it must be 1 or more.")
    target = None if out is None else Path(out)
    if target is not None and target.suffix.lower() not in (".csv", ".json"):
        raise UserError(f"{target}: a table ends in .csv or .json.")
    if target is not None and not target.parent.is_dir():  # before hours of work, not after
        raise UserError(f"{target} could not be written: there is no folder {target.parent}; choose another --out.")
    if target is not None:
        check_replaceable(target, _is_table, by="cacl classify")
    classifier = Classifier.load(run)
    data = open_unlabelled(Path(videos), classifier.encoder.clip.resize, progress=progress)
    entries = data.catalog.videos
    told = predict_videos(
        classifier,
        data,
        device=usable_device()[0],
        progress=None if progress is None else lambda done: progress("videos told", done, len(entries)),
    )
    ranked_VK = ranking(told.probabilities)[:, :top]
    names, kept = classifier.classes, [entries[i] for i in told.kept.tolist()]
    rows = tuple(
        Told(video, tuple((names[k], float(p[k])) for k in best))
        for video, best, p in zip(kept, ranked_VK.tolist(), told.probabilities, strict=True)
    )
    notes = [_counted(kept, told.probabilities, names)]
    if known := [video for video in kept if video.label in names]:
        notes += trained_on_notes(Path(run), known, data.catalog.root, what="videos with a label", head=True)
    found = Classified(rows, (*data.catalog.skipped, *told.skipped), "\n".join(note for note in notes if note))
    if target is not None:
        write_whole(target, found.to_json() if target.suffix.lower() == ".json" else found.to_csv())
    return found


def _is_table(file: Path) -> bool:
    """Whether a file begins as the tables of ``classify`` do."""
    with file.open(encoding="utf-8", errors="replace") as text:
        head = text.read(1024)
    return head.startswith((f"{','.join(_COLUMNS)},class_1,probability_1", '{\n  "videos": [\n    {\n      "path": '))


def _counted(videos: list[Video], probabilities_VK: Any, classes: tuple[str, ...]) -> str:
    """Where the videos have labels that the classifier knows: how many it told right."""
    labels = [video.label for video in videos]
    known = [i for i, label in enumerate(labels) if label in classes]
    strange = sorted({label for label in labels if label is not None and label not in classes})
    if not known:
        if not strange:
            return ""
        shown = ", ".join(strange[:3])
        return f"The folders or lists name {shown}, none of the classifier's classes ({', '.join(classes[:3])} …)."
    result = recognition(probabilities_VK[known], [classes.index(str(labels[i])) for i in known], classes)
    other = f" Left out: {', '.join(strange[:5])}, no class of the classifier." if strange else ""
    return (
        f"Of {counted(len(known), 'video')} with a label: top-1 {result.top1:.1f} %, top-5 {result.top5:.1f} %.{other}"
    )
