"""The parts of an embedding that is being made, and the folder that they become.

Each part holds the vectors of some neighbouring videos of the catalog, written whole as soon as they are there.
"""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cacl.data.videos.catalog import Catalog, Skipped, Video
from cacl.data.videos.dataset import Dataset
from cacl.errors import UserError
from cacl.evaluation.embedding import ABOUT, SEGMENTS, VECTORS
from cacl.evaluation.video_vectors import VideoVectors, video_spans
from cacl.files import whole, write_whole, writing
from cacl.models.encoder import ClipSpec
from cacl.models.segments import Segment, segment_windows

PART = 4096  # vectors, or those of one long video: what a kill can cost
PARTS = "parts"


def part_bounds(videos: Sequence[Video], clip: ClipSpec, step: int | None) -> Iterator[tuple[int, int]]:
    """First and stop of the videos of each part; they depend on nothing but the videos."""
    first = count = 0
    for i, video in enumerate(videos):
        count += len(segment_windows(video.frames, frames=clip.frames, stride=clip.stride, step=step)[0])
        if count >= PART or i + 1 == len(videos):
            yield first, i + 1
            first, count = i + 1, 0


def part_path(out: Path, first: int) -> Path:
    """Where the part lies that begins with video ``first``."""
    return out / PARTS / f"{first:09d}.npz"


def keep_catalog(out: Path, catalog: Catalog) -> None:
    """Parts that are there belong to the same videos. Raises UserError where they do not."""
    path = out / PARTS / "videos.csv"
    if path.exists():
        if Catalog.read_csv(path, root=catalog.root) != catalog:
            raise UserError(f"The videos have changed since {out} was begun: remove it, or choose another --out.")
        return
    with writing(path):
        path.parent.mkdir(exist_ok=True)
    catalog.write_csv(path)


def write_part(
    path: Path,
    found: Sequence[VideoVectors],
    skipped: dict[int, str],
    data: Dataset,
    first: int,
    *,
    timed: bool,
) -> None:
    """Write the vectors of some videos, whole or not at all.

    Args:
        found: from ``video_vectors``; their numbers count from ``first``, as those of ``skipped`` do.
        timed: ask the files when their frames appear.

    Raises:
        UserError: it cannot be written.
    """
    columns: dict[str, list[NDArray[Any]]] = {}
    for one in found:
        frames_S2, seconds_S2 = video_spans(data, first + one.number, one.segments, timed=timed)
        rows = {"video": np.full(len(frames_S2), first + one.number), "frames": frames_S2}
        for name, values in {**rows, "seconds": seconds_S2, "vectors": one.segments.vector}.items():
            columns.setdefault(name, []).append(values)
    notes = {
        "skipped": {first + number: reason for number, reason in skipped.items()},
        "broken": {first + one.number: one.problem for one in found if one.problem},
    }
    arrays: dict[str, Any] = {name: np.concatenate(values) for name, values in columns.items()}
    with whole(path) as partial, partial.open("wb") as file:
        np.savez(file, notes=np.array(json.dumps(notes)), **arrays)


def read_part(path: Path) -> dict[str, Any] | None:
    """A part, or None where it is not there or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found: dict[str, Any] = {name: file[name] for name in file.files}
        found["notes"] = json.loads(str(found["notes"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return found


def finish(out: Path, catalog: Catalog, about: dict[str, Any]) -> None:
    """From the parts to the files of the folder, each written whole, ``embedding.json`` last.

    Raises:
        UserError: no video could be read, or a file cannot be written.
    """
    paths = sorted((out / PARTS).glob("*.npz"))
    videos, skipped, rows, width = list(catalog.videos), dict[int, str](), 0, 0
    for part in map(_needed, paths):
        skipped |= {int(position): reason for position, reason in part["notes"]["skipped"].items()}
        for position, problem in part["notes"]["broken"].items():
            at = int(position)
            videos[at] = replace(videos[at], note=f"used up to its break ({problem})")
        if "vectors" in part:
            rows, width = rows + len(part["vectors"]), part["vectors"].shape[1]
    if not rows:
        first = min(skipped)
        raise UserError(
            f"None of {len(videos)} videos could be read; the first, {videos[first].path}: {skipped[first]}. "
            "Run `cacl check --deep` on the folder."
        )
    with whole(out / VECTORS) as partial, partial.open("wb") as file:
        shape = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
        np.lib.format.write_array_header_1_0(file, shape)
        for part in map(_needed, paths):
            file.write(np.ascontiguousarray(part["vectors"], "<f4").data if "vectors" in part else b"")
    _write_segments(out / SEGMENTS, paths, videos)
    used = tuple(video for i, video in enumerate(videos) if i not in skipped)
    unread = tuple(Skipped(videos[i].path, reason) for i, reason in skipped.items())
    Catalog(catalog.root, used, (*catalog.skipped, *unread)).write_csv(out / "videos.csv")
    counts = {"used": len(used), "segments": rows, "features": width}
    write_whole(out / ABOUT, json.dumps({**about, **counts, "finished": True}, indent=2) + "\n")
    shutil.rmtree(out / PARTS, ignore_errors=True)


def _write_segments(path: Path, paths: Sequence[Path], videos: Sequence[Video]) -> None:
    with (
        whole(path) as partial,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(Segment._fields)
        for part in map(_needed, paths):
            columns = (part[name].tolist() for name in ("video", "seconds", "frames") if name in part)
            for number, (start, end), (first, stop) in zip(*columns, strict=True):
                writer.writerow([videos[number].path, round(start, 6), round(end, 6), first, stop - first])


def _needed(path: Path) -> dict[str, Any]:
    if (part := read_part(path)) is None:
        raise UserError(f"{path} was damaged meanwhile: give the command again, it is computed anew.")
    return part
