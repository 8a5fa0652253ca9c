"""``cacl evaluate RUN``: the protocols on a finished run, its report, and the numbers as a dictionary."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from cacl.data.videos.dataset import Dataset, open_dataset
from cacl.distributed.processes import is_first, join
from cacl.errors import UserError
from cacl.evaluation.choice.fuse import FUSED, fuse_parts, kept_fused, open_image_encoder
from cacl.experiments.recognition.labelled import check_leakage, copied_videos, shared_groups, untrained_labels
from cacl.experiments.retrieval import run_retrieval
from cacl.experiments.trained_on import trained_on_notes
from cacl.files import read_object
from cacl.models.clip_encoder import ClipEncoder
from cacl.models.fused import FusedEncoder
from cacl.models.image.encoder import ImageEncoder
from cacl.models.load import load_encoder
from cacl.reports.run import RETRIEVAL
from cacl.run import Run
from cacl.run_folder import RunFolder, is_run
from cacl.training.progress import VideoProgress
from cacl.training.videos import open_run_data, training_numbers


def evaluate(
    run: str | Path,
    videos: str | Path | None = None,
    *,
    protocol: Literal["retrieval"] = "retrieval",
    lists: str | Path | None = None,
    split: int = 1,
    beside: Sequence[str | Path] = (),
) -> dict[str, Any]:
    """Evaluate a finished run; writes ``results.json``, ``report.html`` and ``neighbours.png`` (``evaluation_folder``).

    Called by every process of torchrun, they share the videos; the numbers are those of one process.

    Args:
        run: the run folder.
        videos: labelled videos with a train and a test part (``val`` where nothing is called ``test``); by default the
            run's own. Videos without a label are left out.
        protocol: ``retrieval`` (paper section 4.3).
        lists: the data set's split lists, for ``videos``. The run's own keep the parts that it was trained with.
        split: which split of them.
        beside: other finished runs on the same videos, for more rows of the table; and a frozen image encoder
            (``cacl import --image-encoder``), which is a row, alone and fused with the run's. The fused one is kept in
            ``RUN/fused``, and is a row from then on.

    Returns:
        ``{"retrieval": {row: {"R@1": percent, …}}, task: {…}}``, ``"verdict"`` where there is a frozen encoder, and
        ``"notes"``, where something is doubtful.

    Raises:
        UserError: the run is not finished or in use, the videos have no labels or no test part, a video is in both
            parts, or ``lists`` came without ``videos``.
    """
    join()
    main, frozen = Run(run), [path for path in beside if not is_run(Path(path))]
    if len(frozen) > 1:
        raise UserError(
            f"One frozen encoder fits beside a run; leave out all but one of {', '.join(map(str, frozen))}."
        )
    image = open_image_encoder(frozen[0]) if frozen else None
    runs = [main, *(Run(path) for path in beside if is_run(Path(path)))]
    for each in runs:
        if each.finished is None:
            raise UserError(f"{each.path} is not finished; continue it: cacl pretrain --resume {each.path}")
    others = _distinct_names(main, runs[1:])
    command = f"cacl evaluate {main.path}" if videos is None else f"cacl evaluate {main.path} {videos}"
    with RunFolder(main.path, owner=is_first()):
        data, split = _labelled(main, videos, lists, split)
        notes = retrieval_doubts(data, split, [main, *others.values()])
        place = evaluation_folder(main.path, videos, split=split)
        named = None if place == main.path else Path(str(videos)).resolve()
        fused = _fused(main, image)
        return run_retrieval(
            main, data, place=place, videos=named, beside=others, fused=fused, notes=notes, command=command
        )


def evaluation_folder(run: str | Path, videos: str | Path | None = None, *, split: int = 1) -> Path:
    """Where an evaluation is written: into the run folder for the run's own videos, ``transfer/NAME`` in it for others.

    NAME is that of the folder or file of ``videos``; of one that is called ``videos`` that of the folder around it.
    """
    folder = Path(run)
    asked = None if videos is None else Path(videos).resolve()
    if asked is None or asked == Path(RunFolder.open(folder).data["videos"]).resolve():
        return folder
    name = (asked.parent if asked.name.lower() == "videos" else asked).name + (f"-split{split}" if split != 1 else "")
    for number in itertools.count(1):  # two data sets may have one name
        place = folder / "transfer" / (name if number == 1 else f"{name}-{number}")
        before = read_object(place / RETRIEVAL).get("videos")
        if before in (None, str(asked)):
            return place
    raise AssertionError


def _fused(run: Run, image: ImageEncoder | None) -> FusedEncoder | None:
    """The run's encoder beside a frozen one: what it keeps, or a new one with another image encoder."""
    own = run.encoder
    kept = kept_fused(run.path, own)
    if image is None or (kept is not None and kept.image.same_as(image)):
        return kept
    folder = RunFolder(run.path)
    data = open_run_data(folder)
    with VideoProgress() as progress:
        made = fuse_parts(own, image, data, training_numbers(run.settings, data), progress=progress).encoder
    if is_first():
        made.save(run.path / FUSED)
    return made


def _labelled(main: Run, videos: str | Path | None, lists: str | Path | None, split: int) -> tuple[Dataset, int]:
    """The videos to evaluate on, and which split of them."""
    settings, folder = main.settings, RunFolder.open(main.path)
    if videos is None:
        if lists is not None or split not in (1, folder.data["split"]):
            raise UserError(
                f"The videos of {main.path} keep the lists and the split that it was trained with: leave out --lists "
                f"and --split, or name the videos too (cacl evaluate {main.path} VIDEOS --lists {lists or 'DIR'})."
            )
        return open_run_data(folder), folder.data["split"]
    height, width = settings.data.resize
    data = open_dataset(
        Path(videos), height=height, width=width, lists=None if lists is None else Path(lists), split=split
    )
    return data, split


def retrieval_doubts(data: Dataset, split: int, runs: Sequence[Run]) -> list[str]:
    """What makes a retrieval on these videos doubtful, in sentences; what makes it worthless is a UserError."""
    train, test = (
        [video for video in data.videos(data.numbers(part) if data.has_test else []) if video.label is not None]
        for part in ("train", data.test_part)
    )
    root = data.catalog.root
    check_leakage(root, train, test, split)
    notes = [f"{data.catalog.missing} of the videos that the lists name are not there."] if data.catalog.missing else []
    notes += [*shared_groups(train, test), *copied_videos(root, train, test)]
    if train and (unknown := untrained_labels(train, test)):
        notes.append(f"No training video has the label of {unknown} among the test videos: these can never be right.")
    for run in runs:
        notes += trained_on_notes(run.path, test, root)
    return notes


def _distinct_names(main: Run, others: Sequence[Run]) -> dict[str, Run]:
    """Row names of other runs: of two with the same method each has its folder's name too."""
    taken = Counter(run.method for run in [main, *others])
    names = [run.method if taken[run.method] == 1 else f"{run.method} ({run.path.name})" for run in others]
    again = Counter(names)
    pairs = zip(names, others, strict=True)
    return {name if again[name] == 1 else f"{run.method} ({run.path})": run for name, run in pairs}


def load(path: str | Path) -> ClipEncoder:
    """The encoder of a run folder or an encoder folder, in evaluation mode: ``cacl.load("runs/gulls")(clips)``."""
    return load_encoder(path)
