"""``cacl evaluate RUN``: the protocols on a finished run, its report, and the numbers as a dictionary."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from cacl.data.remote.place import place as place_of
from cacl.data.videos.catalog import Catalog
from cacl.data.videos.dataset import Dataset, open_videos, videos_at
from cacl.data.videos.resampled import as_files, resampled
from cacl.distributed.processes import is_first, join, wait_for_first
from cacl.errors import UserError, counted, printable, quoted
from cacl.evaluation.choice.fuse import FUSED, fuse_parts, kept_fused, open_image_encoder
from cacl.evaluation.evaluate import evaluate_retrieval
from cacl.evaluation.results import tasks_of
from cacl.experiments.evaluate_frozen import with_frozen
from cacl.experiments.recognition.labelled import (
    check_leakage,
    copied_videos,
    near_copies_said,
    shared_groups,
    untrained_labels,
)
from cacl.experiments.trained_on import trained_on_notes
from cacl.files import read_object, writing
from cacl.machine.device import run_device
from cacl.models.clip_encoder import ClipEncoder
from cacl.models.fused import FusedEncoder
from cacl.models.hub import fetch_encoder, names_repository
from cacl.models.image.encoder import ImageEncoder
from cacl.models.load import load_encoder
from cacl.reports.neighbours import draw_neighbours, neighbour_rows
from cacl.reports.run import RETRIEVAL, keep_retrieval, write_run_report
from cacl.run import Run
from cacl.run_folder import RunFolder, is_run
from cacl.training.progress import VideoProgress
from cacl.training.videos import move_videos, open_run_data, pixel_rules, training_numbers


def evaluate(
    run: str | Path,
    videos: str | Path | None = None,
    *,
    protocol: Literal["retrieval"] = "retrieval",
    lists: str | Path | None = None,
    split: int = 1,
    beside: Sequence[str | Path] = (),
    moved: str | Path | None = None,
    keep: bool = True,
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
        moved: the folder (or store) that the run's own videos are in now, where they were moved.
        beside: other finished runs on the same videos, for more rows of the table; and a frozen image encoder
            (``cacl import --image-encoder``), which is a row, alone and fused with the run's. The fused one is kept in
            ``RUN/fused``, and is a row from then on.
        keep: take what needs no training from an earlier run on the same videos, and keep it for the next.

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
            raise UserError(f"{each.path} is not finished; continue it: cacl pretrain --resume {quoted(each.path)}")
    others = _distinct_names(main, runs[1:])
    command = f"cacl evaluate {quoted(main.path)}{'' if videos is None else f' {quoted(videos)}'}"
    with RunFolder(main.path, owner=is_first()) as folder:
        if moved is not None and is_first():
            move_videos(folder, moved)
        wait_for_first()
        data, split = videos_to_evaluate(main, videos, lists=lists, split=split, verb="evaluate", say=_say)
        notes = retrieval_doubts(data, split, [main, *others.values()])
        place = evaluation_folder(main.path, videos, split=split)
        named = None if place == main.path else place_of(str(videos)).resolve()
        fused = _fused(main, image)
        results = _retrieval(
            main, data, place=place, videos=named, beside=others, fused=fused, notes=notes, command=command,
            keep=keep,
        )  # fmt: skip
        if is_first():
            keep_list(data.catalog, main.path, place)
        return results


def keep_list(catalog: Catalog, run: Path, place: Path) -> None:
    """Say how many files were used and skipped, and where their list is: the run's own, or a new one in ``place``."""
    if place != run:
        catalog.write_csv(place / "videos.csv")
    _say(f"{catalog.summary()}: see {place / 'videos.csv'}.")


def _retrieval(
    run: Run,
    data: Dataset,
    *,
    place: Path | None = None,
    videos: Path | None = None,
    beside: Mapping[str, Run] | None = None,
    fused: FusedEncoder | None = None,
    notes: Sequence[str] = (),
    command: str = "",
    keep: bool = True,
) -> dict[str, Any]:
    """Evaluate; write ``results.json``, ``retrieval.json``, ``report.html`` and ``neighbours.png``.

    Args:
        run: a finished run.
        data: labelled videos with a train and a test part.
        place: where to write; made when missing, by default the run folder.
        videos: what they are called, by default the folder that they are in.
        beside: name -> another run, for more rows of the table.
        fused: the run's encoder beside a frozen one: a row of the frozen part, a row of both, and the verdict.
        notes: what is doubtful, in sentences for the results and the report.
        command: for the foot of the report.
        keep: as of ``evaluate``.

    Returns:
        The numbers in percent, ``retrieval`` and the tasks; ``verdict`` and ``notes``, where there are any.

    Raises:
        UserError: no labels, no part for testing, or a file cannot be written.
    """
    place = run.path if place is None else place
    finished, (device, autocast_dtype) = run.finished or {}, run_device(run.settings.run, run.path, say=_say)
    others = beside or {}
    retrieval = evaluate_retrieval(
        {name: other.encoder for name, other in others.items()} | {run.method: run.encoder},
        run.untrained,
        data,
        seed=run.settings.run.seed,
        device=device,
        autocast_dtype=autocast_dtype,
        keep=keep,
        say=_say,
    )
    verdict = None if fused is None else with_frozen(retrieval, fused, data, run.method, device, say=_say)
    results: dict[str, Any] = {"retrieval": retrieval.recalls}
    if verdict is not None:
        results["verdict"] = verdict.numbers
    if place == run.path:  # the run's own videos
        results |= tasks_of(finished)
    if notes:
        results["notes"] = list(notes)
    if retrieval.skipped:
        _say(f"{counted(len(retrieval.skipped), 'video')} could not be read: {'; '.join(retrieval.skipped)}")
    if not is_first():
        return results
    with writing(place):
        place.mkdir(parents=True, exist_ok=True)
    rows = neighbour_rows(data, retrieval.neighbours)
    draw_neighbours(rows, place / "neighbours.png")
    keep_retrieval(place, retrieval, rows, videos=data.catalog.root if videos is None else videos, beside=others)
    write_run_report(run, results, place=place, finished=finished, command=command)
    return results


