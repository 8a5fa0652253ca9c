"""``cacl embed``: a vector for every stretch of every video of a folder, written to disk as it is computed.

Parts of some thousand vectors are kept as soon as they are there; a command that was stopped goes on behind the last
one. The folder is finished when ``embedding.json`` says so, and never changed afterwards.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cacl.data.remote.place import place
from cacl.data.videos.dataset import Dataset, open_videos
from cacl.data.videos.resampled import as_files, resampled
from cacl.data.videos.sources import is_store
from cacl.errors import UserError
from cacl.evaluation.embedding import ABOUT, FORMAT, POINTER, Embedding
from cacl.evaluation.video_vectors import embedding_precision, video_vectors
from cacl.experiments.embed_parts import PARTS, finish, keep_catalog, part_bounds, part_path, read_part, write_part
from cacl.files import partial_name, read_object, write_whole, writing
from cacl.lock import NAME as LOCK
from cacl.lock import FolderLock, taken_back
from cacl.machine.device import choose_device
from cacl.machine.load import free_threads
from cacl.machine.precision import PrecisionName
from cacl.models.clip_encoder import ClipEncoder
from cacl.models.load import load_encoder

Watch = Callable[[str, int, int], None]

_BEGUN = {LOCK, PARTS, partial_name(ABOUT)}  # what a process leaves that was killed as it began


def embed(
    videos: str | Path,
    *,
    model: str | Path,
    out: str | Path,
    step: int | None = None,
    rate: float = 0.0,
    device: str = "auto",
    precision: PrecisionName = "auto",
    say: Callable[[str], None] = lambda text: None,
    progress: Watch = lambda what, done, total: None,
) -> Embedding:
    """The vectors of consecutive windows of every video, as ``Encoder.embed_video`` gives them of one.

    The same call again goes on where it was stopped, and returns a finished embedding as it is.

    Args:
        videos: a folder (any tree), one file, a list file, ``videos.csv``, a store, or an address.
        model: a run, or an encoder folder.
        out: a folder, new or empty.
        step: frames from one window to the next; ``None``: one window after the other, each of ``frames * stride``.
        rate: frames a second of pictures in folders, where no list says it; 0: unknown, seconds are then NaN.
        device: ``auto``, ``cpu``, ``mps``, ``cuda``, ``cuda:N``.
        precision: ``auto`` (16 bits where they are faster and right), ``float32``, ``bfloat16`` or ``float16``.
        say: told what is done.
        progress: called with what is done, how much of it and of how much; may raise to end it.

    Raises:
        UserError: no encoder, no video that can be read, ``out`` holds something else or an embedding of something
            else, or it cannot be written.
    """
    if step is not None and step < 1:
        raise UserError(f"--step is {step}; it must be 1 or more.")
    videos, out = place(videos), Path(out)
    _check_free(out)
    device, _ = choose_device(device)
    encoder = load_encoder(model).to(device)
    clip = encoder.clip
    before = read_object(out / ABOUT)
    if precision == "auto":  # what was begun goes on as it was begun
        precision = before.get("precision", precision)
    dtype, why = embedding_precision(precision, encoder, device)
    about = _about(encoder, videos, step, dtype)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    with FolderLock(out), taken_back(out):
        before = read_object(out / ABOUT)
        _check_same(out, before, about)
        if before.get("finished"):
            say(f"{out} is finished already.")
            return Embedding(out)
        with free_threads(say):
            say(f"On {device} in {about['precision']} ({why.rstrip('.')}).")
            data = open_videos(
                videos,
                resize=clip.resize,
                rules=clip.rules,
                blank=clip.blank,
                rate=rate,
                encoder=True,
                progress=progress,
            )
            data = resampled(data, clip.frame_rate, say=say)
            write_whole(out / ABOUT, json.dumps({**about, "finished": False}, indent=2) + "\n")
            keep_catalog(out, as_files(data).catalog)
            computed = _compute_parts(out, encoder, data, step, dtype, timed=not is_store(videos), progress=progress)
            if computed.videos:
                say(str(computed))
            finish(out, as_files(data).catalog, about)
    return Embedding(out)


@dataclass
class _Computed:
    """What this call did, and how fast."""

    videos: int = 0
    hours: float = 0.0  # of video
    seconds: float = 0.0

    def __str__(self) -> str:
        rate = 60 * self.hours / self.seconds if self.seconds else 0.0
        return f"{60 * self.hours:.1f} minutes of video in {self.seconds:.0f} s: {rate:.1f} hours of video a minute."


def _compute_parts(
    out: Path,
    encoder: ClipEncoder,
    data: Dataset,
    step: int | None,
    dtype: torch.dtype | None,
    *,
    timed: bool,
    progress: Watch,
) -> _Computed:
    """Write every part that is not there yet."""
    computed, began, total = _Computed(), time.monotonic(), len(data.catalog.videos)
    for first, stop in part_bounds(data.catalog.videos, encoder.clip, step):
        path = part_path(out, first)
        if read_part(path) is None:
            numbers, skipped = list(range(first, stop)), dict[int, str]()
            videos = data.videos(numbers)

            def watch(done: int, first: int = first) -> None:
                progress("videos embedded", first + done, total)

            found = video_vectors(
                encoder,
                data.subset(numbers),
                skipped=skipped,
                step=step,
                autocast_dtype=dtype,
                progress=watch,
            )
            write_part(path, list(found), skipped, data, first, timed=timed)
            good = [video for number, video in zip(numbers, videos, strict=True) if number - first not in skipped]
            computed.videos += len(good)
            computed.hours += sum(video.frames / video.fps for video in good if video.fps > 0) / 3600
        progress("videos embedded", stop, total)
    computed.seconds = time.monotonic() - began
    return computed


def _about(encoder: ClipEncoder, videos: Path, step: int | None, dtype: torch.dtype | None) -> dict[str, Any]:
    """What the vectors depend on, beside the content of the videos."""
    return {
        "format": FORMAT,
        "videos": str(videos.absolute()),
        "step": step,
        "precision": "float32" if dtype is None else str(dtype).removeprefix("torch."),
        "weights": encoder.digest(),
        "encoder": json.loads(json.dumps(encoder.config)),
    }


def _check_free(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; choose another --out.")
    if (out / POINTER).is_file():
        raise UserError(f"{out} is an index: bring it up to date with cacl index, or choose another --out.")
    if out.is_dir() and not (out / ABOUT).exists() and {file.name for file in out.iterdir()} - _BEGUN:
        raise UserError(f"{out} is not empty, and no embedding; choose another --out.")


def _check_same(out: Path, before: dict[str, Any], about: dict[str, Any]) -> None:
    """Raise UserError where the folder was begun with something else."""
    moved = not place(str(before.get("videos"))).exists()  # keep_catalog says whether they are the same
    changed = [
        f"{key} was {before.get(key)}, is {value}"
        for key, value in about.items()
        if before.get(key) != value and key not in ("weights", "encoder") and not (key == "videos" and moved)
    ]
    if before.get("weights") != about["weights"]:
        changed.append("by another encoder")
    if before and changed:
        raise UserError(f"{out} is an embedding of something else ({'; '.join(changed)}): choose another --out.")
