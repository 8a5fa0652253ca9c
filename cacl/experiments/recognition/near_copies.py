"""Test videos that are training videos once more: in another container, encoded anew, at another size or frame rate.

A copy lasts as long as its original, and the same moves in it at the same moments. What stands still is taken away
first: clips of one scene look alike, but do not move alike.

Shapes: N videos, T moments of a video, P pixels of a small grey frame.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cacl.data.videos.catalog import Skipped, Video
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.sources import FrameSource
from cacl.evaluation.reading import read_videos

MOMENTS = 8  # of a video that are compared
SIDE = 16  # pixels of the grey frames
LENGTH = 0.02  # by which the seconds of a copy may differ, as a share; and a tenth of a second
ALIKE = 0.95  # correlation of what moves: takes of one scene reach 0.93, others 0.51 (benchmarks/near_copies.py)
STILL = 2.0  # grey levels (root mean square): where less moves, a copy cannot be told from another take
MOST = 2000  # videos that are looked at: beyond it some test videos are left out


def near_copies(
    data: Dataset,
    train: Sequence[int],
    test: Sequence[int],
    *,
    progress: Callable[[int], None] | None = None,
) -> list[tuple[int, int]]:
    """Pairs (test video, training video) that show the same, by their numbers; at most one of each test video.

    Eight frames are read of each video that lasts as long as one on the other side, at most ``MOST`` videos.

    Args:
        data: all of the videos.
        train: numbers of the training videos.
        test: numbers of the test videos.
        progress: called with the number of videos looked at.
    """
    videos = data.catalog.videos
    mates = _lasting_as_long(videos, train, test)
    wanted = sorted({number for pair in mates.items() for number in (pair[0], *pair[1])})
    if not wanted:
        return []

    def read(own: FrameSource, position: int) -> NDArray[np.float32]:
        return grey_frames(own, position, videos[wanted[position]].frames)

    looks: dict[int, NDArray[np.float32]] = {}
    skipped: list[Skipped] = []
    for position, frames_TP in read_videos(data.subset(wanted), read, skipped=skipped, progress=progress):
        looks[wanted[position]] = frames_TP
    found = []
    for number, others in mates.items():
        near = [other for other in others if number in looks and other in looks]
        if near:
            alike = moving_alike(looks[number], np.stack([looks[other] for other in near]))
            if alike.max() >= ALIKE:
                found.append((number, near[int(alike.argmax())]))
    return found


def grey_frames(source: FrameSource, number: int, n_frames: int) -> NDArray[np.float32]:
    """Small grey frames at ``MOMENTS`` moments, evenly spaced: float32 ``[T, P]`` in 0 … 255."""
    moments_T = ((np.arange(MOMENTS) + 0.5) / MOMENTS * n_frames).astype(np.int64)
    frames_THWC = source.read(number, moments_T)
    grey_THW = frames_THWC.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    rows, columns = (np.linspace(0, size, SIDE + 1).astype(np.int64)[:-1] for size in grey_THW.shape[1:])
    sums_TSS = np.add.reduceat(np.add.reduceat(grey_THW, rows, axis=1), columns, axis=2)
    counts_SS = np.outer(*(np.diff(np.append(b, n)) for b, n in zip((rows, columns), grey_THW.shape[1:], strict=True)))
    return np.asarray(sums_TSS / counts_SS, np.float32).reshape(len(moments_T), -1)


def moving_alike(own_TP: NDArray[np.float32], others_NTP: NDArray[np.float32]) -> NDArray[np.float64]:
    """Correlation of what moves in a video with what moves in each of the others, ``[N]`` in [-1, 1].

    Each frame's brightness and each pixel's mean over the moments are taken away. 0 where next to nothing moves.
    """
    own, others = _moving(own_TP), _moving(others_NTP)
    product_N = (own * others).mean(axis=(1, 2))
    norm, norms_N = np.sqrt((own**2).mean()), np.sqrt((others**2).mean(axis=(1, 2)))
    return np.where(np.minimum(norm, norms_N) > STILL, product_N / np.maximum(norm * norms_N, 1e-9), 0.0)


def _moving(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """``[…, T, P]`` without each frame's mean, then without each pixel's."""
    level = x.astype(np.float64) - x.mean(axis=-1, keepdims=True)
    return np.asarray(level - level.mean(axis=-2, keepdims=True))


def _lasting_as_long(videos: Sequence[Video], train: Sequence[int], test: Sequence[int]) -> dict[int, list[int]]:
    """Test video -> training videos of its length; no more than ``MOST`` videos in all, test videos evenly spaced."""
    of_seconds: dict[int, list[int]] = defaultdict(list)
    lengths = [v.frames / v.fps if v.fps > 0 else v.frames / 25 for v in videos]
    for number in train:
        of_seconds[_bin(lengths[number])].append(number)
    mates: dict[int, list[int]] = {}
    seen: set[int] = set()
    for place in np.argsort(np.arange(len(test)) * 0.6180339887 % 1):  # any first few of it are evenly spaced
        number = test[int(place)]
        bins = {_bin(lengths[number]) + step for step in (-1, 0, 1)}
        near = [
            other
            for one in sorted(bins)
            for other in of_seconds.get(one, [])
            if abs(lengths[other] - lengths[number]) <= LENGTH * lengths[number] + 0.1
        ]
        if near:
            if len(seen | {number, *near}) > MOST:
                break
            seen |= {number, *near}
            mates[number] = near
    return dict(sorted(mates.items()))


def _bin(seconds: float) -> int:
    """Logarithmic, as wide as lengths may differ, and no narrower than a quarter of a second."""
    return int(np.floor(np.log(seconds + 5) / np.log(1 + LENGTH + 0.03)))
