"""Episodes of an unpacked LeRobot data set (version 3) as vectors, written beside it; and those unlike their task.

    python examples/lerobot_episodes.py runs/mine lerobot/pusht --out pusht

It reads and writes the format itself: neither ``lerobot`` nor its PyTorch is needed, ``cacl[lerobot]`` is.
``pusht/episodes.parquet`` has ``episode_index``, ``camera``, ``vector``, ``task`` and ``likeness``: the mean cosine
with the other episodes of the same task.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

import cacl


def episodes(root: Path) -> list[dict[str, Any]]:
    """The rows of ``meta/episodes``, without their statistics."""
    rows: list[dict[str, Any]] = []
    for file in sorted((root / "meta" / "episodes").rglob("*.parquet")):
        names = [n for n in parquet.read_schema(file).names if n.startswith(("episode_index", "tasks", "videos/"))]
        rows += parquet.read_table(file, columns=names).to_pylist()
    return rows


def vectors(root: Path, found: cacl.Embedding) -> list[dict[str, Any]]:
    """A row an episode and camera: the mean of the unit vectors of the segments that lie in it."""
    info = json.loads((root / "meta" / "info.json").read_text(encoding="utf-8"))
    cameras = [name for name, about in info["features"].items() if about["dtype"] == "video"]
    segments = found.segments
    path_S, middle_S = np.array(segments.path), (segments.start_s + segments.end_s) / 2
    rows = []
    for episode in episodes(root):
        for camera in cameras:
            at = {key: episode[f"videos/{camera}/{key}"] for key in ("chunk_index", "file_index")}
            file = info["video_path"].format(video_key=camera, **at)
            start, end = (episode[f"videos/{camera}/{key}_timestamp"] for key in ("from", "to"))
            inside_S = (path_S == file) & (middle_S >= start) & (middle_S < end)
            if not inside_S.any():
                continue  # it could not be read: see videos.csv
            unit_SD = found.vectors[inside_S]
            vector_D = (unit_SD / np.linalg.norm(unit_SD, axis=1, keepdims=True)).mean(axis=0)
            rows.append({"episode_index": episode["episode_index"], "camera": camera, "vector": vector_D,
                         "task": str(episode["tasks"])})  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run folder or an encoder folder")
    parser.add_argument("dataset", type=Path, help="an unpacked data set, with meta/ and videos/")
    parser.add_argument("--out", type=Path, required=True, help="a folder to make")
    arguments = parser.parse_args()

    found = cacl.embed(arguments.dataset, model=arguments.run, out=arguments.out / "vectors")
    rows = vectors(arguments.dataset, found)
    for row in rows:
        kind = (row["task"], row["camera"])
        others = [other["vector"] for other in rows if (other["task"], other["camera"]) == kind and other is not row]
        unit = [v / np.linalg.norm(v) for v in [row["vector"], *others]]
        row["likeness"] = float(np.mean([unit[0] @ v for v in unit[1:]])) if others else None
    parquet.write_table(pa.Table.from_pylist(rows), arguments.out / "episodes.parquet")
    for row in sorted((row for row in rows if row["likeness"] is not None), key=lambda row: row["likeness"])[:5]:
        print(f"{row['likeness']:.3f}  episode {row['episode_index']}, {row['camera']}: {row['task']}")


if __name__ == "__main__":
    main()
