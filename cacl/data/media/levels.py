"""Values of more than 8 bits, as microscopes and thermal cameras give them: how many of them a file really uses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cacl.data.media.outputs import Outputs
from cacl.data.media.pixels import deep_pixels, is_deep

_FRAMES = 17  # looked at from the beginning
_EVERY = 8  # of these, one in so many counts
_PIXELS = 4096  # of each


def deep_values(path: str) -> NDArray[np.uint16] | None:
    """Some values of a file's first frames as 16 bits, smallest and largest among them; ``None`` for ordinary video.

    Raises:
        VideoError: the file cannot be opened.
    """
    outputs, found = Outputs(path), list[NDArray[np.uint16]]()
    try:
        outputs.rewind()
        for number, frame in zip(range(_FRAMES), outputs.frames(go_on=True), strict=False):
            if not is_deep(frame):
                return None
            if number % _EVERY == 0:
                values = deep_pixels(frame).ravel()
                found += [values[:: -(-values.size // _PIXELS)], np.array([values.min(), values.max()], np.uint16)]
    finally:
        outputs.close()
    return np.concatenate(found) if found else None
