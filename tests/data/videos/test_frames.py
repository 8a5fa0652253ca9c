from __future__ import annotations

import numpy as np
import pytest

from cacl.data.videos.frames import SampledFrames


class Source:
    """Frame i of video v is filled with 10 v + i."""

    height, width = 2, 3

    def read(self, video, indices):
        return np.stack([np.full((2, 3, 3), 100 * video + i, np.uint8) for i in indices])


@pytest.mark.parametrize(
    ("every", "expected"),
    [(10, [(0, 0), (0, 10), (2, 0), (1, 0), (1, 10)]), (100, [(0, 0), (2, 0), (1, 0)])],
)
def test_every_nth_frame_of_each_video_is_a_video_of_one_frame(every, expected):
    frames = SampledFrames(Source(), [0, 2, 1], [20, 1, 11], every=every)
    assert len(frames) == len(expected)
    assert frames.video.tolist() == [video for video, _ in expected]
    assert (frames.height, frames.width) == (2, 3)
    for number, (video, frame) in enumerate(expected):
        read = frames.read(number, np.zeros(1, np.int64))
        assert read.shape == (1, 2, 3, 3)
        assert set(read.ravel().tolist()) == {100 * video + frame}


def test_every_frame():
    frames = SampledFrames(Source(), [1], [4], every=1)
    assert [frames.read(i, np.zeros(1, np.int64))[0, 0, 0, 0] for i in range(4)] == [100, 101, 102, 103]
