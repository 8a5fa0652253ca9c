"""What an index is made of: the folder, the encoder, the step, the precision; kept with it, and never changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cacl.errors import UserError
from cacl.files import read_object, write_whole, writing
from cacl.indexing.layout import FORMAT, PARTS, POINTER, SHARDS
from cacl.lock import FolderLock, InUse

BEGINNING = f".*{POINTER}.*.partial"  # what a process leaves that is killed while it writes the first pointer
_WORDS = {"step": "--step", "precision": "--precision"}


@dataclass(frozen=True)
class Request:
    """What the vectors depend on, beside the content of the videos.

    Attributes:
        step: frames from one window to the next, ``None``: a whole window.
        precision: ``float32``, ``bfloat16`` or ``float16``.
        weights: SHA-256 of the encoder's.
        encoder: its description, as in its ``config.json``.
    """

    step: int | None
    precision: str
    weights: str
    encoder: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """32 hexadecimal digits; of another request others."""
        facts = json.dumps([self.step, self.precision, self.weights, self.encoder], sort_keys=True)
        return hashlib.blake2b(facts.encode(), digest_size=16).hexdigest()

    def facts(self) -> dict[str, Any]:
        """For a JSON file."""
        return {"step": self.step, "precision": self.precision, "weights": self.weights, "encoder": self.encoder}


def read_pointer(index: Path) -> dict[str, Any]:
    """What ``index.json`` says: ``videos``, ``root``, ``whiten``, ``generation`` (None where there is none yet) and
    what the vectors depend on; empty where there is no index.

    Raises:
        UserError: it is damaged, or of a later version.
    """
    if not (index / POINTER).exists():
        return {}
    found = read_object(index / POINTER)
    if not found or not {"videos", "root", "weights", "encoder", "precision"} <= found.keys():
        raise UserError(f"{index / POINTER} is damaged: remove the index and make it anew with cacl index.")
    if found.get("format") != FORMAT:
        raise UserError(f"{index} was made by another version of cacl (format {found.get('format')}).")
    return found


def begin(index: Path, pointer: Mapping[str, Any]) -> dict[str, Any]:
    """Write the first ``index.json``, of no generation; of several processes the first one's counts for all.

    One by which nothing was begun, as a kill leaves it, binds nobody and is replaced, unless its writer is at work.

    Returns:
        What it says now.

    Raises:
        UserError: it cannot be written.
    """
    with writing(index):
        index.mkdir(parents=True, exist_ok=True)
    own = index / f".{POINTER}.{os.getpid()}.partial"
    try:
        write_whole(own, _text(pointer))
        with writing(index / POINTER):
            try:
                os.link(own, index / POINTER)
            except FileExistsError:
                pass
            except OSError:  # a disk without links
                os.replace(own, index / POINTER)
    finally:
        own.unlink(missing_ok=True)
    found = read_pointer(index)
    if found and found != {"format": FORMAT, **pointer} and not is_begun(index, found):
        with suppress(InUse), FolderLock(index):
            if not is_begun(index, read_pointer(index)):
                write_pointer(index, pointer)
    return read_pointer(index)


def is_begun(index: Path, pointer: Mapping[str, Any]) -> bool:
    """Whether anything was made, or is kept of a run or a share, by what ``index.json`` says."""
    return pointer.get("generation") is not None or (index / PARTS).exists() or (index / SHARDS).exists()


def write_pointer(index: Path, pointer: Mapping[str, Any]) -> None:
    """Make another state the one that counts. Raises UserError."""
    write_whole(index / POINTER, _text(pointer))


def check_same(index: Path, pointer: Mapping[str, Any], request: Request) -> None:
    """Raise UserError where an index was made by something else; nothing of it is given up."""
    if pointer["weights"] != request.weights or pointer["encoder"] != request.encoder:
        raise UserError(
            f"{index} was made with another encoder (weights {pointer['weights'][:8]}, these are "
            f"{request.weights[:8]}): leave out --model to go on with its own, or choose another --out."
        )
    for name, word in _WORDS.items():
        if pointer[name] != getattr(request, name):
            was = "not given" if pointer[name] is None else pointer[name]
            raise UserError(
                f"{index} was made with {word} {was}, now it is {getattr(request, name)}: leave it out, or choose "
                "another --out."
            )


def _text(pointer: Mapping[str, Any]) -> str:
    return json.dumps({"format": FORMAT, **pointer}, indent=2) + "\n"