def evaluation_folder(run: str | Path, videos: str | Path | None = None, *, split: int = 1) -> Path:
    """Where an evaluation is written: into the run folder for the run's own videos, ``transfer/NAME`` in it for others.

    NAME is that of the folder or file of ``videos``; of one that is called ``videos`` that of the folder around it.
    """
    folder = Path(run)
    named = None if videos is None else place_of(videos).resolve()
    if named is None or named == place_of(RunFolder.open(folder).data["videos"]).resolve():
        return folder
    name = (named.parent if named.name.lower() == "videos" else named).name + (f"-split{split}" if split != 1 else "")
    for number in itertools.count(1):  # two data sets may have one name
        target = folder / "transfer" / (name if number == 1 else f"{name}-{number}")
        before = read_object(target / RETRIEVAL).get("videos")
        if before in (None, str(named)):
            return target
    raise AssertionError


def _fused(run: Run, image: ImageEncoder | None) -> FusedEncoder | None:
    """The run's encoder beside a frozen one: what it keeps, or a new one with another image encoder."""
    own = run.encoder
    kept = kept_fused(run.path, own, say=_say)
    if image is None or (kept is not None and kept.image.same_as(image)):
        return kept
    folder = RunFolder(run.path)
    data = open_run_data(folder)
    with VideoProgress() as progress:
        made = fuse_parts(own, image, data, training_numbers(run.settings, data), progress=progress).encoder
    if is_first():
        made.save(run.path / FUSED)
    return made


def videos_to_evaluate(
    run: Run,
    videos: str | Path | None,
    *,
    lists: str | Path | None,
    split: int,
    verb: str,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Dataset, int]:
    """The run's own videos, or those that are named, and which split of them.

    Raises:
        UserError: ``lists`` or ``split`` without ``videos``, in the words of ``cacl verb``; or as ``open_videos``.
    """
    folder, settings = RunFolder.open(run.path), run.settings.data
    if videos is not None:
        data = open_videos(
            videos_at(videos),
            resize=settings.resize,
            lists=None if lists is None else Path(lists),
            split=split,
            rules=pixel_rules(folder),
            blank=settings.blank,
            rate=settings.picture_rate or 0.0,
        )
        return resampled(data, settings.frame_rate, say=say), split
    if lists is not None or split not in (1, folder.data["split"]):
        named = quoted(lists) if lists else "DIR"
        raise UserError(
            f"The videos of {run.path} keep the lists and the split that it was trained with: leave out --lists and "
            f"--split, or name the videos too (cacl {verb} {quoted(run.path)} VIDEOS --lists {named})."
        )
    return open_run_data(folder, say=say), folder.data["split"]


def retrieval_doubts(data: Dataset, split: int, runs: Sequence[Run]) -> list[str]:
    """What makes a retrieval on these videos doubtful, in sentences; what makes it worthless is a UserError."""
    data = as_files(data)
    train, test = (
        [video for video in data.videos(data.numbers(part) if data.has_test else []) if video.labels]
        for part in ("train", data.test_part)
    )
    root = data.catalog.root
    check_leakage(root, train, test, split)
    notes = [f"{data.catalog.missing} of the videos that the lists name are not there."] if data.catalog.missing else []
    notes += [*shared_groups(train, test), *copied_videos(root, train, test)]
    if train and test:
        notes += near_copies_said(data, data.numbers("train"), data.numbers(data.test_part))
    if train and (unknown := untrained_labels(train, test)):
        notes.append(f"No training video has the label of {unknown} among the test videos: these can never be right.")
    for run in runs:
        notes += trained_on_notes(run.path, test, root)
    return notes


def _say(text: str) -> None:
    if is_first():
        print(printable(text), file=sys.stderr, flush=True)


def _distinct_names(main: Run, others: Sequence[Run]) -> dict[str, Run]:
    """Row names of other runs: of two with the same method each has its folder's name too."""
    taken = Counter(run.method for run in [main, *others])
    names = [run.method if taken[run.method] == 1 else f"{run.method} ({run.path.name})" for run in others]
    again = Counter(names)
    pairs = zip(names, others, strict=True)
    return {name if again[name] == 1 else f"{run.method} ({run.path})": run for name, run in pairs}


def load(path: str | Path, *, revision: str | None = None) -> ClipEncoder:
    """The encoder of a run, an encoder folder or a model hub, in evaluation mode: ``cacl.load("runs/gulls")(clips)``.

    Args:
        path: a folder; or ``USER/NAME`` of a model hub where neither ``USER/NAME`` nor ``USER`` is a folder here. It is
            downloaded once and kept in the hub's cache; no code of it is run.
        revision: a branch, tag or commit of the hub's repository.

    Raises:
        UserError: no encoder there, or the hub does not give it; in one sentence.
    """
    if revision is not None and Path(path).exists():
        raise UserError(f"{path} is a folder here and has no revisions: leave out revision={revision!r}.")
    if isinstance(path, str) and (revision is not None or names_repository(path)):
        path = fetch_encoder(path, revision=revision)
    return load_encoder(path)
