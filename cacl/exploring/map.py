"""The map of an index: a point for each of its stretches, computed once for each state of it and kept in ``map/``.

Of more than ``MOST`` stretches every second, third … is on it.

Shapes: n vectors, m points.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cacl.errors import UserError
from cacl.exploring.layout import layout, principal
from cacl.files import write_whole
from cacl.indexing.reader import Index

MOST = 100_000
FOLDER = "map"
_VERSION = 1  # of the layout: another one is computed anew


@dataclass(frozen=True, eq=False)
class Map:
    """Points of stretches.

    Attributes:
        points: float32 ``[m, 2]``, within 0 and 1; every ``stride``-th stretch of the index has one, in their order.
        stride: 1 or more.
        kind: ``"pca"``: two directions of most variance, or ``"neighbours"``: a layout in which these are near.
    """

    points: NDArray[np.float32]
    stride: int
    kind: Literal["pca", "neighbours"]


def maps_of(index: Index, progress: Callable[[int, int], None] = lambda done, total: None) -> Iterator[Map]:
    """Better and better maps: at first one by PCA, then that of neighbours; or this alone where it was kept.

    Args:
        index: of which.
        progress: called with steps done, and how many there are; may raise to end it.
    """
    stride = max(-(-len(index.vectors) // MOST), 1)
    kept = _read(_file(index), len(index.vectors[::stride]))
    if kept is not None:
        yield Map(kept, stride, "neighbours")
        return
    x = np.concatenate(
        [
            index.space.prepared(np.asarray(index.vectors[start : start + 8192 * stride : stride], np.float64))[0]
            for start in range(0, max(len(index.vectors), 1), 8192 * stride)
        ]
    ).astype(np.float32)
    axes = principal(x)
    del x
    if axes.shape[1] < 2:
        axes = np.pad(axes, ((0, 0), (0, 2 - axes.shape[1])))
    yield Map(_framed(axes[:, :2]), stride, "pca")
    points = _framed(layout(axes, progress=progress))
    _keep(_file(index), points)
    yield Map(points, stride, "neighbours")


def _framed(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Within 0 and 1, both axes by the same factor; a few far points do not press the others together."""
    if not len(points):
        return points
    low, high = np.quantile(points, [0.002, 0.998], axis=0)
    middle, size = (low + high) / 2, max(float((high - low).max()), 1e-12) * 1.08
    framed: NDArray[np.float32] = np.clip((points - middle) / size + 0.5, 0, 1).astype(np.float32)
    return framed


def _file(index: Index) -> Path:
    return index.path / FOLDER / f"{index.about['fingerprint']}-{index.space.fingerprint()[:8]}.npz"


def _read(file: Path, count: int) -> NDArray[np.float32] | None:
    """What was kept, ``None`` where it is missing, damaged or of another version."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            points, version = stored["points"], int(stored["version"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    fits = points.shape == (count, 2) and points.dtype == np.float32 and np.isfinite(points).all()
    return points if fits and version == _VERSION else None


def _keep(file: Path, points: NDArray[np.float32]) -> None:
    """Keep it, in place of those of older states; where that cannot be written it is computed again next time."""
    content = io.BytesIO()
    np.savez(content, points=points, version=np.array(_VERSION))
    with suppress(UserError, OSError):
        file.parent.mkdir(exist_ok=True)
        write_whole(file, content.getvalue())
        for old in file.parent.glob("*.npz"):
            if old != file:
                old.unlink(missing_ok=True)
