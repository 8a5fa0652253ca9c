"""How alike copies, takes of one scene, and other videos move: what ``ALIKE`` of near copies rests on.

    python benchmarks/near_copies.py --videos ucf101-9/videos

Made videos, and those given. Copies are made of some (encoded anew, smaller, half the frames); takes of one scene are
known by their names (``v_CLASS_gNN_cNN``). Pairs are those that ``near_copies`` compares: of equal length, in which
something moves.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from copies import read, render, write_copy
from harness import header, table
from numpy.typing import NDArray

from cacl.data.media.encode import write_video
from cacl.data.videos.catalog import Skipped
from cacl.data.videos.dataset import Dataset, open_videos
from cacl.data.videos.recordings import recording
from cacl.data.videos.sources import FrameSource
from cacl.evaluation.reading import read_videos
from cacl.experiments.recognition.near_copies import ALIKE, LENGTH, grey_frames, moving_alike

COPIES = ("re-encoded", "scaled", "half the frames")
RESIZE = (64, 86)


def looks(data: Dataset) -> tuple[list[int], NDArray[np.float32]]:
    """Numbers of the videos that can be read, and their small grey frames ``[N, T, P]``."""

    def look(own: FrameSource, number: int) -> NDArray[np.float32]:
        return grey_frames(own, number, data.catalog.videos[number].frames)

    skipped: list[Skipped] = []
    found = dict(read_videos(data, look, skipped=skipped))
    return sorted(found), np.stack([found[number] for number in sorted(found)])


def between(data: Dataset) -> dict[str, NDArray[np.float64]]:
    """Correlations of every pair of equal length: takes of one scene, and others. Both may stand still: 0."""
    numbers, looks_NTP = looks(data)
    videos = [data.catalog.videos[number] for number in numbers]
    scenes = np.array([recording(video) for video in videos])
    seconds = np.array([video.frames / video.fps for video in videos])
    found: dict[str, list[NDArray[np.float64]]] = {"takes of one scene": [], "others": []}
    for i in range(len(numbers) - 1):
        same_length = np.abs(seconds[i + 1 :] - seconds[i]) <= LENGTH * seconds[i] + 0.1
        alike = moving_alike(looks_NTP[i], looks_NTP[i + 1 :])
        one_scene = scenes[i + 1 :] == scenes[i]
        found["takes of one scene"].append(alike[same_length & one_scene])
        found["others"].append(alike[same_length & ~one_scene])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def of_copies(folder: Path, originals: list[Path]) -> dict[str, NDArray[np.float64]]:
    """Correlation of each original with each of its copies."""
    for kind in COPIES:
        (folder / kind).mkdir(parents=True)
        for number, path in enumerate(originals):
            write_copy(folder / kind / f"{number:04}.mp4", kind, read(path)[0])
    own = [looks(open_videos(path, resize=RESIZE))[1][0] for path in originals]
    found = {}
    for kind in COPIES:
        numbers, looks_NTP = looks(open_videos(folder / kind, resize=RESIZE))
        pairs = zip(numbers, looks_NTP, strict=True)
        found[kind] = np.array([moving_alike(own[number], look_TP[None])[0] for number, look_TP in pairs])
    return found


def report(title: str, found: dict[str, NDArray[np.float64]]) -> None:
    """A row for each kind of pair; those in which nothing moves are counted apart."""
    rows: list[list[object]] = []
    for name, values in found.items():
        moving = values[values != 0]
        points = np.quantile(moving, (0, 0.5, 0.99, 1)) if len(moving) else np.full(4, np.nan)
        share = f"{np.count_nonzero(moving >= ALIKE)} of {len(moving)}"
        rows.append([name, len(values) - len(moving), *(f"{point:.3f}" for point in points), share])
    table(title, ("pairs", "still", "least", "median", "99 %", "most", f"≥ {ALIKE}"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--videos", type=Path, help="a folder of videos, beside the made ones")
    parser.add_argument("--copied", type=int, default=60, help="how many of them are copied")
    parser.add_argument("--quick", action="store_true", help="few videos: seconds, for the tests")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    header("Near copies", argparse.Namespace(cuda=False, seed=0, quick=chosen.quick), clock="no times")
    places, takes = (2, 2) if chosen.quick else (12, 8)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "made")
        made.mkdir()
        for place in range(places):
            for take in range(takes):
                file = made / f"v_Made_g{place:02}_c{take:02}.mp4"
                write_video(file, render(place, take, 2.0), options={"preset": "ultrafast"})
        sets = {"made videos": made} | ({"videos given": chosen.videos} if chosen.videos else {})
        for title, root in sets.items():
            data = open_videos(root, resize=RESIZE)
            paths = [data.catalog.file(video) for video in data.catalog.videos]
            some = paths[:: -(-len(paths) // (2 if chosen.quick else chosen.copied))]
            report(f"{title}, {len(paths)}", of_copies(Path(folder, title), some) | between(data))


if __name__ == "__main__":
    main()
