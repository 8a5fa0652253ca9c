"""``cacl analyse RUN``: what a run has learned; everything goes into ``RUN/analysis/``.

Table 3 (similarity of the positive pairs), Figure 3 (attention of T), confusion in the tasks, a picture of video
features, and temporal probes, on videos that the run was not trained on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cacl.data.videos.dataset import Dataset
from cacl.data.videos.resampled import as_files
from cacl.errors import UserError, did_you_mean, quoted
from cacl.evaluation.projection import ProjectionName, check_projection
from cacl.evaluation.results import EARLIER_PARTS, tasks_of
from cacl.experiments.analysis_parts import PARTS, Part, Subject, say, why_not
from cacl.experiments.evaluate import evaluation_folder, keep_list, videos_to_evaluate
from cacl.experiments.report import report
from cacl.experiments.trained_on import trained_on
from cacl.files import write_whole, writing
from cacl.machine.device import run_device
from cacl.run import Run
from cacl.run_folder import RunFolder
from cacl.training.rebuild import trained_method
from cacl.training.videos import move_videos

SET_APART = 5  # without a test part every fifth video tests the probes


def analyse(
    run: str | Path,
    videos: str | Path | None = None,
    *,
    lists: str | Path | None = None,
    split: int = 1,
    parts: Sequence[str] = tuple(PARTS),
    projection: ProjectionName = "pca",
    seed: int = 0,
    moved: str | Path | None = None,
) -> dict[str, Any]:
    """Analyse a run; writes ``results.json``, tables and pictures into ``RUN/analysis/``, and the run's page anew.

    Of other videos than the run's own: into ``RUN/transfer/NAME/analysis/``, and no page (``evaluation_folder``).

    Args:
        run: a run folder with a checkpoint; it need not be finished.
        videos: other videos than the run's own, labelled or not. The test part is looked at (``val`` where nothing is
            called ``test``), and probes learn from the training part; without parts every fifth video is looked at.
        lists: the data set's split lists, for ``videos``.
        split: which split of them.
        parts: what to do; results of other parts, made before on the same videos and checkpoint, are kept.
        projection: of the picture of features.
        seed: chooses clips, shuffles and augmentations.
        moved: the folder (or store) that the run's own videos are in now, where they were moved.

    Returns:
        What ``results.json`` holds: ``"about"`` (steps, videos, seed), one entry a part, and ``"left out"``: part ->
        why.

    Raises:
        UserError: no checkpoint, no usable video, an unknown part, or a package that ``projection`` needs is missing.
    """
    main = Run(run)
    parts = [EARLIER_PARTS.get(part, part) for part in parts]
    for part in parts:
        if part not in PARTS:
            raise UserError(
                f"{part} is no part of the analysis; it can be {', '.join(PARTS)}.{did_you_mean(part, PARTS)}"
            )
    if "features" in parts and projection != "pca":
        check_projection(projection)  # before anything is computed
    device, _ = run_device(main.settings.run, main.path, say=say)
    method, steps = trained_method(main, device=device)
    if main.finished is None:
        say(f"{main.path} is not finished: this is what it is after {steps} steps.")
    if moved is not None:
        with RunFolder.open(main.path) as own:
            move_videos(own, moved)
    data = videos_to_evaluate(main, videos, lists=lists, split=split, verb="analyse", say=say)[0]
    train, test, how = _sides(data)
    place = evaluation_folder(main.path, videos, split=split)
    folder = place / "analysis"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    subject = Subject(main, method, data, train, test, folder, device, seed, projection)
    about = {"steps": steps, "videos": str(data.catalog.root), "tested on": how, "test videos": len(test), "seed": seed}
    if known := trained_on(main.path, as_files(data).videos(test), data.catalog.root):
        about["trained on"] = known
        say(f"The run was trained on {known} of these {len(test)} videos: the results are better than on unseen ones.")
    results = _earlier(folder / "results.json", about)
    for part in PARTS:
        if part in parts:
            _one(subject, part, results)
            write_whole(folder / "results.json", json.dumps(_rounded(results), indent=2, ensure_ascii=False) + "\n")
    keep_list(data.catalog, main.path, place)
    if place == main.path and main.finished is not None:
        report([main.path], command=f"cacl analyse {quoted(main.path)}")
    return results


def _one(subject: Subject, part: Part, results: dict[str, Any]) -> None:
    """Do one part, or note in one line why not."""
    for name in (part, *(tasks_of(results) if part == "tasks" else ())):
        results.pop(name, None)
    results["left out"].pop(part, None)
    why = why_not(part, subject)
    if why is None:
        say(f"Analysis: {part} …")
        found = PARTS[part](subject)
        results.update(found if part == "tasks" else {part: found})
    else:
        results["left out"][part] = why
        say(f"Left out: {part}, {why}.")


def _sides(data: Dataset) -> tuple[list[int], list[int], str]:
    """Numbers of the videos that probes learn from, of those that are looked at, and what the latter are."""
    if data.has_test:
        return data.numbers("train"), data.numbers(data.test_part), f"the {data.test_part} part"
    every = data.numbers(None)
    test = every[SET_APART - 1 :: SET_APART]
    if not test:
        return [], every, "all videos"
    say(f"{data.catalog.root} has no test part: every fifth video is set apart ({len(test)} of {len(every)}).")
    return [i for i in every if i not in set(test)], test, "every fifth video"


def _earlier(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Results of other parts that were made of the same weights, videos and seed."""
    fresh: dict[str, Any] = {"about": about, "left out": {}}
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return fresh
    return found if found.get("about") == about and "left out" in found else fresh


def _rounded(value: Any) -> Any:
    """Five decimals, and null for what is not finite."""
    if isinstance(value, dict):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return round(value, 5) if np.isfinite(value) else None
    return value
