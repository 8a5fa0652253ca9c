"""The demo's own videos: ten classes of moving objects, encoded as real files, that neither colour nor place tells.

A class is a look (rings, stripes, stars, ...) together with a way to move. Everything else is drawn anew for every
video, and most of it drifts within the video too: tint, light, background, place, size, pace, direction, camera shake,
noise and other objects. So colours and layout say nearly nothing about the class; what stays the same from one moment
of a video to another, under any light, does.

Legend: T frames, H height and W width in pixels, S side of an object's box in pixels, K plane waves, C = 3 colours.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cacl.data.media.encode import write_video
from cacl.data.randomness import generator
from cacl.data.synthetic import motions, shapes
from cacl.errors import UserError

Canvas = NDArray[np.float32]  # [T, H, W, 3], 0 black, 1 white; may leave [0, 1] until it is turned into pixels
Course = NDArray[np.float64]

CLASSES: dict[str, tuple[shapes.Look, motions.Motion]] = {
    "bouncing_rings": (shapes.ring, motions.bounce),
    "drifting_frames": (shapes.frame, motions.figure),
    "jumping_stars": (shapes.star, motions.jump),
    "orbiting_dots": (shapes.dots, motions.orbit),
    "pulsing_checks": (shapes.checks, motions.pulse),
    "rolling_pinwheels": (shapes.pinwheel, motions.roll),
    "spinning_crosses": (shapes.cross, motions.spin),
    "squeezed_bullseyes": (shapes.bullseye, motions.squeeze),
    "swinging_stripes": (shapes.stripes, motions.swing),
    "zigzag_triangles": (shapes.triangle, motions.zigzag),
}
"""Class name to its look and its motion, sorted by name; the place of a class here is part of its draws' key."""

# How strong the nuisance is, found by experiment. Colours are on [0, 1], lengths in heights of the picture, times in
# frames. The tint drifts at least as far within a video as it differs between videos, and in about the time between two
# moments of a video: so it is no help in telling videos apart, and hides the class from everything that counts colours.
_TINT, _TINT_DRIFT, _TINT_PERIOD = 0.10, 0.17, (24.0, 60.0)
_OBJECT_TINT_DRIFT = 0.12
_CONTRAST = (0.35, 0.65)  # between objects and background
_BACKGROUND_CONTRAST = (0.02, 0.10)
_WAVES = 10  # plane waves that make a background
_RADIUS, _OBJECTS = (0.24, 0.30), (2, 3)
_PERIOD = (24.0, 40.0)
_SLOW = (50.0, 120.0)
_DISTRACTORS = 2  # at most
_NOISE = 0.03
_NOISE_ROOM = 24  # pixels by which the noise is moved about from frame to frame

# Without "mbtree" x264 writes the same bytes every time; with it, files differ from run to run now and then.
_ENCODER = {"preset": "veryfast", "crf": "23", "g": "24", "bf": "2", "mbtree": "0"}


