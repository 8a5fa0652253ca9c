"""What ``cacl classify`` and ``cacl embed`` found, as samples of FiftyOne: a class a video, and its stretches in time.

    cacl classify runs/told videos/ --out table.json
    cacl embed videos/ --model runs/told --out vectors/told
    python examples/fiftyone_predictions.py videos/ table.json vectors/told --name my-videos

Needs ``pip install fiftyone`` (a gigabyte, with a database of its own).
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import fiftyone as fo

import cacl


def samples(folder: Path, table: Path, vectors: Path) -> list[fo.Sample]:
    """A sample a video: ``prediction``, ``vector`` (the mean over the video) and ``segments`` (frames from 1)."""
    found = cacl.Embedding(vectors)
    rows = defaultdict(list)
    for row, segment in enumerate(found.segments):
        rows[segment.path].append((row, segment))
    made = []
    for video in json.loads(table.read_text(encoding="utf-8"))["videos"]:
        best, own = video["predictions"][0], rows[video["path"]]
        sample = fo.Sample(filepath=str((folder / video["path"]).resolve()))
        sample["prediction"] = fo.Classification(label=best["class"], confidence=best["probability"])
        sample["segments"] = fo.TemporalDetections(
            detections=[
                fo.TemporalDetection(label=f"row {row}", support=[s.first_frame + 1, s.first_frame + s.frames])
                for row, s in own
            ]
        )
        if own:
            sample["vector"] = found.vectors[[row for row, _ in own]].mean(axis=0)
        made.append(sample)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, help="the folder that was classified")
    parser.add_argument("table", type=Path, help="the table, as .json")
    parser.add_argument("vectors", type=Path, help="the embedding folder")
    parser.add_argument("--name", default="cacl", help="of the data set in FiftyOne")
    arguments = parser.parse_args()

    dataset = fo.Dataset(arguments.name, persistent=True)
    dataset.add_samples(samples(arguments.videos, arguments.table, arguments.vectors))
    print(dataset)


if __name__ == "__main__":
    main()
