"""Which film a video was cut from: clips of one film are not independent, and a result must not count them as if."""

from __future__ import annotations

import re

from cacl.data.videos.catalog import Video

_UCF101 = re.compile(r"(v_\w+_g\d+)_c\d+$", re.IGNORECASE)


def recording(video: Video) -> str:
    """The group in a name as UCF101's (``v_CLASS_gNN_cNN``); of a file with several stretches the file; else itself."""
    match = _UCF101.search(video.path.rpartition("/")[2].rpartition(".")[0])
    return video.path if match is None else match.group(1)
