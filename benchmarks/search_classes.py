"""Does search find what retrieval promises? Of each test video whether the best training video found is of its class.

    cacl index ucf101-9/videos --model runs/nine --out nine.index
    python benchmarks/search_classes.py nine.index --lists ucf101-9/splits

Beside it the paper's protocol on the same vectors: the mean of a video's, cosine, R@1. Classes are the first folders.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import cacl
from cacl.evaluation.retrieval import nearest


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("--lists", type=Path, required=True, help="folder of UCF101's lists")
    parser.add_argument("--split", type=int, default=1)
    asked = parser.parse_args()
    with cacl.Index(asked.index) as index:
        train, test = (stems(asked.lists / f"{part}list{asked.split:02d}.txt") for part in ("train", "test"))
        there = {Path(video.path).stem: video for video in index.videos}
        gallery, queries = ([there[stem] for stem in sorted(part & there.keys())] for part in (train, test))
        means = [
            np.stack([index.vectors[v.first_row : v.first_row + v.rows].mean(axis=0) for v in part])
            for part in (queries, gallery)
        ]
        best = nearest(means[0], means[1], 1)[0][:, 0]
        right = [label(gallery[g].path) == label(q.path) for q, g in zip(queries, best, strict=True)]
        found = []
        for query in queries:
            hits = index.search(f"INDEX:{query.path}", k=len(index.videos))
            first = next((hit.path for hit in hits if Path(hit.path).stem in train), "")
            found.append(label(first) == label(query.path))
    print(f"{len(queries)} test videos against {len(gallery)}: R@1 of mean vectors {100 * np.mean(right):.1f},")
    print(f"search (best stretches, centred) {100 * np.mean(found):.1f}")


def stems(file: Path) -> set[str]:
    return {Path(line.split()[0]).stem for line in file.read_text().splitlines() if line.strip()}


def label(path: str) -> str:
    return Path(path).parts[0] if path else ""


if __name__ == "__main__":
    main()
