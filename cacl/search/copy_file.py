"""The search copy as a file beside the vectors: made once, derived from them, never believed where it does not fit.

A NumPy ``.npz`` without compression, written whole or not at all. Its check sums tell damage, its head tells for which
vectors and which space it was made. Two processes that write it at once write the same bytes.

Legend: n vectors, c of a block, d numbers each.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cacl.files import whole
from cacl.search.int8 import BLOCK
from cacl.search.quantise import Sizes, blocks, centre_of, joined
from cacl.search.rows import Rows
from cacl.search.space import Space

FORMAT = 1
_ROWS = "whole.npy"
_AT_ONCE = 512  # rows read at a time
_BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)


def write_copy(file: Path, rows: Rows, space: Space, *, made_of: str) -> None:
    """Make the copy and write it.

    Args:
        made_of: which vectors these are, and in which space; ``read_copy`` asks for it.

    Raises:
        UserError: a vector is not finite, or the file cannot be written.
    """
    centre = centre_of(rows, space)
    sizes = []
    with whole(file) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as store:
        store.writestr(zipfile.ZipInfo("head.json"), json.dumps({"format": FORMAT, "made_of": made_of}))
        with store.open(zipfile.ZipInfo(_ROWS), "w", force_zip64=True) as stream:
            head = {"descr": "|i1", "fortran_order": False, "shape": rows.shape}
            np.lib.format.write_array_header_1_0(stream, head)
            for block, known in blocks(rows, space, centre):
                stream.write(block.data)
                sizes.append(known)
        for name, values in {**vars(joined(sizes)), "centre": centre}.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, values, allow_pickle=False)
            store.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())


def read_copy(
    file: Path, *, shape: tuple[int, int], made_of: str, take: Callable[[NDArray[np.int8]], object] | None
) -> tuple[Sizes, NDArray[np.float64]] | None:
    """Read a copy that was made of these vectors.

    Args:
        shape: of the vectors, ``(n, d)``.
        take: given block after block, int8 ``[c, d]``; all it was given is void where nothing is returned. Where
            ``None``, the blocks are not read.

    Returns:
        Sizes of all rows and the centre, or ``None`` where the copy is missing, damaged, or made of something else.
    """
    try:
        with zipfile.ZipFile(file) as store:
            head = json.loads(store.read("head.json"))
            if head != {"format": FORMAT, "made_of": made_of}:
                return None
            sizes = Sizes(
                _array(store, "known", np.float32, 2, shape[0]),
                _array(store, "gain", np.float64, shape[0]),
                _array(store, "length", np.float32, shape[0]),
            )
            centre = _array(store, "centre", np.float64, shape[1])
            if take is not None:
                _read_blocks(store, shape, take)
    except _BROKEN:
        return None
    return sizes, centre


def _array(store: zipfile.ZipFile, name: str, kind: type, *shape: int) -> NDArray[Any]:
    content = io.BytesIO(store.read(f"{name}.npy"))
    array: NDArray[Any] = np.lib.format.read_array(content, allow_pickle=False)
    if array.shape != shape or array.dtype != kind:
        raise ValueError(f"{name} is of another shape")
    return array


def _read_blocks(store: zipfile.ZipFile, shape: tuple[int, int], take: Callable[[NDArray[np.int8]], object]) -> None:
    with store.open(_ROWS) as stream:
        np.lib.format.read_magic(stream)
        if np.lib.format.read_array_header_1_0(stream) != (shape, False, np.dtype("i1")):
            raise ValueError("the copy is of another shape")
        whole_block = np.empty((min(BLOCK, shape[0]), shape[1]), np.int8)  # one for all: memory stays in one piece
        for start in range(0, shape[0], BLOCK):
            block = whole_block[: shape[0] - start]
            for first in range(0, len(block), _AT_ONCE):
                part = block[first : first + _AT_ONCE]
                content = stream.read(part.size)
                if len(content) < part.size:
                    raise EOFError("the copy ends early")
                part.reshape(-1)[:] = np.frombuffer(content, np.int8)
            take(block)
        stream.read(1)  # the check sum is compared at the end
