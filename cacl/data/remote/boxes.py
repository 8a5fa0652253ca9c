"""Where an MP4 or MOV has its index and its frames, by the headers of its outermost boxes (ISO 14496-12)."""

from __future__ import annotations

from dataclasses import dataclass

from cacl.data.remote.ranged import RangedFile

_TAIL = 2**21  # bytes; so much behind the frames is fetched at once: it is the index
_MOST_BOXES = 64
_FIRST_KINDS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")


@dataclass(frozen=True)
class Boxes:
    """Where things lie, in bytes.

    Attributes:
        index: from and to, of the box ``moov``.
        frames: from and to, of the content of the only box ``mdat``.
    """

    index: tuple[int, int]
    frames: tuple[int, int]


def boxes_of(file: RangedFile) -> Boxes | None:
    """Where they are; ``None`` where it is another kind of file, or one in pieces (fragments have no index).

    What is read of the file are the headers, and behind the frames the index.

    Raises:
        VideoError: the server does not give them.
    """
    at, index, frames = 0, list[tuple[int, int]](), list[tuple[int, int]]()
    for number in range(_MOST_BOXES):
        if at + 8 > file.size:
            break
        file.seek(at)
        if frames and file.size - at <= _TAIL:
            file.expect(file.size)
        head = _read(file, 16)
        size, kind, content = int.from_bytes(head[:4]), head[4:8], at + 8
        if number == 0 and kind not in _FIRST_KINDS:
            break
        if size == 1:
            size, content = int.from_bytes(head[8:16]), at + 16
        stop = file.size if size == 0 else at + size
        if stop < content or kind == b"moof":
            return None
        if kind == b"moov":
            index.append((at, stop))
            file.expect(min(stop, file.size))
        elif kind == b"mdat":
            frames.append((content, min(stop, file.size)))
        at = stop
    file.seek(0)
    file.expect(0)
    return Boxes(index[0], frames[0]) if len(index) == len(frames) == 1 else None


def _read(file: RangedFile, count: int) -> bytes:
    found = b""
    while len(found) < count and (more := file.read(count - len(found))):
        found += more
    return found
