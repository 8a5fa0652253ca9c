"""``cacl info PATH``: what a folder or file is, for everything that cacl writes and the weights that it can import."""

from __future__ import annotations

import csv
import itertools
import json
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cacl.data.remote.place import RemotePath, place
from cacl.data.videos.catalog import Catalog
from cacl.data.videos.dataset import videos_at
from cacl.data.videos.sources import FrameStore, is_store
from cacl.data.videos.walk import why_no_video
from cacl.errors import UserError, quoted
from cacl.evaluation.embedding import ABOUT, POINTER, Embedding
from cacl.evaluation.results import tasks_of
from cacl.experiments.run_state import run_facts
from cacl.files import check_there, read_object
from cacl.models.exported import exported_config
from cacl.models.foreign import identify_network, read_foreign
from cacl.models.load import load_encoder
from cacl.models.weights import describe_frame_state, read_frame_state
from cacl.run_folder import how_to_mend

_PARENTS = 3  # so far up a part of something is looked for
_WEIGHTS = {".pt", ".pth", ".tar", ".bin", ".ckpt", ".safetensors"}
_SHOWN = 20  # entries of a list in the text


def info(path: str | Path) -> dict[str, Any]:
    """What a folder or file is. Changes nothing, runs no code from it, reads no more than it has to.

    Args:
        path: a run (its state: finished, running, stopped at step n of m, never begun), a folder of runs, an encoder,
            classifier or frame encoder folder, a frame store, an embedding, a checkpoint; ``videos.csv``,
            ``results.json``, a file of ``cacl export``, or weights that ``cacl import`` reads; any other file or
            folder inside one of these.

    Returns:
        ``path``, ``kind`` and, depending on the kind, facts under plain names; numbers, texts, lists and dictionaries
        of these alone, so that it is JSON as it stands.

    Raises:
        UserError: nothing there, nothing that is known, or it is damaged.
    """
    if isinstance(path := place(path), RemotePath):
        return {"path": str(path), **_store(videos_at(path))}
    check_there(path)
    try:
        facts = (_folder(path) or _folder_of_runs(path)) if path.is_dir() else _file(path)
        facts = facts or _part(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}).") from error
    if facts is None:
        known = "nothing that cacl writes, and no weights that it can import"
        if path.is_dir():
            raise UserError(f"{path} is {known}; if it holds videos: cacl check {quoted(path)}")
        if path.is_file() and not why_no_video(path):
            raise UserError(f"{path} is {known}; if it is a video: cacl check {quoted(path)}")
        raise UserError(f"{path} is {known}; name a run, an encoder, a store, a file in one of these, or weights.")
    return {"path": str(path), **facts}


