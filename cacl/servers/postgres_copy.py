"""Vectors as PostgreSQL's binary COPY has them: all of a block at once, as one table of fixed columns.

Legend: c stretches, d numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cacl.search.rows import check_numbers
from cacl.servers.server import Pushed, id_of

COLUMNS = "id, video, part, first_frame, stop_frame, start_s, end_s, vector"
_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # no flags, no extension of the head
_END = b"\xff\xff"
_BLOCK = 2048  # rows
_SIZES = {"id": 16, "video": 16, "part": 4, "first_frame": 8, "stop_frame": 8, "start_s": 8, "end_s": 8}
_TYPES = {
    "id": "S16", "video": "S16", "part": ">i4", "first_frame": ">i8", "stop_frame": ">i8", "start_s": ">f8",
    "end_s": ">f8",
}  # fmt: skip


def written(videos: Sequence[Pushed], request: str) -> Iterator[bytes]:
    """The content of a COPY of ``COLUMNS``. Raises UserError: a vector that is not finite."""
    yield _HEAD
    for video in videos:
        width = video.vectors.shape[1]
        for start in range(0, len(video.vectors), _BLOCK):
            part = slice(start, start + _BLOCK)
            vectors = video.vectors[part]
            check_numbers(vectors, first=start, what=f"{video.path}: vector")
            numbers = np.arange(start, start + len(vectors))
            block = np.zeros(len(vectors), _row(list(_SIZES), width))
            block["count"] = len(_SIZES) + 1
            for name, size in _SIZES.items():
                block[f"size of {name}"] = size
            block["id"] = np.array([id_of(request, video.key, number).bytes for number in numbers.tolist()], "V16")
            block["video"] = np.array(bytes.fromhex(video.key), "V16")
            block["part"] = numbers
            block["first_frame"], block["stop_frame"] = video.frames[part].T
            block["start_s"], block["end_s"] = video.seconds[part].T
            block["size of vector"], block["width"], block["vector"] = 4 + 4 * width, width, vectors
            yield block.tobytes()
    yield _END


def read(blocks: Iterable[Any]) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float32]]]:
    """Video, part and vector of a COPY of these: some of one video at a time."""
    kept, row, begun = bytearray(), np.dtype([]), False
    for block in blocks:
        kept += block
        if not begun:
            if len(kept) < len(_HEAD) + 34 + 4:
                continue
            width = (int.from_bytes(kept[len(_HEAD) + 30 : len(_HEAD) + 34]) - 4) // 4
            del kept[: len(_HEAD)]
            row, begun = _row(["video", "part"], width), True
        if len(kept) >= _BLOCK * row.itemsize:
            yield from _taken(kept, row)
    if begun:
        yield from _taken(kept, row)


def _taken(kept: bytearray, row: np.dtype[Any]) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float32]]]:
    """Whole rows, which are removed from what is kept."""
    count = len(kept) // row.itemsize
    rows = np.frombuffer(bytes(kept[: count * row.itemsize]), row)
    del kept[: count * row.itemsize]
    if not count:
        return
    keys = rows["video"]
    bounds = [0, *(np.flatnonzero(keys[1:] != keys[:-1]) + 1).tolist(), count]
    for start, stop in pairwise(bounds):
        part = rows[start:stop]
        yield part["video"][0].tobytes().hex(), part["part"].astype(np.int64), part["vector"].astype(np.float32)


def _row(names: Sequence[str], width: int) -> np.dtype[Any]:
    fields: list[Any] = [("count", ">i2")]
    for name in names:
        fields += [(f"size of {name}", ">i4"), (name, _TYPES[name].replace("S", "V"))]
    return np.dtype([*fields, ("size of vector", ">i4"), ("width", ">i2"), ("unused", ">i2"), ("vector", ">f4", width)])
