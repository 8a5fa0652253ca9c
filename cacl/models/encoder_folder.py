"""The encoder folder on disk: ``config.json``, ``model.safetensors`` and a model card, replaced as one.

A folder is written beside its place, forced to the disk and only then renamed, so that a kill or a full disk at any
moment leaves the old encoder or the new one. Nothing in it can run code when it is loaded.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from cacl.errors import UserError, quoted
from cacl.files import sync_folder, write_synced
from cacl.run_folder import go_on, how_to_mend, is_run, verb_of

VERSION = 1
Kind = Literal["encoder", "classifier", "classes"]
_WHAT = {"encoder": "a cacl encoder", "classifier": "a cacl classifier", "classes": "classes of an index"}
_GIVE = {
    "encoder": "give a run folder or an encoder folder",
    "classifier": "give a run folder or a classifier folder",
    "classes": "learn them with cacl finetune INDEX --linear",
}


def write_encoder_folder(
    folder: str | Path,
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    card: str,
    *,
    kind: Kind = "encoder",
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Write the three files, replacing an encoder that is already there once the new one is complete.

    Args:
        folder: made with its parents when missing.
        config: what ``config.json`` holds beside ``format`` and ``version``; plain JSON values.
        state: the network's weights.
        card: text of ``README.md``.
        kind: what it holds; a classifier is an encoder with a linear layer on top, ``"classes"`` the layer alone, on
            stored vectors.
        files: what else lies there, by its name, a folder's before a slash.

    Raises:
        UserError: ``folder`` holds something that is no encoder (classifier), or cannot be written.
    """
    folder = Path(folder).absolute()
    _recover(folder)
    if folder.exists() and not _may_be_replaced(folder, kind):
        raise UserError(f"{folder} exists and is no {kind} folder: choose another place, or move it away.")
    content = encoder_files(config, state, card, kind=kind, files=files)
    new, old = folder.with_name(f".{folder.name}.new"), _backup(folder)  # of a killed process: taken away below
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        for name, text in content.items():
            (new / name).parent.mkdir(exist_ok=True)
            write_synced(new / name, text)
        for place in {(new / name).parent for name in content} - {new}:
            sync_folder(place)
        sync_folder(new)
        # a folder that is not empty cannot be renamed over: between the two renames _recover finds the old one
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        sync_folder(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        with contextlib.suppress(OSError):
            _recover(folder)
        reason = error.strerror or error
        raise UserError(f"{folder} could not be written ({reason}): make room, or choose another place.") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def encoder_files(
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    card: str,
    *,
    kind: Kind = "encoder",
    files: Mapping[str, bytes] | None = None,
) -> dict[str, bytes]:
    """Everything that lies in a folder, by its name there; arguments as of ``write_encoder_folder``."""
    weights = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    return {
        **(files or {}),
        "model.safetensors": save(weights, metadata={"format": "pt"}),
        "README.md": card.encode(),
        "config.json": (json.dumps({"format": f"cacl {kind}", "version": VERSION, **config}, indent=2) + "\n").encode(),
    }


def read_encoder_folder(path: str | Path, *, kind: Kind = "encoder") -> tuple[Path, dict[str, Any], dict[str, Tensor]]:
    """The folder that holds the encoder, its ``config.json`` and its weights.

    Args:
        path: an encoder folder, or a run folder with one inside (``encoder/``).
        kind: ``"classifier"`` reads a classifier folder, or a run folder with ``classifier/``.

    Raises:
        UserError: nothing there, another kind of folder, or a damaged file.
    """
    path = Path(path)
    inside = path / kind
    # the backups last: they are there alone when a replacement was cut off between its two renames
    for folder in (inside, path, _backup(inside), _backup(path.absolute())):
        if (folder / "config.json").is_file():
            break
    else:
        if not path.exists():
            raise UserError(f"{path} does not exist: {_GIVE[kind]}.")
        raise UserError(_nothing(path, kind))
    return folder, _read_config(folder / "config.json", kind), _read_weights(folder / "model.safetensors")


def _nothing(path: Path, kind: Kind) -> str:
    """The sentence for a folder that holds no encoder or classifier, and what to do."""
    if kind == "classes":
        return f"{path} holds no classes of an index's stretches: {_GIVE[kind]}."
    if is_run(path) and kind == "classifier" and verb_of(path) == "pretrain":
        learn = f"cacl finetune LABELLED --model {quoted(path)}"
        return f"{path} holds no classifier, it was pretrained: make one with {learn}"
    if is_run(path) and kind == "encoder" and verb_of(path) == "finetune":
        return f"{path} holds no encoder but a classifier: give a pretrained run, or {path / 'start'}, where it began."
    if command := go_on(path):
        return f"{path} is not finished and has no {kind} yet; go on with it: {command}"
    return (
        f"{path} holds no {kind} (neither config.json nor {kind}/config.json): "
        f"{_GIVE[kind]}, whose training has saved one."
    )


def _read_config(file: Path, kind: Kind) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is damaged ({error}): {how_to_mend(file.parent)}.") from error
    found = config.get("format") if isinstance(config, dict) else None
    if found != f"cacl {kind}":
        raise UserError(f"{file} describes {found or 'something else'!r}, not {_WHAT[kind]}: {_GIVE[kind]}.")
    if config.get("version") != VERSION:
        raise UserError(
            f"{file} has format version {config.get('version')}, this cacl reads {VERSION}: install a cacl of its time."
        )
    return dict(config)


def _read_weights(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise UserError(f"{file} is missing: {how_to_mend(file.parent)}.")
    try:
        return dict(load_file(file))
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{file} is damaged ({error}): {how_to_mend(file.parent)}.") from error


def _may_be_replaced(folder: Path, kind: Kind) -> bool:
    if not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("format") == f"cacl {kind}"


def _backup(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _recover(folder: Path) -> None:
    """Finish or undo a replacement that was cut off."""
    folder = folder.absolute()
    old = _backup(folder)
    if not old.is_dir():
        return
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
    else:
        old.rename(folder)