def text(facts: Mapping[str, Any]) -> str:
    """The facts for reading: the path with its kind, then a line each."""
    first = f"{facts['path']}: {facts['kind']}" + (f", {facts['state']}" if "state" in facts else "")
    rest = {key: value for key, value in facts.items() if key not in ("path", "kind", "state")}
    width = max((len(key) for key in rest), default=0)
    return "\n".join([first, *(f"  {key:<{width}}  {_words(value)}" for key, value in rest.items())])


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        between = "; "
        parts = [f"{k} ({_words(v)})" if isinstance(v, Mapping) else f"{k} {_words(v)}" for k, v in value.items()]
    elif isinstance(value, (list, tuple)):
        between, parts = ", ", [_words(part) for part in value]
    else:
        return "none" if value is None else str(value)
    more = len(parts) - _SHOWN
    return between.join(parts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _folder(path: Path) -> dict[str, Any] | None:
    if (facts := run_facts(path)) is not None:
        return facts
    if (path / "config.json").is_file() and (facts := _encoder(path)) is not None:
        return facts
    if is_store(path):
        return _store(path)
    if (path / "request.json").is_file() and path.suffix == ".partial":
        return {"kind": "frame store", "state": "not complete", "go on": "give the same cacl prepare again"}
    if (path / ABOUT).is_file() or (path / POINTER).is_file():
        return _embedding(path)
    if (path / "manifest.json").is_file() and (path / "state.pt").is_file():
        return _checkpoint(path)
    return None


def _folder_of_runs(path: Path) -> dict[str, Any] | None:
    runs = {folder.name: found["state"] for folder in sorted(path.iterdir()) if (found := _run_in(folder)) is not None}
    if not runs:
        return None
    results = _results(path / "results.json") if (path / "results.json").is_file() else None
    return {"kind": "folder of runs", "runs": runs, **{k: v for k, v in (results or {}).items() if k != "kind"}}


def _run_in(folder: Path) -> dict[str, Any] | None:
    try:
        return run_facts(folder) if folder.is_dir() else None
    except (UserError, OSError):  # one that cannot be read says so when it is asked for by name
        return None


def _file(path: Path) -> dict[str, Any] | None:
    if path.suffix == ".csv":
        return _table(path)
    if path.suffix == ".json" and (facts := _results(path)) is not None:
        return facts
    if path.name == "state.pt" and (path.parent / "manifest.json").is_file():
        return _checkpoint(path.parent)
    # not to be taken for weights, or for weights without their clips
    known = path.name in ("frames.bin", "model.safetensors") and _part(path)
    return known or _weights(path)


def _part(path: Path) -> dict[str, Any] | None:
    """A file or folder inside something that is known."""
    for parent in itertools.islice(path.absolute().parents, _PARENTS):
        if (facts := _folder(parent)) is not None:
            article = "an" if facts["kind"][0] in "aeiou" else "a"
            return {
                "kind": f"part of {article} {facts['kind']}",
                "of": str(parent),
                "about it": f"cacl info {quoted(parent)}",
            }
    return None


def _store(path: Path) -> dict[str, Any]:
    store = FrameStore(path)
    size = f"{store.height}x{store.width} (height x width)"
    megabytes = round(store.size / 1e6, 1)
    facts: dict[str, Any] = {
        "kind": "frame store", "frame size": size, "stored as": store.kind, "megabytes": megabytes
    }  # fmt: skip
    if store.shares is not None:
        facts["shares"] = [str(folder) for folder in store.shares.folders]
    return facts | _catalog(store.catalog) | {"made of": str(store.catalog.root)}


def _embedding(path: Path) -> dict[str, Any]:
    verb = "index" if (path / POINTER).is_file() else "embed"
    about = read_object(path / (POINTER if verb == "index" else ABOUT))
    finished = about.get("generation") is not None if verb == "index" else about.get("finished")
    kind = "index" if verb == "index" else "embedding"
    facts = {"kind": kind, "state": "finished" if finished else "not complete"}
    if not finished:
        return {**facts, "go on": f"give the same cacl {verb} again", "videos": about.get("videos")}
    made = Embedding(path)
    return {
        **facts,
        "segments": len(made),
        "features": made.about["features"],
        "videos": f"{made.about['used']} of {made.about['videos']}",
        "encoder": f"{_network(about.get('encoder', {}))}, {made.about['precision']}",
    }


def _checkpoint(path: Path) -> dict[str, Any]:
    content = (path / "state.pt").read_bytes()
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        whole = len(content) == manifest["bytes"] and zlib.crc32(content) == manifest["crc32"]
        facts = {"kind": "checkpoint", "state": "whole" if whole else "damaged, so it is not used"}
        return {**facts, "step": int(manifest["step"]), "megabytes": round(len(content) / 1e6, 1)}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path / 'manifest.json'} is damaged ({error}): remove {path} to use an older one.") from error


def _table(path: Path) -> dict[str, Any] | None:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        columns = next(csv.reader(file), [])
        rows = sum(1 for row in csv.reader(file) if row)
    if "path" not in columns:
        return None
    if "class_1" in columns:
        return {"kind": "table of classes, of cacl classify", "rows": rows}
    if "status" in columns:
        return {"kind": "catalog of videos", **_catalog(Catalog.read_csv(path, root=path.parent))}
    return {"kind": "table of videos", "rows": rows, "columns": columns}


def _catalog(catalog: Catalog) -> dict[str, Any]:
    videos = catalog.videos
    seconds = sum(video.frames / video.fps for video in videos if video.fps > 0)
    facts: dict[str, Any] = {
        "videos": catalog.summary(),
        "frames": sum(video.frames for video in videos),
        "hours": round(seconds / 3600, 2),
        "labels": len(catalog.labels),
        "splits": dict(Counter(video.split for video in videos if video.split is not None)),
        "skipped because": catalog.reasons(),
    }
    return {key: value for key, value in facts.items() if value not in ({}, [])}


