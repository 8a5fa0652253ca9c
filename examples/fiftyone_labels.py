"""Labels that were given in FiftyOne, as the ``labels.csv`` of an index: a class a video.

    python examples/fiftyone_labels.py my-videos videos/ --field ground_truth --out labels.csv
    cacl finetune mine.index --labels labels.csv --linear

Needs ``pip install fiftyone`` (a gigabyte, with a database of its own).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import fiftyone as fo


def labels(dataset: fo.Dataset, folder: Path, field: str) -> list[tuple[str, str]]:
    """Path below the folder and class of every sample that has one there; samples elsewhere are left out."""
    found, below = [], folder.resolve()
    for sample in dataset.exists(field):
        path = Path(sample.filepath)
        if path.is_relative_to(below):
            found.append((path.relative_to(below).as_posix(), sample[field].label))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the data set in FiftyOne")
    parser.add_argument("videos", type=Path, help="the folder that was indexed")
    parser.add_argument("--field", default="ground_truth", help="a classification of the samples")
    parser.add_argument("--out", type=Path, default=Path("labels.csv"))
    arguments = parser.parse_args()

    found = labels(fo.load_dataset(arguments.name), arguments.videos, arguments.field)
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label"), *found])
    print(f"{len(found)} labels in {arguments.out}")


if __name__ == "__main__":
    main()
