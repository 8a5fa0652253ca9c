"""Find the videos of a folder that are most like one video, with the encoder of a run.

    python examples/search_my_folder.py runs/mine videos/ query.mp4

Prints a line for each hit: cosine similarity, the seconds of its most similar part, the file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import cacl
from cacl.data.videos.scan import scan
from cacl.errors import VideoError


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1, so that a product of two is their cosine."""
    scaled: np.ndarray = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return scaled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run folder or an encoder folder")
    parser.add_argument("videos", type=Path, help="the folder to search")
    parser.add_argument("query", help="a video file")
    parser.add_argument("-k", type=int, default=10, help="how many hits")
    arguments = parser.parse_args()

    encoder = cacl.load(arguments.run)
    query = unit(encoder.embed_video(arguments.query).vector.mean(axis=0))

    catalog = scan(arguments.videos)
    hits = []
    for path in sorted({video.path for video in catalog.videos}):
        try:
            segments = encoder.embed_video(catalog.root / path)
        except VideoError as error:
            print(f"skipped  {path}: {error.reason}", file=sys.stderr)
            continue
        similarity = unit(segments.vector.mean(axis=0)) @ query
        best = int((unit(segments.vector) @ query).argmax())
        hits.append((similarity, segments.start_s[best], segments.end_s[best], path))

    for similarity, start, end, path in sorted(hits, reverse=True)[: arguments.k]:
        print(f"{similarity:.3f}  {start:6.1f} - {end:5.1f} s  {path}")


if __name__ == "__main__":
    main()
