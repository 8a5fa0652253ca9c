"""LeRobot data sets, version 3: many episodes in one video file, told apart by seconds in Parquet files.

``meta/info.json`` says where videos lie and which episodes are of which part; ``meta/episodes/`` has a row an episode.
Version 2, with one file an episode, needs no Parquet: ``meta/episodes.jsonl``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cacl.data.videos.lists.entry import SPLIT_NAMES, Entry, Listing
from cacl.data.videos.lists.text import lines, read_json
from cacl.errors import UserError
from cacl.extras import install_extra

INFO = "meta/info.json"
_COLUMNS = ("episode_index", "tasks", "videos/")  # there are hundreds more, of statistics
_VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"


def is_lerobot(root: Path) -> bool:
    """Whether a folder is such a data set."""
    info = read_json(root / INFO) if (root / INFO).is_file() else None
    return isinstance(info, dict) and "codebase_version" in info and isinstance(info.get("features"), dict)


def lerobot_lists(root: Path) -> Listing:
    """An entry for every episode and camera; its labels are its tasks.

    Raises:
        UserError: pyarrow is not installed, or the episodes cannot be read.
    """
    info = read_json(root / INFO)
    cameras = [name for name, about in info["features"].items() if about.get("dtype") == "video"]
    old = (root / "meta" / "episodes.jsonl").is_file()
    episodes = _episodes_2(root) if old else _episodes_3(root)
    try:
        entries = [entry for row in episodes for entry in (_file_2 if old else _part_3)(info, row, cameras)]
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(f"{root / INFO}: the episodes cannot be read ({type(error).__name__}: {error}).") from error
    return Listing(tuple(entries), (root / INFO,), "in no episode", False)


def _part_3(info: dict[str, Any], row: dict[str, Any], cameras: list[str]) -> Iterator[Entry]:
    for camera in cameras:
        column = f"videos/{camera}/"
        name = str(info.get("video_path") or _VIDEO_PATH).format(
            video_key=camera, chunk_index=row[f"{column}chunk_index"], file_index=row[f"{column}file_index"]
        )
        start, end = float(row[f"{column}from_timestamp"]), float(row[f"{column}to_timestamp"])
        yield Entry(name, _tasks(row), _split(info, int(row["episode_index"])), start, end)


def _file_2(info: dict[str, Any], row: dict[str, Any], cameras: list[str]) -> Iterator[Entry]:
    number = int(row["episode_index"])
    for camera in cameras:
        name = str(info["video_path"]).format(
            video_key=camera, episode_chunk=number // int(info["chunks_size"]), episode_index=number
        )
        yield Entry(name, _tasks(row), _split(info, number))


def _tasks(row: dict[str, Any]) -> tuple[str, ...]:
    tasks = row.get("tasks") or []
    return tuple(dict.fromkeys(str(task) for task in ([tasks] if isinstance(tasks, str) else tasks)))


def _split(info: dict[str, Any], episode: int) -> str | None:
    """``{"train": "0:45", "test": "45:50"}``."""
    for name, span in (info.get("splits") or {}).items():
        first, _, stop = str(span).partition(":")
        if int(first or 0) <= episode < int(stop or 0):
            return str(SPLIT_NAMES.get(name, name))
    return None


def _episodes_2(root: Path) -> Iterator[dict[str, Any]]:
    for number, line in lines(root / "meta" / "episodes.jsonl"):
        try:
            yield dict(json.loads(line))
        except (ValueError, TypeError, RecursionError):
            raise UserError(f"{root}/meta/episodes.jsonl, line {number}: not a JSON object.") from None


def _episodes_3(root: Path) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UserError(
            f"{root / INFO}: the episodes of this LeRobot data set lie in Parquet files, and pyarrow cannot be "
            f"imported ({error}); install it ({install_extra('lerobot')})."
        ) from error
    files = sorted((root / "meta" / "episodes").rglob("*.parquet"))
    if not files:
        raise UserError(f"{root}/meta/episodes: no Parquet file with episodes there; get the whole meta folder.")
    for file in files:
        try:
            names = [name for name in parquet.read_schema(file).names if name.startswith(_COLUMNS)]
            yield from parquet.read_table(file, columns=names).to_pylist()
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{file}: cannot be read as Parquet ({error}).") from error
