"""What lies where in an index, and by what a video's vectors are known again.

``index.json`` says what the index is made of and names the generation that counts: an embedding folder (``cacl embed``)
with what a search needs beside it. A new generation is written beside the old one; replacing ``index.json`` is the
change from one to the other. Previews and the encoder lie beside the generations.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

from cacl.data.media.pictures import on_disk
from cacl.data.remote.place import last_stamp
from cacl.data.remote.servers import is_url
from cacl.data.videos.catalog import Video
from cacl.evaluation.embedding import GENERATIONS, POINTER

__all__ = ["GENERATIONS", "POINTER"]

FORMAT = 1
ENCODER, PREVIEWS, PARTS, SHARDS, DECISIONS = "encoder", "previews", "parts", "shards", "decisions"
KNOWN, ROWS, SPACE, SCALE, COPY = "known.json", "rows.npz", "space.npz", "scale.npy", "rows8.npz"  # of a generation

Stamp = tuple[int, ...]


def stamp_of(place: Path | str) -> Stamp | None:
    """Changes when a video does: size and time of a file, of a folder of pictures of them all; None where it is gone.

    Of a file on a server also its ETag, and as the server said last; see ``now``.

    Nothing that a copy of the folder changes (``cp -a``, another disk) is in it.
    """
    if is_url(place):
        return last_stamp(str(place))
    try:
        found = os.stat(place)
    except OSError:
        try:
            found = os.stat(place := on_disk(Path(place)))
        except OSError:
            return None
    if not stat.S_ISDIR(found.st_mode):
        return found.st_size, found.st_mtime_ns
    try:
        with os.scandir(place) as entries:
            files = [entry.stat() for entry in entries if entry.is_file()]
    except OSError:
        return None
    return sum(file.st_size for file in files), max((file.st_mtime_ns for file in files), default=0), len(files)


def key_of(video: Video, stamp: Stamp) -> str:
    """A name of 32 hexadecimal digits for a video or part as it is now: another content, another name."""
    facts = [video.path, *stamp, video.first_frame, video.frames, video.fps, video.width, video.height, video.region]
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()
