"""Whole files of the unusual kinds: photographs in a video, joined and cut recordings, stills, matrices, palettes."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cacl.data.media.encode import write_video

Frames = NDArray[np.uint8]
_MPEG2 = {"g": "8", "bf": "2"}


def _photograph(frame: Frames, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 7, "camera"
    file = io.BytesIO()
    Image.fromarray(frame).save(file, kind, **({"exif": exif} if kind == "jpeg" else {}))
    return file.getvalue()


def _mux(path: Path, payloads: list[bytes], codec: str, form: str, frames: Frames) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], form
        for number, payload in enumerate(payloads):
            packet = av.Packet(payload)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), stream, True
            container.mux(packet)


def _encode(path: Path, made: list[av.VideoFrame], codec: str, *, matrix: int | None = None, **options: str) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = made[0].width, made[0].height, made[0].format.name
        if matrix is not None:
            stream.codec_context.colorspace = matrix
        for number, frame in enumerate(made):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _exif(path: Path, frames: Frames) -> None:
    _mux(path, [_photograph(frame, "jpeg") for frame in frames[:34]], "mjpeg", "yuvj420p", frames)


def _joined(path: Path, frames: Frames) -> None:
    for count in (12, 34):
        write_video(path, frames[:count], codec="mpeg2video", options=_MPEG2)
        path.with_suffix(f".{count}").write_bytes(path.read_bytes())
    path.write_bytes(path.with_suffix(".12").read_bytes() + path.with_suffix(".34").read_bytes())


def _cut(path: Path, frames: Frames) -> None:
    """Begins in the middle of a group, and a packet is missing."""
    write_video(path, frames, options={"g": "8", "bf": "2", "preset": "ultrafast"})
    packets = [path.read_bytes()[at : at + 188] for at in range(0, path.stat().st_size, 188)]
    path.write_bytes(b"".join(packets[:3] + packets[6:20] + packets[21:]))


def _still(path: Path, frames: Frames) -> None:
    path.write_bytes(_photograph(frames[0], {".jpg": "jpeg", ".tif": "tiff"}[path.suffix]))


def _matrix(path: Path, frames: Frames) -> None:
    made = [av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p") for frame in frames]
    for frame in made:
        frame.colorspace = 8
    _encode(path, made, "libx264", matrix=8, g="8", preset="ultrafast")


def _palette(path: Path, frames: Frames) -> None:
    made, rng = [], np.random.default_rng(0)
    for number, frame in enumerate(frames[:34]):
        colours = rng.integers(0, 256, (256, 4), dtype=np.uint8) if number % 9 == 0 else colours  # noqa: F821
        picture = av.VideoFrame(frame.shape[1], frame.shape[0], "pal8")
        picture.planes[0].update(np.ascontiguousarray(frame[..., 0]).tobytes())
        picture.planes[1].update(colours.tobytes())
        made.append(picture)
    _encode(path, made, "rawvideo")


def _bits(path: Path, frames: Frames) -> None:
    gray: list[Any] = [av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="monob") for frame in frames]
    _encode(path, gray[:34], "rawvideo")


def _deep(path: Path, frames: Frames) -> None:
    made = [av.VideoFrame.from_ndarray(f[..., 0].astype(np.uint16) * 16, format="gray16le") for f in frames[:34]]
    _encode(path, made, "ffv1")


def _fields(path: Path, frames: Frames) -> None:
    options = {"g": "8", "bf": "2", "flags": "+ildct+ilme", "field_order": "tt"}
    write_video(path, frames, codec="mpeg2video", options=options)


UNUSUAL: dict[str, Callable[[Path, Frames], None]] = {
    "exif.avi": _exif,
    "joined.ts": _joined,
    "cut.ts": _cut,
    "still.jpg": _still,
    "still.tif": _still,
    "matrix.mp4": _matrix,
    "palette.avi": _palette,
    "bits.nut": _bits,
    "deep.mkv": _deep,
    "fields.mpg": _fields,
}