def make_videos(
    folder: str | Path,
    *,
    seed: int = 0,
    videos_per_class: tuple[int, int] = (30, 12),
    size: tuple[int, int] = (96, 128),
    frames: tuple[int, int] = (56, 88),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write ``folder/train/CLASS/*.mp4`` and ``folder/test/CLASS/*.mp4``: H.264 in MP4 at 25 frames a second.

    The same arguments always write the same pictures, and a video's pictures do not depend on how many others are made.

    Args:
        folder: made when missing; must be empty.
        seed: 0 or more; makes the videos.
        videos_per_class: how many training and how many test videos each of the ten classes gets.
        size: height and width in pixels, both even.
        frames: fewest and most frames a video, both included; drawn uniformly.
        progress: called after each file with the number of files written and the total.

    Returns:
        The folder.

    Raises:
        UserError: the folder holds something already.
    """
    root = Path(folder)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"{root}: demo videos go into a new or empty folder; name another one or empty this one.")
    counts: dict[Literal["train", "test"], int] = {"train": videos_per_class[0], "test": videos_per_class[1]}
    total, done = sum(counts.values()) * len(CLASSES), 0
    for split, count in counts.items():
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                frames_THWC = render_video(name, split, index, seed=seed, size=size, frames=frames)
                write_video(root / split / name / f"{name}_{index:03d}.mp4", frames_THWC, options=_ENCODER)
                done += 1
                if progress is not None:
                    progress(done, total)
    return root


def render_video(
    name: str,
    split: Literal["train", "test"],
    index: int,
    *,
    seed: int = 0,
    size: tuple[int, int] = (96, 128),
    frames: tuple[int, int] = (56, 88),
) -> NDArray[np.uint8]:
    """The frames of one video before encoding, uint8 ``[T, H, W, 3]``, a function of the arguments alone.

    Args:
        name: a key of ``CLASSES``.
        split: training and test videos are different draws.
        index: 0 or more, the video's number in its class and split.
        seed: as in :func:`make_videos`, like ``size`` and ``frames``.
    """
    look, motion = CLASSES[name]
    rng = generator(seed, "synthetic", list(CLASSES).index(name), ("train", "test").index(split), index)
    count = int(rng.integers(frames[0], frames[1] + 1))
    height, width = size
    camera_T2 = 0.06 * height * _drift(rng, count, 2, _SLOW) + np.cumsum(rng.normal(0, 0.35, (count, 2)), axis=0)
    canvas = _background(rng, camera_T2, height, width)
    mean_T3 = canvas[:, ::8, ::8].mean((1, 2), dtype=np.float64)
    for _ in range(int(rng.integers(0, _DISTRACTORS + 1))):
        _add_distractor(canvas, rng, camera_T2, mean_T3)
    _add_objects(canvas, rng, look, motion, camera_T2, mean_T3)
    _add_noise(canvas, rng)
    canvas *= np.float32(255)
    canvas += np.float32(0.5)
    return np.clip(canvas, 0, 255, out=canvas).astype(np.uint8)


def _drift(rng: np.random.Generator, count: int, courses: int, period: tuple[float, float]) -> Course:
    """Smooth random courses around 0 with variance 1, ``[T, courses]``: each the sum of two sine waves."""
    turns = np.arange(count)[:, None, None] / rng.uniform(*period, (courses, 2)) + rng.random((courses, 2))
    course: Course = np.sin(2 * np.pi * turns).sum(2)
    return course


def _background(rng: np.random.Generator, camera_T2: Course, height: int, width: int) -> Canvas:
    """One drifting tint with a slowly changing sum of plane waves on it.

    cos(a + b) = cos a cos b - sin a sin b makes the sum of K waves a matrix product [H, 2K] x [2K, W] for each frame,
    which is cheap and lets the camera move by fractions of a pixel.
    """
    count = len(camera_T2)
    wave_K2 = rng.uniform(0.2, 3.0, (_WAVES, 2)) * rng.choice([-1, 1], (_WAVES, 2))  # waves a height of the picture
    weight_K = 1 / (0.5 + np.hypot(wave_K2[:, 0], wave_K2[:, 1]))
    weight_K /= np.sqrt((weight_K**2).sum() / 2)
    turns_TK = rng.random(_WAVES) + np.arange(count)[:, None] * rng.normal(0, 0.004, _WAVES)
    x_TW = (np.arange(width) - camera_T2[:, :1]) / height
    y_TH = (np.arange(height) - camera_T2[:, 1:]) / height
    across_TKW = 2 * np.pi * (x_TW[:, None, :] * wave_K2[:, :1] + turns_TK[:, :, None])
    down_THK = 2 * np.pi * y_TH[:, :, None] * wave_K2[:, 1]
    left_TH2K = np.concatenate([np.cos(down_THK) * weight_K, -np.sin(down_THK) * weight_K], axis=2)
    right_T2KW = np.concatenate([np.cos(across_TKW), np.sin(across_TKW)], axis=1)
    field_THW = left_TH2K.astype(np.float32) @ right_T2KW.astype(np.float32)
    direction = rng.normal(0, 1, 3)
    direction = direction / np.linalg.norm(direction) + 0.6 * rng.choice([-1, 1])  # part hue, part light
    swing = (direction * rng.uniform(*_BACKGROUND_CONTRAST)).astype(np.float32)
    tint_T3 = 0.5 + _TINT * rng.uniform(-1, 1, 3) + _TINT_DRIFT * _drift(rng, count, 3, _TINT_PERIOD)
    canvas: Canvas = field_THW[..., None] * swing
    canvas += tint_T3[:, None, None].astype(np.float32)
    return canvas


def _add_objects(
    canvas: Canvas,
    rng: np.random.Generator,
    look: shapes.Look,
    motion: motions.Motion,
    camera_T2: Course,
    mean_T3: Course,
) -> None:
    """The objects that make the class: all of one look and motion, side by side, each at its own phase."""
    count, height, width, _ = canvas.shape
    objects = int(rng.integers(_OBJECTS[0], _OBJECTS[1] + 1))
    zoom_T = np.exp(0.12 * _drift(rng, count, 1, _SLOW)[:, 0])
    radius_T = rng.uniform(*_RADIUS) * height * zoom_T * (1.0, 0.85)[objects == _OBJECTS[1]]
    sign = float(rng.choice([-1, 1]))
    phase_T = np.arange(count) / rng.uniform(*_PERIOD) + 0.05 * _drift(rng, count, 1, _SLOW)[:, 0]
    home_T2 = camera_T2 + 0.07 * height * _drift(rng, count, 2, _SLOW)
    lighter = rng.choice([-1, 1]) * rng.uniform(*_CONTRAST)
    tint_T3 = _OBJECT_TINT_DRIFT * _drift(rng, count, 3, _TINT_PERIOD)
    first_T3 = mean_T3 + lighter + tint_T3
    second_T3 = mean_T3 - lighter * rng.uniform(0.2, 1.0) - tint_T3
    places = (np.arange(objects) + 0.5) / objects * width + rng.normal(0, 0.06 * width, objects)
    for place in places:
        pose = motion(phase_T + rng.random(), sign)
        middle = np.array([place, rng.uniform(0.32, 0.68) * height])
        offset_T2 = np.stack([pose.x, pose.y], axis=1) * radius_T[:, None]
        size_T2 = np.stack([pose.width, pose.height], axis=1) * radius_T[:, None]
        tilt_T = pose.angle + rng.normal(0, 0.15)
        _draw(canvas, look, middle + home_T2 + offset_T2, size_T2, tilt_T, first_T3, second_T3)


def _add_distractor(canvas: Canvas, rng: np.random.Generator, camera_T2: Course, mean_T3: Course) -> None:
    """A plain blob or slab of any colour that floats about; every class has them."""
    count, height, width, _ = canvas.shape
    look = shapes.blob if rng.random() < 0.6 else shapes.slab
    centre_T2 = rng.random(2) * [width, height] + camera_T2 + 0.15 * height * _drift(rng, count, 2, _SLOW)
    size_T2 = np.broadcast_to(rng.uniform(0.08, 0.35) * height * rng.uniform(0.6, 1.0, 2), (count, 2))
    colour_T3 = mean_T3 + rng.normal(0, 0.3, 3)
    _draw(canvas, look, centre_T2, size_T2, np.full(count, rng.uniform(0, np.pi)), colour_T3, colour_T3)


def _add_noise(canvas: Canvas, rng: np.random.Generator) -> None:
    """Grey sensor noise: one sheet, shifted at random for every frame (fresh noise would cost more than the scene)."""
    count, height, width, _ = canvas.shape
    sheet = rng.standard_normal((height + _NOISE_ROOM, width + _NOISE_ROOM), dtype=np.float32)
    sheet *= np.float32(rng.uniform(0, _NOISE))
    for frame_HWC, (y, x) in zip(canvas, rng.integers(0, _NOISE_ROOM + 1, (count, 2)), strict=True):
        frame_HWC += sheet[y : y + height, x : x + width, None]


def _draw(
    canvas: Canvas,
    look: shapes.Look,
    centre_T2: Course,
    size_T2: Course,
    angle_T: Course,
    first_T3: Course,
    second_T3: Course,
) -> None:
    """Paint one object over the canvas.

    Args:
        centre_T2: x and y in pixels.
        size_T2: radius along x and along y, in pixels: the turned object is stretched, not the stretched one turned.
        angle_T: clockwise turn as shown, radians.
        first_T3: colour where the look's tone is 0.
        second_T3: colour where the look's tone is 1.
    """
    height, width = canvas.shape[1:3]
    half = int(np.ceil(size_T2.max())) + 2
    corner_T2 = np.floor(centre_T2).astype(np.int64) - half
    steps_S = np.arange(2 * half + 1)
    x_T1S = ((steps_S - (centre_T2 - corner_T2)[:, :1]) / size_T2[:, :1]).astype(np.float32)[:, None, :]
    y_TS1 = ((steps_S - (centre_T2 - corner_T2)[:, 1:]) / size_T2[:, 1:]).astype(np.float32)[:, :, None]
    cos_T11 = np.cos(angle_T).astype(np.float32)[:, None, None]
    sin_T11 = np.sin(angle_T).astype(np.float32)[:, None, None]
    pixel_T11 = (1.2 / size_T2.min(1)).astype(np.float32)[:, None, None]
    alpha_TSS, tone_TSS = look(cos_T11 * x_T1S + sin_T11 * y_TS1, cos_T11 * y_TS1 - sin_T11 * x_T1S, pixel_T11)
    first_T11C = first_T3.astype(np.float32)[:, None, None]
    colour_TSSC = first_T11C + tone_TSS[..., None] * (second_T3.astype(np.float32)[:, None, None] - first_T11C)
    for t, (x, y) in enumerate(corner_T2.tolist()):
        rows, columns = slice(max(0, -y), height - y), slice(max(0, -x), width - x)
        part_HWC = canvas[t, max(0, y) : max(0, y + len(steps_S)), max(0, x) : max(0, x + len(steps_S))]
        if part_HWC.size:
            part_HWC += alpha_TSS[t, rows, columns, None] * (colour_TSSC[t, rows, columns] - part_HWC)
