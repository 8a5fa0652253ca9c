"""A new state of an index is written: vectors, what they are of, and what a search needs beside them.

Shapes: S segments, D features.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cacl.data.videos.catalog import Catalog, Video
from cacl.evaluation.embedding import ABOUT, SEGMENTS, VECTORS
from cacl.files import whole, write_whole, writing
from cacl.indexing.generation import Spans
from cacl.indexing.journal import Piece
from cacl.indexing.known import Known
from cacl.indexing.layout import COPY, KNOWN, ROWS, SCALE, SPACE
from cacl.models.segments import Segment
from cacl.search.copy_file import write_copy
from cacl.search.rows import CHUNK, open_rows
from cacl.search.score import measure_scale
from cacl.search.space import Space


def write_generation(
    folder: Path,
    *,
    about: Mapping[str, Any],
    catalog: Catalog,
    pieces: Sequence[Piece],
    known: Known,
    whiten: bool,
) -> None:
    """Write a generation; it counts once the index points to it.

    Args:
        folder: new.
        about: goes into ``embedding.json``.
        catalog: the videos, and every other file.
        pieces: of its videos, in their order.
        known: what is known of files.
        whiten: of the space in which vectors are compared.

    Raises:
        UserError: it cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True)
    width = pieces[0].vectors.shape[1]
    spans = Spans(
        np.repeat(np.arange(len(pieces)), [len(piece.frames) for piece in pieces]),
        np.concatenate([piece.frames for piece in pieces]),
        np.concatenate([piece.seconds for piece in pieces]),
    )
    mark = _write_vectors(folder / VECTORS, pieces, (len(spans.video), width))
    with whole(folder / ROWS) as partial, partial.open("wb") as file:
        np.savez(file, video=spans.video, frames=spans.frames, seconds=spans.seconds)
    _write_segments(folder / SEGMENTS, catalog.videos, spans)
    catalog.write_csv(folder / "videos.csv")
    vectors = open_rows(folder / VECTORS)
    space = Space.fit(vectors, whiten=whiten)
    space.save(folder / SPACE)
    measure_scale(vectors, space, spans.video).save(folder / SCALE)
    write_copy(folder / COPY, vectors, space, made_of=f"{mark} {space.fingerprint()}")
    known.save(folder / KNOWN)
    counts = {"used": len(catalog.videos), "segments": len(spans.video), "features": width, "fingerprint": mark}
    write_whole(folder / ABOUT, json.dumps({**about, **counts, "finished": True}, indent=2) + "\n")


def _write_vectors(path: Path, pieces: Sequence[Piece], shape: tuple[int, int]) -> str:
    """Write all vectors; their fingerprint, as ``cacl.search.rows.fingerprint`` would find it."""
    digest = hashlib.blake2b(repr(shape).encode(), digest_size=16)
    with whole(path) as partial, partial.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for part in _chunks(pieces):
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


def _chunks(pieces: Sequence[Piece]) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece.vectors), CHUNK):
            yield piece.vectors[start : start + CHUNK].astype("<f4").tobytes()


def _write_segments(path: Path, videos: Sequence[Video], spans: Spans) -> None:
    with (
        whole(path) as partial,
        partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(Segment._fields)
        columns = (spans.video.tolist(), spans.seconds.tolist(), spans.frames.tolist())
        for number, (start, end), (first, stop) in zip(*columns, strict=True):
            writer.writerow([videos[number].path, round(start, 6), round(end, 6), first, stop - first])
