from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cacl.data.videos.catalog import Catalog, Video
from cacl.data.videos.dataset import Dataset
from cacl.errors import VideoError


class ArrayVideos:
    """Videos held in memory; those that are None fail when read."""

    def __init__(self, videos):
        self.videos = videos
        self.height, self.width = next(v for v in videos if v is not None).shape[1:3]

    def read(self, video, indices):
        if self.videos[video] is None:
            raise VideoError(f"v{video}.mp4", "broken in the middle")
        assert indices.dtype == np.int64
        return self.videos[video][indices]


def data_of(source, videos):
    """Both as a data set."""
    return Dataset(Catalog(Path("/videos"), tuple(videos)), source)


def clip_of(size, **others):
    """Clips of the paper's length, cut from frames of any size."""
    from cacl.models.encoder import ClipSpec

    return ClipSpec(resize=(64, 64), size=size, **others)


def moving_videos(count=6, frames=40, height=20, width=26, seed=0, broken=(), lengths=None):
    """Coloured noise that drifts, a colour and a speed for each of two classes: ``(source, videos)``."""
    rng = np.random.default_rng(seed)
    arrays, entries = [], []
    for i in range(count):
        length = frames if lengths is None else lengths[i]
        base = rng.integers(0, 120, (height, width, 3))
        base[..., i % 2] += 100
        drift = [np.roll(base, (1 + i % 2) * t, axis=1) for t in range(length)]
        arrays.append(None if i in broken else np.stack(drift).astype(np.uint8))
        entries.append(
            Video(
                path=f"v{i}.mp4",
                id=f"v{i}",
                label=f"class {i % 2}",
                split=None,
                frames=length,
                fps=25.0,
                width=width,
                height=height,
            )
        )
    return ArrayVideos(arrays), entries


@pytest.fixture
def make_videos():
    return moving_videos
