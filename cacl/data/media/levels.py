"""Values of more than 8 bits, as microscopes and thermal cameras give them: how many of them a file really uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cacl.data.media.outputs import Outputs
from cacl.data.media.pictures import NumberedPictures, is_pictures
from cacl.data.media.pixels import deep_pixels, is_deep
from cacl.data.media.stacks import Stack, is_stack

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_FRAMES = 17  # looked at from the beginning
_EVERY = 8  # of these, one in so many counts
_PIXELS = 4096  # of each


def deep_values(path: str) -> NDArray[np.uint16] | None:
    """Some values of a file's first frames as 16 bits, smallest and largest among them; ``None`` for ordinary video.

    Raises:
        VideoError: the file cannot be opened.
    """
    found = list[NDArray[np.uint16]]()
    for frame in _some_frames(path):
        if not is_deep(frame):
            return None
        values = deep_pixels(frame).ravel()
        found += [values[:: -(-values.size // _PIXELS)], np.array([values.min(), values.max()], np.uint16)]
    return np.concatenate(found) if found else None


def _some_frames(path: str) -> Iterator[VideoFrame]:
    """Every eighth of the first frames: of a stack of pages, a folder of pictures or a file that FFmpeg reads."""
    if is_pictures(path) or is_stack(path):
        with closing(NumberedPictures(path) if is_pictures(path) else Stack(path)) as pictures:
            yield from (pictures.frame(i) for i in range(0, min(len(pictures), _FRAMES), _EVERY))
        return
    with closing(Outputs(path)) as outputs:
        outputs.rewind()
        yield from islice(outputs.frames(go_on=True), 0, _FRAMES, _EVERY)
