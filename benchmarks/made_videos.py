"""Videos for measuring readers: a moving camera over a textured scene, things that move in it, and sensor noise.

Noise matters: it costs bits, and bits cost decoding time; clean synthetic pictures decode far too fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cacl.data.media.encode import write_video


@dataclass(frozen=True)
class Kind:
    """A kind of file: its name, size, length in frames, codec and the encoder's options."""

    name: str
    suffix: str
    height: int
    width: int
    frames: int
    codec: str
    options: dict[str, str]
    videos: int
    noise: float


def kinds(*, quick: bool) -> list[Kind]:
    """The four kinds that the targets name; quick: the same kinds, small and short."""
    if quick:
        small = ("libx264", {"g": "12", "bf": "2"})
        return [
            Kind("AVI 320x240", ".avi", 120, 160, 48, "mpeg4", {"g": "24"}, 2, 2.0),
            Kind("MP4 172x128", ".mp4", 96, 128, 48, *small, 2, 2.0),
        ]
    xvid = {"g": "250", "qmin": "3", "qmax": "5"}  # about 3 kB a frame, as UCF101's XviD
    fast = {"preset": "veryfast", "crf": "23", "bf": "3", "refs": "3", "sc_threshold": "0"}
    return [
        Kind("AVI 320x240", ".avi", 240, 320, 180, "mpeg4", xvid, 6, 4.0),
        Kind("MP4 172x128", ".mp4", 128, 172, 180, "libx264", {"crf": "23"}, 6, 3.0),
        Kind("MP4 1280x720, key 250", ".mp4", 720, 1280, 250, "libx264", {**fast, "g": "250"}, 2, 4.0),
        Kind("MP4 1280x720, key 30", ".mp4", 720, 1280, 250, "libx264", {**fast, "g": "30"}, 2, 4.0),
    ]


def make(kind: Kind, folder: Path, *, seed: int) -> list[Path]:
    """Encode the videos of a kind into ``folder``."""
    folder.mkdir(parents=True)
    paths = []
    for number in range(kind.videos):
        path = folder / f"{number}{kind.suffix}"
        rng = np.random.default_rng([seed, number, kind.height])
        write_video(path, camera(kind, rng), codec=kind.codec, options=kind.options)
        paths.append(path)
    return paths


def camera(kind: Kind, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Frames uint8 ``[T, H, W, 3]`` of a panning camera, with moving patches and noise that is new in every frame."""
    T, H, W = kind.frames, kind.height, kind.width
    scene = _texture(H + H // 4, W + W // 4, rng)
    patches = [_texture(H // 4, W // 6, rng) for _ in range(3)]
    noise = rng.normal(0, kind.noise, (3, 2 * H, 2 * W)).astype(np.int16)
    starts, speeds = rng.uniform(0, 1, (3, 2)), rng.uniform(-0.01, 0.01, (3, 2))
    out = np.empty((T, H, W, 3), np.uint8)
    for t in range(T):
        top, left = (round(n / 8 * (1 - np.cos(2 * np.pi * t / 180 + phase))) for n, phase in ((H, 0.0), (W, 0.7)))
        frame = scene[top : top + H, left : left + W].astype(np.int16)
        for patch, start, speed in zip(patches, starts, speeds, strict=True):
            y, x = ((start + speed * t) % 1 * (H - H // 4, W - W // 6)).astype(int)
            frame[y : y + H // 4, x : x + W // 6] = patch
        y, x = rng.integers(0, H), rng.integers(0, W)
        frame += noise[t % 3, y : y + H, x : x + W, None]
        out[t] = frame.clip(0, 255)
    return out


def _texture(height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Coloured structure of all sizes: random fields of several grid widths, interpolated and added."""
    total = np.full((height, width, 3), 128.0)
    for cells, strength in ((4, 50), (12, 30), (40, 14), (height // 4, 6)):
        grid = rng.normal(0, strength, (cells + 2, cells + 2, 3))
        ys, xs = np.linspace(0, cells, height), np.linspace(0, cells, width)
        y0, x0 = ys.astype(int), xs.astype(int)
        fy, fx = (ys - y0)[:, None, None], (xs - x0)[None, :, None]
        rows = grid[y0] * (1 - fy) + grid[y0 + 1] * fy
        total += rows[:, x0] * (1 - fx) + rows[:, x0 + 1] * fx
    return total.clip(0, 255).astype(np.uint8)
