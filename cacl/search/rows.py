"""Vectors at the door: float32 ``[n, d]`` from memory or mapped from a file, every number finite.

A NaN compares with nothing: it would be nobody's neighbour, or everybody's, without a word. So no vector with one comes
in. What is larger than ``LARGEST`` is refused too, as its products would leave the range of float32.

Legend: n vectors, d numbers each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cacl.errors import UserError

Rows = NDArray[np.float32]
LARGEST = 1e15
CHUNK = 8192  # rows at a time where they are computed with in float64: 32 MiB at d = 512


def open_rows(source: Path | NDArray[Any]) -> Rows:
    """The vectors, float32 ``[n, d]``; those of a ``.npy`` file are mapped, not read.

    Raises:
        UserError: the file is missing, damaged or no ``.npy`` file, or holds something else than float32 ``[n, d]``.
    """
    rows = source if isinstance(source, np.ndarray) else _mapped(source)
    name = "the array of vectors" if isinstance(source, np.ndarray) else str(source)
    if rows.ndim != 2 or rows.dtype != np.float32 or not rows.shape[1]:
        raise UserError(
            f"{name} holds {rows.dtype} {list(rows.shape)}; search wants float32 [vectors, numbers]: "
            "give the vectors as they were embedded, or convert them."
        )
    return rows


def _mapped(file: Path) -> NDArray[Any]:
    try:
        with file.open("rb") as stream:
            np.lib.format.read_magic(stream)
        mapped: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
        return mapped
    except FileNotFoundError:
        raise UserError(
            f"{file} is not there: copy the folder that it is a part of again, or make it anew (cacl index)."
        ) from None
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror or error}).") from error
    except ValueError as error:
        if _is_empty_of_rows(file):
            empty: NDArray[Any] = np.load(file, allow_pickle=False)
            return empty
        raise UserError(f"{file} is damaged or no file of vectors ({error}): make the index anew.") from error


def _is_empty_of_rows(file: Path) -> bool:
    """A whole file of no vectors: nothing to map, which is no damage."""
    try:
        return not np.load(file, allow_pickle=False).size
    except (OSError, ValueError, EOFError):
        return False


def chunks(rows: Rows, size: int = CHUNK) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """The vectors some at a time as float64, each time with the number of the first.

    Raises:
        UserError: a number is NaN, infinite or beyond ``LARGEST``; the vector is named.
    """
    for start in range(0, len(rows), size):
        part = np.asarray(rows[start : start + size], dtype=np.float64)
        check_numbers(part, first=start)
        yield start, part


def check_numbers(
    part: NDArray[Any], *, first: int = 0, numbers: NDArray[np.int64] | None = None, what: str = "vector"
) -> None:
    """Raise UserError where a row of ``part`` has a number that is not finite or beyond ``LARGEST``.

    Args:
        part: float ``[n, d]``, or ``[d]``.
        first: the number of its first row, from which the others go on.
        numbers: the number of each of its rows, ``[n]``, where they do not follow one another.
        what: is numbered.
    """
    with np.errstate(invalid="ignore"):
        good = (np.abs(part) <= LARGEST).all(axis=-1)
    if not good.all():
        bad = int(np.argmin(good.reshape(-1)))
        row = part.reshape(-1, part.shape[-1])[bad]
        with np.errstate(invalid="ignore"):
            value = row[~(np.abs(row) <= LARGEST)][0]
        own = first + bad if numbers is None else int(numbers[bad])
        raise UserError(
            f"{what} {own} holds {value}, which is nobody's neighbour: vectors must be finite and within "
            f"±{LARGEST:.0e}; embed that part again or leave it out."
        )


def as_queries(queries: ArrayLike, width: int) -> NDArray[np.float64]:
    """Queries as float64 ``[m, d]``; one alone may come as ``[d]``. Raises UserError: other width, NaN, infinite."""
    table = np.asarray(queries, dtype=np.float64)
    table = table[None] if table.ndim == 1 else table
    if table.ndim != 2 or table.shape[1] != width:
        raise UserError(
            f"a query of {table.shape[-1] if table.ndim else 0} numbers was asked of vectors of {width}: embed the "
            "query with the encoder that made the vectors."
        )
    check_numbers(table, what="query")
    return table


def fingerprint(rows: Rows) -> str:
    """What the vectors are, as 32 hexadecimal digits: other numbers, another shape, another fingerprint (BLAKE2b)."""
    digest = hashlib.blake2b(repr(rows.shape).encode(), digest_size=16)
    for start in range(0, len(rows), CHUNK):
        digest.update(np.ascontiguousarray(rows[start : start + CHUNK]).data)
    return digest.hexdigest()
