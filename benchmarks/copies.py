"""Made scenes, other takes of them, and copies as people make them: re-encoded, cropped, mirrored, slowed, with a logo.

A scene is a place (a background of plane waves and blocks, a camera that drifts) and a take (objects that go their own
ways). Another take of the same place is the near miss that a finder of copies must not fall for.

Legend: T frames, H height, W width, C = 3 colours.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from cacl.data.media.encode import write_video

Frames = NDArray[np.uint8]
HEIGHT, WIDTH, FPS = 96, 128, 25.0


def render(place: int, take: int, seconds: float) -> Frames:
    """A take at a place, uint8 ``[T, H, W, 3]``."""
    rng = np.random.default_rng([place, 1])
    size = 2 * HEIGHT
    y, x = np.mgrid[0:size, 0 : size * WIDTH // HEIGHT].astype(np.float32) / HEIGHT
    ground = np.zeros((*y.shape, 3), np.float32) + rng.uniform(70, 180, 3).astype(np.float32)
    for _ in range(8):
        wave = np.sin(2 * np.pi * (x * rng.normal() * 2 + y * rng.normal() * 2 + rng.random()))
        ground += wave[..., None] * rng.normal(0, 12, 3).astype(np.float32)
    for _ in range(25):
        top, left = rng.integers(0, y.shape[0]), rng.integers(0, y.shape[1])
        high, wide = rng.integers(5, 40, 2)
        ground[top : top + high, left : left + wide] += rng.normal(0, 35, 3).astype(np.float32)
    rng = np.random.default_rng([place, take, 2])
    count = round(seconds * FPS)
    camera = _walk(rng, count, 2, 8.0) * (0.0 if place % 2 else 12.0)
    frames = np.empty((count, HEIGHT, WIDTH, 3), np.uint8)
    objects = [(_walk(rng, count, 2, 2.5), rng.uniform(0.1, 0.22), rng.normal(0, 60, 3)) for _ in range(3)]
    row, column = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    for t in range(count):
        top = int(np.clip(HEIGHT / 2 + camera[t, 0], 0, size - HEIGHT))
        left = int(np.clip(WIDTH / 2 + camera[t, 1], 0, ground.shape[1] - WIDTH))
        picture = ground[top : top + HEIGHT, left : left + WIDTH].copy()
        for number, (path, radius, colour) in enumerate(objects):
            middle = (path[t] * 0.3 + 0.5) * [HEIGHT, WIDTH]
            apart = [(row - middle[0]) / HEIGHT, (column - middle[1]) / HEIGHT]
            away = np.maximum(abs(apart[0]), abs(apart[1])) if number else np.hypot(apart[0], apart[1])
            picture += (away < radius)[..., None] * colour.astype(np.float32)
        frames[t] = np.clip(picture, 0, 255)
    return frames


def _walk(rng: np.random.Generator, count: int, axes: int, period: float) -> NDArray[np.float64]:
    """Smooth random courses, variance about 1, ``[count, axes]``."""
    time = np.arange(count) / FPS
    waves = [
        np.sin(2 * np.pi * (time[:, None] / (period * rng.uniform(0.5, 2, axes)) + rng.random(axes))) for _ in "123"
    ]
    return np.asarray(sum(waves)) / 1.22


def _resize(frames: Frames, height: int, width: int) -> Frames:
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    small = interpolate(pixels, (height, width), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _crop(frames: Frames) -> Frames:
    top, left = round(0.12 * HEIGHT), round(0.07 * WIDTH)
    cut = frames[:, top : top + round(0.8 * HEIGHT), left : left + round(0.8 * WIDTH)]
    return _resize(cut, HEIGHT, WIDTH)


def _letterbox(frames: Frames) -> Frames:
    wide = np.full((len(frames), HEIGHT + 40, WIDTH, 3), 3, np.uint8)
    wide[:, 20:-20] = frames
    return wide


def _colours(frames: Frames) -> Frames:
    mixed = frames.astype(np.float32) @ np.array([[0.6, 0.1, 0.2], [0.3, 0.7, 0.1], [0.1, 0.2, 0.7]], np.float32)
    return np.clip((mixed / 255) ** 0.8 * 230 + 20, 0, 255).astype(np.uint8)


def _logo(frames: Frames) -> Frames:
    marked = frames.copy()
    marked[:, 6:26, 90:122] = (235, 235, 30)
    marked[:, 12:20, 96:116] = (30, 30, 200)
    return marked


def _speed(factor: float) -> Callable[[Frames], Frames]:
    return lambda frames: frames[np.minimum((np.arange(len(frames) / factor) * factor).astype(int), len(frames) - 1)]


def _rate(frames: Frames) -> Frames:
    return frames[np.arange(0, len(frames), 2)]


def _embed(frames: Frames) -> Frames:
    place = 10_000 + 2 * int(frames[0].sum())  # others for every video: a trailer that all share is a copy, too
    return np.concatenate([render(place, 0, 4.0), frames, render(place + 1, 0, 5.0)])


EASY: dict[str, Callable[[Frames], Frames]] = {
    "exact": lambda frames: frames,
    "re-encoded": lambda frames: frames,
    "scaled": lambda frames: _resize(frames, 60, 80),
    "trimmed": lambda frames: frames[len(frames) // 5 : -len(frames) // 6],
}
HARD: dict[str, Callable[[Frames], Frames]] = {
    "letterboxed": _letterbox,
    "cropped": _crop,
    "mirrored": lambda frames: frames[:, :, ::-1],
    "embedded": _embed,
    "coded coarsely": lambda frames: frames,
    "half the frames": _rate,
    "speed 0.5": _speed(0.5),
    "speed 0.8": _speed(0.8),
    "speed 1.25": _speed(1.25),
    "speed 2": _speed(2.0),
    "colours": _colours,
    "logo": _logo,
}


def truth(name: str, length: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where a copy of a video of this length is, in the video and in the copy, seconds."""
    if name == "trimmed":
        count = round(length * FPS)
        first, last = count // 5, count - (count + 5) // 6
        return (first / FPS, last / FPS), (0.0, (last - first) / FPS)
    if name == "embedded":
        return (0.0, length), (4.0, 4.0 + length)
    factor = float(name.split()[1]) if name.startswith("speed") else 1.0
    return (0.0, length), (0.0, length / factor)


def write_copy(path: Path, name: str, frames: Frames) -> None:
    """Encode a copy as the transformation has it."""
    changed = np.ascontiguousarray({**EASY, **HARD}[name](frames))
    quality = {"re-encoded": "28", "coded coarsely": "36"}.get(name, "23")
    fps = FPS / 2 if name == "half the frames" else FPS
    write_video(path, changed, fps=fps, options={"preset": "ultrafast", "crf": quality})


def read(path: Path) -> tuple[Frames, NDArray[np.float64]]:
    """All frames of a video and their times, seconds."""
    with av.open(str(path)) as container:
        frames = [(frame.to_ndarray(format="rgb24"), frame.time or 0.0) for frame in container.decode(video=0)]
    return np.stack([pixels for pixels, _ in frames]), np.array([time for _, time in frames])
