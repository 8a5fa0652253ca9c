"""Folders of numbered pictures as videos, good and damaged: a folder is a function of (seed, number)."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image

HEIGHT, WIDTH = 24, 32
KINDS = {  # suffix: Pillow's name
    "jpg": "JPEG",
    "png": "PNG",
    "bmp": "BMP",
    "tif": "TIFF",
    "webp": "WEBP",
    "ppm": "PPM",
    "jp2": "JPEG2000",
}
_NAMES = ("img_{:05}", "{}", "frame{:03}", "a b-{:08}", "ü{:02}")
_NUMBERED = re.compile(r".*\d\.\w+", re.DOTALL)
Files = dict[str, bytes]


def write_folder(folder: Path, seed: int, number: int, video: bytes) -> str:
    """Make ``folder`` with its pictures, each kind and each damage in turn, and say which damage it is.

    Args:
        video: of a whole video file, for those that have one among their pictures.
    """
    rng = np.random.default_rng([seed, number, 1])
    suffix, way = list(KINDS)[number % len(KINDS)], list(DAMAGES)[number % len(DAMAGES)]
    form, first = str(rng.choice(_NAMES)), int(rng.choice([0, 1, 98, 10**6]))
    still = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    files = {
        f"{form.format(first + i)}.{suffix}": encoded(np.roll(still, i, axis=1), suffix)
        for i in range(int(rng.integers(9, 40)))
    }
    files = DAMAGES[way](files, rng, video)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return f"folder, {way}"


def encoded(frame: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], suffix: str) -> bytes:
    """A picture file."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, KINDS[suffix])
    return file.getvalue()


def unaccounted(batch: Path, found: set[str]) -> set[str]:
    """Files that are neither found nor pictures of a folder, or of a row in it, that is; and what holds no file."""
    files = {str(path.relative_to(batch)) for path in batch.rglob("*") if path.is_file()}
    rows = {
        path: re.compile(re.escape(path).replace(r"\*", r"\d+") if "*" in path else re.escape(path) + "/[^/]+")
        for path in found - files
    }
    held: dict[str, int] = dict.fromkeys(rows, 0)
    lost = set()
    for path in files - found:
        within = [row for row, pattern in rows.items() if pattern.fullmatch(path) and _NUMBERED.fullmatch(path)]
        lost |= set() if len(within) == 1 else {path}
        held |= {row: held[row] + 1 for row in within}
    return lost | {row for row, count in held.items() if not count}


def _one(files: Files, rng: Generator) -> str:
    return str(rng.choice(list(files)))


def _whole(files: Files, rng: Generator, _: bytes) -> Files:
    return files


def _gaps(files: Files, rng: Generator, _: bytes) -> Files:
    return {name: content for i, (name, content) in enumerate(files.items()) if i < 8 or rng.random() < 0.7}


def _sizes(files: Files, rng: Generator, _: bytes) -> Files:
    """One picture, or every other one, is of another size."""
    changed = [_one(files, rng)] if rng.random() < 0.5 else list(files)[::2]
    other = rng.integers(0, 256, (int(rng.integers(1, 60)), int(rng.integers(1, 60)), 3), dtype=np.uint8)
    return files | {name: encoded(other, name.rpartition(".")[2]) for name in changed}


def _truncated(files: Files, rng: Generator, _: bytes) -> Files:
    name = _one(files, rng)
    return files | {name: files[name][: int(rng.integers(0, len(files[name])))]}


def _bits(files: Files, rng: Generator, _: bytes) -> Files:
    """Bytes of several pictures, most of them in their headers."""
    for name in rng.choice(list(files), int(rng.integers(1, 5))).tolist():
        data = bytearray(files[name])
        for place in rng.integers(0, min(len(data), int(rng.choice([64, 10**6]))), 6):
            data[place] ^= int(rng.integers(1, 256))
        files[name] = bytes(data)
    return files


def _kinds(files: Files, rng: Generator, _: bytes) -> Files:
    """Pictures that are of another kind than they are called, or no pictures."""
    still = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    contents = [*(encoded(still, suffix) for suffix in KINDS), b"no picture\n", rng.bytes(500), b""]
    return files | {_one(files, rng): contents[int(rng.integers(len(contents)))] for _ in range(3)}


def _others(files: Files, rng: Generator, video: bytes) -> Files:
    """Other files among them: text, hidden ones, a picture without a number, a folder below; sometimes a video."""
    name = _one(files, rng)
    suffix = name.rpartition(".")[2]
    files |= {"notes.txt": b"frames\n", ".DS_Store": b"\0\1", f"cover.{suffix}": files[name], "deeper/1.png": b""}
    return files | ({"clip.mp4": video} if rng.random() < 0.5 else {})


def _rows(files: Files, rng: Generator, _: bytes) -> Files:
    """Two rows of pictures in one folder, and numbers twice with other zeros before them."""
    more = {f"flow_{name}": content for name, content in files.items()}
    name = _one(files, rng)
    stem = re.sub(r"(\d+)(?=\.\w+$)", r"000000000\1", name)
    return (files | more) if rng.random() < 0.5 else (files | {stem: files[name]})


def _few(files: Files, rng: Generator, _: bytes) -> Files:
    return dict(list(files.items())[: int(rng.integers(1, 8))])


DAMAGES: dict[str, Callable[[Files, Generator, bytes], Files]] = {
    "whole": _whole,
    "gaps": _gaps,
    "sizes": _sizes,
    "truncated": _truncated,
    "bits": _bits,
    "kinds": _kinds,
    "other files": _others,
    "rows": _rows,
    "few": _few,
}
