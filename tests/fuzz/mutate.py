"""Whole videos of nine containers, and what can be done to them: a mutated file is a function of (seed, number)."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fuzz.unusual import UNUSUAL
from numpy.random import Generator
from numpy.typing import NDArray

from cacl.data.media.encode import write_video

HEIGHT, WIDTH = 48, 64
# name: codec, frames, pixel format, options
_B_FRAMES = {"g": "8", "bf": "2", "preset": "ultrafast"}
KINDS: dict[str, tuple[str, int, str, dict[str, str]]] = {
    "h264.mp4": ("libx264", 40, "yuv420p", _B_FRAMES),
    "mpeg4.mp4": ("mpeg4", 40, "yuv420p", {"g": "8"}),
    "mpeg4.avi": ("mpeg4", 40, "yuv420p", {"g": "8", "bf": "2"}),
    "mjpeg.avi": ("mjpeg", 34, "yuvj420p", {}),
    "raw.avi": ("rawvideo", 20, "yuv420p", {}),
    "h264.mkv": ("libx264", 40, "yuv420p", _B_FRAMES),
    "ffv1.mkv": ("ffv1", 20, "yuv420p", {}),
    "hevc.mkv": ("libx265", 36, "yuv420p", {"x265-params": "log-level=0:keyint=8", "preset": "ultrafast"}),
    "vp9.webm": ("libvpx-vp9", 36, "yuv420p", {"g": "10", "deadline": "realtime", "cpu-used": "8"}),
    "vp8.webm": ("libvpx", 36, "yuv420p", {"g": "10", "deadline": "realtime", "cpu-used": "8"}),
    "h264.mov": ("libx264", 40, "yuv420p", _B_FRAMES),
    "png.mov": ("png", 18, "rgb24", {}),
    "h264.ts": ("libx264", 40, "yuv420p", _B_FRAMES),
    "mpeg2.ts": ("mpeg2video", 40, "yuv420p", {"g": "8", "bf": "2"}),
    "animated.gif": ("gif", 33, "rgb8", {}),
}
_SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".ts", ".gif", ".txt", ".jpg", ".wav", "")


def make_seeds(folder: Path) -> dict[str, bytes]:
    """One whole file of each kind, moving blocks of colour."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    still = small.repeat(HEIGHT // 6, axis=0).repeat(WIDTH // 8, axis=1)
    frames: NDArray[np.uint8] = np.stack([np.roll(still, (t, 2 * t), axis=(0, 1)) for t in range(40)])
    seeds = {}
    for name, (codec, count, pixel_format, options) in KINDS.items():
        write_video(folder / name, frames[:count], codec=codec, pixel_format=pixel_format, options=options)
        seeds[name] = (folder / name).read_bytes()
    for name, make in UNUSUAL.items():
        make(folder / name, frames)
        seeds[name] = (folder / name).read_bytes()
    return seeds


def mutated(seeds: dict[str, bytes], seed: int, number: int) -> tuple[str, str, bytes]:
    """``(name, what was done, content)`` of file ``number``: each kind and each mutation in turn, details at random."""
    rng = np.random.default_rng([seed, number])
    kinds, ways = [*KINDS, *UNUSUAL], list(MUTATIONS)
    kind, way = kinds[number % len(kinds)], ways[number % len(ways)]  # 25 and 14: all pairs come in turn
    content = MUTATIONS[way](bytearray(seeds[kind]), rng, seeds)
    stem, suffix = kind.split(".")
    suffix = str(rng.choice(_SUFFIXES)) if way == "wrong suffix" else f".{suffix}"
    return f"{number:06d}-{stem}{suffix}", way, bytes(content)


Mutation = Callable[[bytearray, Generator, dict[str, bytes]], bytes | bytearray]


