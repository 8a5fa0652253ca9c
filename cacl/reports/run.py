"""What a report says about a run, read from its folder; and ``report.html`` there, at its end and after an evaluation.

At the end of a run there is no retrieval yet; ``cacl evaluate`` adds it, ``cacl analyse`` the analysis.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from cacl.config import ResolvedOf
from cacl.data.videos.catalog import Catalog, Skipped
from cacl.errors import quoted
from cacl.evaluation.evaluate import Retrieval
from cacl.evaluation.results import write_results
from cacl.files import read_object, write_whole
from cacl.methods.curves import MOCO_CURVES, Curve
from cacl.reports.analysis import read_analysis
from cacl.reports.page import RunPage, Setting
from cacl.reports.previews import PreviewRow, preview_rows, rows_from_json, rows_to_json
from cacl.reports.tiles import TileRow
from cacl.reports.write import write_page
from cacl.run import Run
from cacl.run_folder import RunFolder

RETRIEVAL = "retrieval.json"


def write_run_report(
    run: Run,
    results: Mapping[str, Any],
    *,
    place: Path | None = None,
    finished: Mapping[str, Any],
    command: str = "",
) -> Path:
    """``results.json`` and ``report.html``.

    Args:
        run: the run.
        results: numbers in percent, ``retrieval`` and the tasks.
        place: the folder to write into, by default the run folder.
        finished: what ``finished.json`` says or will say.
        command: what made the report.

    Returns:
        Where the page is.
    """
    place = run.path if place is None else place
    path = place / "report.html"
    write_page(path, [run_page(run, results, place=place, finished=finished, command=command)])
    write_results(place / "results.json", results)
    return path


def run_page(
    run: Run,
    results: Mapping[str, Any],
    *,
    place: Path | None = None,
    finished: Mapping[str, Any] | None,
    command: str = "",
) -> RunPage:
    """Everything that the folder of a pretraining says.

    Args:
        run: the run, also one that is not finished.
        results: numbers in percent, ``retrieval`` and the tasks.
        place: the folder with what was retrieved, by default the run folder.
        finished: what ``finished.json`` says or will say, None where the run is not finished.
        command: what makes the report.
    """
    resolved, path = RunFolder(run.path).resolved, run.path
    settings, about = resolved.settings, finished or {}
    rows = run.metrics if (path / "metrics.jsonl").exists() else []
    train = [row for row in rows if row["kind"] == "train"]
    frames = [{**row, "kind": "train"} for row in rows if row["kind"] == "frames"]
    steps = about.get("steps", train[-1]["step"] if train else 0)
    measured = read_object((place or path) / RETRIEVAL) if results.get("retrieval") else {}
    analysis = read_analysis(path / "analysis", steps=int(steps))
    warnings = [*results.get("notes", []), *about.get("warnings", [])]
    if finished is None:
        warnings.insert(
            0, f"The run is not finished: this is how far it is. Go on: cacl pretrain --resume {quoted(path)}"
        )
    facts = {"steps": str(steps)}
    if measured:
        facts["videos"] = f"{measured.get('gallery')} train, {measured.get('queries')} {measured.get('part')}"
    catalog = _catalog(path / "videos.csv", run.path)
    drawn = {run.method: run, **_beside(measured)}
    broken = [Skipped(name, f"broke while training: {why}") for name, why in about.get("unreadable", {}).items()]
    missing = []
    if finished is not None and not measured:
        missing.append(("retrieval and neighbours of labelled videos", f"cacl evaluate {quoted(path)}"))
    if finished is not None and analysis is None:
        missing.append(("attention, pairs, features and temporal probes", f"cacl analyse {quoted(path)}"))
    return RunPage(
        path.resolve().name,
        results,
        lead=_verdict(results, about)
        + f"{settings.model.network} of width {settings.model.width}, preset {settings.preset}."
        + ("" if place in (None, path) else f" Here: on the videos of {measured.get('videos')}, not its own."),
        facts={**facts, "device": f"{settings.run.device}, {settings.run.precision}"},
        warnings=warnings,
        metrics={name: _train_rows(own) for name, own in drawn.items()} | ({"frame stage": frames} if frames else {}),
        curves={name: _curves(own) for name, own in drawn.items()} | {"frame stage": MOCO_CURVES},
        neighbours=_neighbours(measured),
        measured=_measured(measured),
        first_batch=_picture(path / "samples" / "first-batch.png"),
        analysis=analysis,
        settings=setting_rows(resolved),
        data="" if catalog is None else catalog.summary(),
        counts={} if catalog is None else video_counts(catalog),
        skipped=[*broken, *(() if catalog is None else catalog.skipped)],
        command=command,
        missing=missing,
        main=run.method,
    )


def _verdict(results: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """The verdict's sentence, of an evaluation where there is one, and a space."""
    found = results.get("verdict") or about.get("verdict") or {}
    return f"{found['sentence']} " if "sentence" in found else ""


