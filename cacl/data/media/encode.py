"""Frames in memory to an encoded file: the one place that writes video.

The demo's generator and the tests make their videos here, so that what is decoded elsewhere was really encoded, with
B-frames, rotation metadata or uneven timestamps where asked for.

Legend: T frames, H height and W width in pixels, C = 3 colours (RGB).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from numpy.typing import NDArray

from cacl.errors import UserError

if TYPE_CHECKING:
    from av.video.stream import VideoStream

_TICKS_PER_SECOND = 12_800  # divides into 25, 30, 50 frames a second, and below MPEG-4's limit of 65 535


def write_video(
    path: str | Path,
    frames_THWC: NDArray[np.uint8],
    *,
    fps: float = 25.0,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rotation: Literal[0, 90, 180, 270] = 0,
    timestamps: Sequence[float] | None = None,
    options: Mapping[str, str] | None = None,
) -> None:
    """Encode frames into one video file; the suffix of ``path`` chooses the container (.mp4, .avi, .webm, .mov, ...).

    Args:
        path: the file to write; its folder must exist; an existing file is replaced.
        frames_THWC: RGB frames as they are to be stored, uint8 ``[T, H, W, 3]``, T at least 1.
        fps: frames a second, above 0; the frame duration where ``timestamps`` is given.
        codec: an encoder of FFmpeg: ``libx264``, ``libx265``, ``mpeg4``, ``libvpx-vp9``, ``ffv1``, ...
        pixel_format: FFmpeg's name for how pixels are stored, e.g. ``yuv420p``, ``yuv420p10le``, ``yuv444p``. H.264
            with ``yuv420p`` needs an even H and W.
        rotation: in °, by which a player turns the stored frames clockwise (.mp4 and .mov only).
        timestamps: presentation time of each frame, seconds, increasing, T values; evenly spaced when ``None``.
        options: options of the encoder, e.g. ``{"g": "12", "bf": "2", "crf": "18"}``.

    Raises:
        UserError: the encoder is missing or refuses the size or format.
        ValueError: frames of a wrong shape or type, or a wrong number of timestamps.
    """
    import av

    shape = frames_THWC.shape
    if frames_THWC.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or not shape[0]:
        raise ValueError(f"frames must be uint8 [T, H, W, 3], T at least 1; got {frames_THWC.dtype} {shape}")
    if timestamps is not None and len(timestamps) != shape[0]:
        raise ValueError(f"{len(timestamps)} timestamps for {shape[0]} frames")
    rate = Fraction(fps).limit_denominator(1001)
    try:
        with av.open(str(path), "w") as container:
            stream = cast("VideoStream", container.add_stream(codec, rate=rate, options=dict(options or {})))
            stream.height, stream.width, stream.pix_fmt = shape[1], shape[2], pixel_format
            stream.codec_context.thread_count = 1  # the same bytes on every machine
            if rotation:
                stream.set_display_rotation(-rotation)
            time_base = 1 / rate if timestamps is None else Fraction(1, _TICKS_PER_SECOND)
            stream.codec_context.time_base = time_base
            for index, pixels_HWC in enumerate(frames_THWC):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels_HWC), format="rgb24")
                frame.time_base = time_base
                frame.pts = index if timestamps is None else round(timestamps[index] * _TICKS_PER_SECOND)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except (av.FFmpegError, ValueError) as error:
        raise UserError(
            f"{path}: cannot write {shape[2]}×{shape[1]} {pixel_format} video with {codec} ({error})."
        ) from error
