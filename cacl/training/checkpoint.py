"""Checkpoints that no crash can tear: written beside, synced, manifest last, renamed; the older one goes last.

A checkpoint is a folder ``step-00000420`` (``step-00000420-1`` where that one is there already) with ``state.pt``
(tensors and plain values only, read with ``weights_only=True``) and ``manifest.json`` (step, size and CRC of the
state, and what the training has cost). One that is not complete is ignored.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cacl.errors import UserError
from cacl.files import read_object, sync_folder
from cacl.models.state_file import refuse_bomb


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], *, cost: Mapping[str, float] | None = None) -> Path:
    """Write the state after ``step`` steps; older checkpoints are removed when this one is complete.

    Args:
        folder: ``checkpoints/`` of one stage; made when absent.
        step: steps done.
        state: nested dicts and lists of tensors, numbers and strings.
        cost: see ``Meter``.

    Raises:
        UserError: it cannot be written (disk full, no permission); older checkpoints stay as they were.
    """
    final = _free(folder, f"step-{step:08d}")
    partial = folder / f"partial-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("partial-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir()
        with (partial / "state.pt").open("wb") as file:
            torch.save(state, file)
            _sync(file.fileno())
        content = (partial / "state.pt").read_bytes()
        manifest: dict[str, Any] = {"format": 1, "step": step, "bytes": len(content), "crc32": zlib.crc32(content)}
        manifest |= {} if cost is None else {"cost": dict(cost)}
        with (partial / "manifest.json").open("w") as text:
            json.dump(manifest, text)
            text.flush()
            _sync(text.fileno())
        partial.rename(final)
        sync_folder(folder)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(
            f"{folder}: the checkpoint of step {step} could not be written ({error}); "
            "make room or check the folder, then resume: the last complete checkpoint is untouched."
        ) from error
    _remove_older(folder, final)
    return final


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint, or None."""
    for candidate in sorted(folder.glob("step-*"), reverse=True):
        if _complete(candidate):
            return candidate
    return None


def tidy_checkpoints(folder: Path) -> list[str]:
    """Keep the newest complete checkpoint alone: kills leave older ones and unfinished ones.

    Returns:
        Names of checkpoints that were damaged, and are removed with the rest.

    Raises:
        UserError: there are checkpoints, and none is whole: to begin anew is for the user to decide.
    """
    found = sorted(folder.glob("step-*"))
    whole = [path for path in found if _complete(path)]
    damaged = [path.name for path in found if path not in whole]
    if damaged and not whole:
        raise UserError(
            f"{folder}: no checkpoint is whole ({', '.join(damaged)}); put back a copy, or remove the folder to begin "
            "this stage anew."
        )
    if whole:
        _remove_older(folder, whole[-1])
    for leftover in folder.glob("partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    return damaged


def checkpoint_cost(path: Path) -> dict[str, float]:
    """What the training had cost until then; empty where that is not known."""
    cost = read_object(path / "manifest.json").get("cost")
    return cost if isinstance(cost, dict) else {}


def load_checkpoint(path: Path) -> tuple[int, dict[str, Any]]:
    """(steps done, state) of a complete checkpoint; nothing in the file is executed.

    Raises:
        UserError: it is not whole, or holds more than tensors and plain values.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        step = int(manifest["step"])
        refuse_bomb(path / "state.pt")
        state: dict[str, Any] = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path / 'state.pt'} holds more than tensors and plain values, so it is not one of our checkpoints and "
            "was not opened; remove it."
        ) from error
    except Exception as error:  # the unpickler fails in a dozen ways on damaged files
        raise UserError(f"{path}: the checkpoint cannot be read ({error}); remove it to use an older one.") from error
    return step, state


def _remove_older(folder: Path, kept: Path) -> None:
    for older in folder.glob("step-*"):
        if older != kept:
            shutil.rmtree(older, ignore_errors=True)


def _free(folder: Path, name: str) -> Path:
    """A name that is not taken: what is there stays whole until its successor is."""
    path, again = folder / name, 0
    while path.exists():
        again += 1
        path = folder / f"{name}-{again}"
    return path


def _complete(path: Path) -> bool:
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        content = (path / "state.pt").read_bytes()
        return bool(len(content) == manifest["bytes"] and zlib.crc32(content) == manifest["crc32"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)
