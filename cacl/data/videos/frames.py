"""Single frames as samples: every n-th frame of every video becomes a "video" of one frame for the loader.

So MoCo on frames (paper section 4.1) has epochs that see each sampled frame once, by the loader that clips use.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cacl.data.videos.store import FrameSource


class SampledFrames:
    """Frames 0, ``every``, 2·``every`` … of each video, as a source of one-frame videos.

    Attributes:
        video: int64 ``[n]``, which video each sampled frame comes from.
    """

    def __init__(
        self, source: FrameSource, videos: Sequence[int], frames_per_video: Sequence[int], *, every: int
    ) -> None:
        self._source = source
        counts = [-(-n // every) for n in frames_per_video]
        self.video = np.repeat(np.asarray(videos, dtype=np.int64), counts)
        self._frame = np.concatenate([every * np.arange(count, dtype=np.int64) for count in counts])

    def __len__(self) -> int:
        return len(self.video)

    @property
    def height(self) -> int:
        """Of the frames, in pixels."""
        return self._source.height

    @property
    def width(self) -> int:
        """Of the frames, in pixels."""
        return self._source.width

    def read(self, video: int, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The sampled frame number ``video``, uint8 ``[len(indices), H, W, 3]``; ``indices`` are all 0."""
        return self._source.read(int(self.video[video]), self._frame[video] + indices)