def keep_retrieval(
    place: Path, retrieval: Retrieval, rows: Sequence[TileRow], *, videos: Path, beside: Mapping[str, Run]
) -> None:
    """Write ``retrieval.json``: what was measured on which videos, and the pictures of neighbours, for the page."""
    content = {
        "videos": str(videos),
        "part": retrieval.part,
        "queries": retrieval.queries,
        "gallery": retrieval.gallery,
        "beside": {name: str(other.path.resolve()) for name, other in beside.items()},
        "neighbours": rows_to_json(preview_rows(rows)),
    }
    write_whole(place / RETRIEVAL, json.dumps(content) + "\n")


def setting_rows(resolved: ResolvedOf[Any]) -> list[Setting]:
    """Every setting as ``a.b``, its value as YAML on one line, and its origin."""
    rows: list[Setting] = []

    def walk(tree: Mapping[str, Any], prefix: str) -> None:
        for name, value in tree.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{name}.")
            else:
                text = yaml.safe_dump(value, default_flow_style=True, width=10**9, allow_unicode=True)
                text = text.strip().removesuffix("...").strip()
                rows.append(Setting(f"{prefix}{name}", text, resolved.origins.get(f"{prefix}{name}", "")))

    walk(resolved.settings.model_dump(mode="json"), "")
    return rows


def video_counts(catalog: Catalog) -> dict[str, str]:
    """Videos of each part, classes, hours, and how many are used with a note."""
    videos = catalog.videos
    counts = {str(part): str(n) for part, n in Counter(v.split for v in videos if v.split is not None).items()}
    if catalog.labels:
        counts["classes"] = str(len(catalog.labels))
    seconds = sum(video.frames / video.fps for video in videos if video.fps > 0)
    if seconds:
        counts["length"] = f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
    if noted := sum(bool(video.note) for video in videos):
        counts["with a note in videos.csv"] = str(noted)
    return counts


def _catalog(file: Path, root: Path) -> Catalog | None:
    return Catalog.read_csv(file, root=root) if file.exists() else None


def _beside(measured: Mapping[str, Any]) -> dict[str, Run]:
    """The runs that the table was made with, where they are still there."""
    places = measured.get("beside", {}).items()
    return {str(name): Run(place) for name, place in places if (Path(place) / "config.yaml").is_file()}


def _train_rows(run: Run) -> list[dict[str, Any]]:
    rows = run.metrics if (run.path / "metrics.jsonl").exists() else []
    return [row for row in rows if row["kind"] == "train"]


def _curves(run: Run) -> Sequence[Curve]:
    """What the run's method logs."""
    return run.settings.method.curves(run.settings.data.frames)


def _neighbours(measured: Mapping[str, Any]) -> list[PreviewRow]:
    try:
        return rows_from_json(measured.get("neighbours", []))
    except (KeyError, TypeError, ValueError):  # of another version
        return []


def _measured(measured: Mapping[str, Any]) -> str:
    if not measured:
        return ""
    part = {"val": "validation"}.get(str(measured.get("part")), "test")
    return f"{measured.get('queries')} {part} videos query {measured.get('gallery')} of {measured.get('videos')}."


def _picture(path: Path) -> NDArray[np.uint8] | None:
    """A PNG as uint8 RGB ``[H, W, 3]``, or None where there is none."""
    if not path.exists():
        return None
    from matplotlib.image import imread

    image: NDArray[np.uint8] = (imread(path)[..., :3] * 255).round().astype(np.uint8)
    return image