def _flip_few(data: bytearray, rng: Generator, _: dict[str, bytes]) -> bytearray:
    for place in rng.integers(0, len(data), rng.integers(1, 9)):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def _flip_many(data: bytearray, rng: Generator, _: dict[str, bytes]) -> bytearray:
    for place in rng.integers(0, len(data), max(16, len(data) // 200)):
        data[place] ^= int(rng.integers(1, 256))
    return data


def _flip_head(data: bytearray, rng: Generator, _: dict[str, bytes]) -> bytearray:
    """Within the first and last kilobyte, where headers and indexes are."""
    places = [*range(min(1024, len(data))), *range(max(0, len(data) - 1024), len(data))]
    for place in rng.choice(places, rng.integers(4, 40)):
        data[place] ^= int(rng.integers(1, 256))
    return data


def _truncate(data: bytearray, rng: Generator, _: dict[str, bytes]) -> bytearray:
    return data[: int(rng.integers(1, len(data)))]


def _behead(data: bytearray, rng: Generator, _: dict[str, bytes]) -> bytearray:
    return data[int(rng.integers(1, len(data))) :]


def _empty(data: bytearray, rng: Generator, _: dict[str, bytes]) -> bytearray:
    """Zero length, or nothing but zeros."""
    return bytearray(len(data)) if rng.random() < 0.5 else bytearray()


def _swap(data: bytearray, rng: Generator, _: dict[str, bytes]) -> bytearray:
    """Two boxes, chunks, elements, pages or packets change places (or two stretches where there are none)."""
    starts = [m.start() for m in re.finditer(_PARTS, bytes(data))] or sorted(rng.integers(0, len(data), 8).tolist())
    a, b = sorted(rng.choice(starts, 2).tolist())
    size = int(rng.choice([8, 64, 188, 512]))
    size = min(size, b - a, len(data) - b)
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]
    return data


def _splice(data: bytearray, rng: Generator, seeds: dict[str, bytes]) -> bytearray:
    """The beginning of one file and the rest of another, or a stretch of another in the middle."""
    other = seeds[str(rng.choice(list(seeds)))]
    cut, from_ = int(rng.integers(0, len(data))), int(rng.integers(0, len(other)))
    if rng.random() < 0.5:
        return data[:cut] + other[from_:]
    return data[:cut] + other[from_ : from_ + 2000] + data[cut:]


def _repeat(data: bytearray, rng: Generator, _: dict[str, bytes]) -> bytearray:
    """A stretch, or the whole file, several times over."""
    a, b = sorted(rng.integers(0, len(data), 2).tolist())
    return data[:b] + bytes(data[a:b]) * int(rng.integers(1, 5)) + data[b:]


def _insane_sizes(data: bytearray, rng: Generator, _: dict[str, bytes]) -> bytearray:
    """Width and height wherever they stand, in any byte order, as 65 535 × 65 535 and the like."""
    sides = [(65535, 65535), (16384, 16384), (65535, 1), (1, 65535), (0, 0), (9000, 9000)]
    big_w, big_h = sides[int(rng.integers(len(sides)))]
    out = bytes(data)
    for form in (">HH", "<HH", ">II", "<II"):
        for first, second, a, b in ((WIDTH, HEIGHT, big_w, big_h), (HEIGHT, WIDTH, big_h, big_w)):
            out = out.replace(struct.pack(form, first, second), struct.pack(form, a, b))
    out = out.replace(b"\xb0\x81\x40\xba\x81\x30", b"\xb0\x81\xff\xba\x81\xff")  # Matroska: PixelWidth, PixelHeight
    return bytearray(out)


def _insane_counts(data: bytearray, rng: Generator, _: dict[str, bytes]) -> bytearray:
    """After the names of header fields: 10⁹ frames, 0 frames a second, negative and largest numbers."""
    values = [10**9, 0, 1, 2**31 - 1, 2**31, 2**32 - 1]
    places = [m.end() for m in re.finditer(_COUNTS, bytes(data))] or rng.integers(0, len(data), 4).tolist()
    form = ">I" if b"ftyp" in data[:64] or b"moov" in data else "<I"
    for place in rng.choice(places, min(len(places), int(rng.integers(1, 5))), replace=False).tolist():
        for offset in rng.choice(np.arange(0, 48, 4), rng.integers(1, 6), replace=False).tolist():
            if place + offset + 4 <= len(data):
                value = values[int(rng.integers(len(values)))]
                data[place + offset : place + offset + 4] = struct.pack(form, value)
    return data


def _lengths(data: bytearray, rng: Generator, _: dict[str, bytes]) -> bytearray:
    """The lengths before boxes and after chunk names."""
    for place in [m.start() for m in re.finditer(_PARTS, bytes(data))]:
        if rng.random() < 0.3:
            at = place - 4 if rng.random() < 0.5 else place + 4
            if 0 <= at <= len(data) - 4:
                data[at : at + 4] = rng.integers(0, 256, 4, dtype=np.uint8).tobytes()
    return data


def _noise(data: bytearray, rng: Generator, _: dict[str, bytes]) -> bytearray:
    """A stretch of noise; half of the time behind a whole header."""
    start = int(rng.integers(0, len(data))) if rng.random() < 0.5 else min(200, len(data))
    size = int(rng.integers(1, len(data) - start + 1))
    data[start : start + size] = rng.integers(0, 256, size, dtype=np.uint8).tobytes()
    return data


def _as_it_is(data: bytearray, rng: Generator, _: dict[str, bytes]) -> bytearray:
    return data


_PARTS = (
    rb"ftyp|moov|mdat|trak|mdia|minf|stbl|stsd|stts|stsc|stsz|stco|ctts|stss|mvhd|tkhd|mdhd|edts|elst|udta|"
    rb"LIST|hdrl|avih|strl|strh|strf|movi|idx1|00dc|\x1a\x45\xdf\xa3|\x18\x53\x80\x67|\x16\x54\xae\x6b|\x1f\x43\xb6\x75|"
    rb"\x1c\x53\xbb\x6b|\x21\xf9\x04|\x00\x00\x01|IHDR|IDAT"
)
_COUNTS = (
    rb"stts|stsc|stsz|stco|ctts|stss|mvhd|tkhd|mdhd|elst|avih|strh|strf|idx1|IHDR|GIF89a|"
    rb"\x2a\xd7\xb1|\x44\x89|\x23\xe3\x83"
)
MUTATIONS: dict[str, Mutation] = {
    "few bits": _flip_few,
    "many bytes": _flip_many,
    "header bytes": _flip_head,
    "truncated": _truncate,
    "beheaded": _behead,
    "empty": _empty,
    "swapped": _swap,
    "spliced": _splice,
    "repeated": _repeat,
    "sizes": _insane_sizes,
    "counts": _insane_counts,
    "lengths": _lengths,
    "noise": _noise,
    "wrong suffix": _as_it_is,
}