def _results(path: Path) -> dict[str, Any] | None:
    """R@1 of each row and the tasks; other protocols by name."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or "steps" in content:  # of finished.json
        return None
    tasks = tasks_of(content)
    if not tasks and not {"retrieval", "recognition"} & content.keys():
        return None
    facts: dict[str, Any] = {"kind": "results", "protocols": [key for key in content if isinstance(content[key], dict)]}
    rows = content.get("retrieval")
    if isinstance(rows, dict):
        facts["R@1 in %"] = {name: row.get("R@1") for name, row in rows.items() if isinstance(row, dict)}
    return facts | {f"{name} accuracy in %": task["accuracy"] for name, task in tasks.items()}


def _encoder(folder: Path) -> dict[str, Any] | None:
    """What a folder with ``config.json`` and weights holds; ``None`` where the file is not one of cacl's.

    Raises:
        UserError: an encoder that ``cacl.load`` would refuse.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{folder / 'config.json'} is damaged ({error}): {how_to_mend(folder)}.") from error
    kind = str(config.get("format", "")) if isinstance(config, dict) else ""
    if not kind.startswith("cacl "):
        return None
    if kind == "cacl encoder":
        encoder = load_encoder(folder)  # says what is wrong with it
        origin = {"imported from": config["imported_from"]} if "imported_from" in config else {}
        return {"kind": "encoder", **_described(config), "parameters": _parameters(encoder), **origin}
    plain = {key: value for key, value in config.items() if key not in ("format", "network", "clip")}
    facts: dict[str, Any] = {"kind": kind.removeprefix("cacl ")}
    facts |= {"network": _network(config)} if "network" in config else {}
    facts |= {"clip": config["clip"]} if "clip" in config else {}
    return facts | plain


def _weights(file: Path) -> dict[str, Any] | None:
    """What a file of weights holds; ``None`` where it is none that is known here.

    Raises:
        UserError: a file named like weights that cannot be read as tensors alone, or an ONNX file and no onnxruntime.
    """
    if file.suffix == ".pt2":
        return _exported("torch.export program", exported_config(file))
    if file.suffix == ".onnx":
        return _exported("ONNX file", exported_config(file))
    if file.suffix not in _WEIGHTS:
        return None
    if (config := exported_config(file)) is not None:
        return _exported("weights", config)
    try:
        found = read_foreign(file)
    except UserError as error:
        return _frame_weights(file, error)
    name, width = identify_network(found)
    return {
        "kind": "weights",
        "network": f"{name or 'a 3D CNN of unknown depth'} of width {width}",
        "names begin with": found.place or "nothing",
        "tensors": len(found.state),
        "beside them": f"{len(found.left_out)} other tensors",
        "to use it": f"cacl import {quoted(file)} --out ENCODER",
    }


def _frame_weights(file: Path, refusal: UserError) -> dict[str, Any]:
    """A network over single frames, or the sentence that was said of the file as a 3D CNN."""
    try:
        described = describe_frame_state(read_frame_state(file))
    except UserError:
        raise refusal from None
    return {
        "kind": "weights",
        "network": f"{described or 'a ResNet'} over single frames",
        "to use it": f"--set model.frame_weights={file}",
    }


def _exported(kind: str, config: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if config is None else {"kind": f"{kind} of cacl export", **_described(config)}


def _described(config: dict[str, Any]) -> dict[str, Any]:
    facts = {"network": _network(config), "features": config.get("num_features"), "clip": config.get("clip")}
    return {**facts, "cacl": config.get("cacl")}


def _network(config: dict[str, Any]) -> str:
    network = config.get("network")
    if config.get("kind") == "image":
        return f"{config['network']['name']}, frozen, from {config['source']} ({config['licence']})"
    if config.get("kind") == "fused":
        return f"{_network(config['own'])}, {config['weight']:g} times, beside {_network(config['image'])}"
    return f"{network.get('name')} of width {network.get('width')}" if isinstance(network, dict) else str(network)


def _parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
