"""Find the videos of a folder that are most like one video, or a part of one, with the encoder of a run.

    python examples/search_my_folder.py runs/mine videos/ query.mp4
    python examples/search_my_folder.py runs/mine videos/ query.mp4@12.5-15

The first time an index is made beside the folder; later only new and changed videos are decoded. Prints a line for each
hit: score, the seconds of the match, the file, and what the score means.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cacl


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run folder or an encoder folder")
    parser.add_argument("videos", type=Path, help="the folder to search")
    parser.add_argument("query", help="a video file, or a part of one: FILE@START-END")
    parser.add_argument("-k", type=int, default=10, help="how many hits")
    arguments = parser.parse_args()

    out = arguments.videos.resolve().with_name(arguments.videos.resolve().name + ".index")
    cacl.index(arguments.videos, model=arguments.run, out=out)
    with cacl.Index(out) as index:
        for hit in index.search(arguments.query, k=arguments.k):
            print(f"{hit.score:.3f}  {hit.start_s:6.1f} - {hit.end_s:5.1f} s  {hit.path}  {hit.words}")


if __name__ == "__main__":
    main()
