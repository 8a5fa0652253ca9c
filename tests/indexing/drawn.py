"""An index of vectors that are drawn, not embedded: for what does not ask where they are from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cacl
from cacl.data.videos.catalog import Catalog, Video
from cacl.indexing.generation import next_name, remove_others
from cacl.indexing.journal import Piece
from cacl.indexing.known import Known, Looked
from cacl.indexing.layout import GENERATIONS, key_of
from cacl.indexing.request import begin, read_pointer, write_pointer
from cacl.indexing.write_generation import write_generation

ABOUT: dict[str, Any] = {
    "format": 1, "videos": "/none", "root": "/none", "step": None, "precision": "float32", "weights": "0" * 64,
    "encoder": {"clip": {}}, "whiten": False,
}  # fmt: skip


def crowded(count: int, width: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors as an encoder gives them: much in common, and less spread from direction to direction."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=width)
    drawn = 4 * mean + rng.normal(size=(count, width)) * np.arange(1, width + 1) ** -0.5
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def write_drawn(out: Path, videos: dict[str, NDArray[np.float32]], **about: Any) -> cacl.Index:
    """An index of these vectors, by the videos' paths; or its next state."""
    facts = {**ABOUT, **about}
    pointer = read_pointer(out) or begin(out, {**facts, "generation": None})
    catalog = Catalog(Path("/none"), tuple(_video(path, len(videos[path])) for path in sorted(videos)))
    stamps = {path: (hash_of(videos[path]), 0) for path in videos}
    keys = tuple(key_of(video, stamps[video.path]) for video in catalog.videos)
    looked = {path: Looked(stamp, "", ()) for path, stamp in stamps.items()}
    pieces = [_piece(videos[video.path]) for video in catalog.videos]
    name, known = next_name(out), Known(looked, keys)
    write_generation(out / GENERATIONS / name, about=facts, catalog=catalog, pieces=pieces, known=known, whiten=False)
    write_pointer(out, {**pointer, "generation": name})
    remove_others(out, name)
    return cacl.Index(out)


def hash_of(vectors: NDArray[np.float32]) -> int:
    return int(np.frombuffer(vectors.tobytes(), np.uint32).astype(np.uint64).sum())


def _video(path: str, count: int) -> Video:
    return Video(path, path.rsplit(".", 1)[0], path.split("/")[0], None, 16 * count, 10.0, 32, 24)


def _piece(vectors: NDArray[np.float32]) -> Piece:
    frames = 16 * np.arange(len(vectors))[:, None] + [[0, 16]]
    return Piece(vectors, frames, frames / 10)
