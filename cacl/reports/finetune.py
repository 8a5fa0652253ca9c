"""What a report says about a fine-tuning, read from its run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cacl.data.remote.place import place
from cacl.data.videos.catalog import Catalog, Skipped, root_of
from cacl.errors import quoted
from cacl.finetune_settings import load_finetune
from cacl.methods.classify import Classify
from cacl.reports.page import RunPage, Setting
from cacl.reports.run import setting_rows, video_counts
from cacl.run_folder import RunFolder, read_metrics


def finetune_page(path: Path, results: Mapping[str, Any] | None, *, command: str = "") -> RunPage:
    """Everything that the folder of a fine-tuning says.

    Args:
        path: the run folder.
        results: its ``results.json``, None where it is not finished.
        command: what makes the report.

    Raises:
        UserError: no such run.
    """
    run = RunFolder.open(path, verb="finetune")
    resolved, request = load_finetune(path), run.data
    settings = resolved.settings
    parts = [json.loads(file.read_text()) for file in sorted((path / "parts").glob("*/result.json"))]
    own = _largest(parts)
    facts = {"splits": ", ".join(map(str, request["splits"]))}
    if own:
        facts["videos"] = f"{own[0]['train videos']} train, {own[0]['test videos']} test"
    if steps := [part["steps"] for part in own if "steps" in part]:
        facts["steps"] = str(steps[0])
    warnings = list((results or {}).get("notes", []))
    if results is None:
        warnings.insert(
            0, f"The run is not finished: this is how far it is. Go on: cacl finetune --resume {quoted(path)}"
        )
    catalogs = _catalogs(path / "videos", root_of(place(request["videos"])))
    skipped = {item.path: item for catalog in catalogs for item in catalog.skipped}
    skipped |= {name: Skipped(name, why) for part in own for name, why in part.get("unreadable", {}).items()}
    what = "Linear probe on frozen features of" if request["linear"] else "Fine-tuning of"
    return RunPage(
        path.resolve().name,
        results or {},
        kind="finetune",
        lead=f"{what} {_model(path, request)}, preset {settings.preset}.",
        facts={**facts, "device": f"{settings.run.device}, {settings.run.precision}"},
        warnings=warnings,
        metrics=(metrics := _curves(path / "parts")),
        curves=dict.fromkeys(metrics, Classify.curves),
        confusion=_confusion(own),
        settings=[*_request(request), *setting_rows(resolved)],
        data=catalogs[0].summary() if catalogs else "",
        counts=video_counts(catalogs[0]) if catalogs else {},
        skipped=list(skipped.values()),
        command=command,
    )


def _request(request: Mapping[str, Any]) -> list[Setting]:
    """The request beside the settings, so that runs that differ in it can be told apart."""
    keys = ("videos", "lists", "model", "splits", "labels per class", "draws", "linear")
    values = {key: request.get(key) for key in keys}
    texts = {key: ", ".join(map(str, v)) if isinstance(v, list) else str(v) for key, v in values.items()}
    return [Setting(key, text, "command") for key, text in texts.items()]


def _model(path: Path, request: Mapping[str, Any]) -> str:
    """Where the weights came from, and the network."""
    try:
        network = json.loads((path / "start" / "config.json").read_text())["network"]
        words = f" ({network['name']} of width {network['width']})"
    except (OSError, ValueError, KeyError, TypeError):
        words = ""
    model, videos = str(request["model"]), place(request["videos"])
    named = Path(model).parent.name + "/" if Path(model).name in ("initial", "encoder", "classifier", "start") else ""
    start = "an untrained network" if model == "untrained" else f"{named}{Path(model).name}"
    return f"{start}{words} on {videos.parent.name}/{videos.name}"


def _largest(parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The finished parts with the most labels, their first draw, in the order of the splits."""
    if not parts:
        return []
    most = max((part["labels"] for part in parts), key=lambda labels: (labels == "all", _number(labels)))
    own = [part for part in parts if part["labels"] == most]
    first = min(part["draw"] for part in own)
    return sorted((part for part in own if part["draw"] == first), key=lambda part: int(part["split"]))


def _number(labels: str) -> int:
    return int(labels) if labels.isdigit() else 0


def _confusion(parts: Sequence[Mapping[str, Any]]) -> NDArray[np.int64] | None:
    """Summed over splits, as ``confusion.png`` is."""
    if not parts or any("confusion" not in part for part in parts):
        return None
    summed: NDArray[np.int64] = np.sum([np.array(part["confusion"], np.int64) for part in parts], axis=0)
    return summed


def _curves(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Curves of the trainings with the most labels; the few-label ones would be many and short."""
    files = {file.parent.name: file for file in sorted(folder.glob("*/metrics.jsonl"))}
    whole = {name: file for name, file in files.items() if name.endswith("-all")} or dict(list(files.items())[:1])
    return {name: [{**row, "kind": "train"} for row in read_metrics(file)] for name, file in whole.items()}


def _catalogs(folder: Path, root: Path) -> list[Catalog]:
    return [Catalog.read_csv(file, root=root) for file in sorted(folder.glob("split-*.csv"))]
