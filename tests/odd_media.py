"""Unusual media files for tests, and what the product makes of them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from cacl.data.media.colours import PixelRules
from cacl.data.media.decode import VideoDecoder
from cacl.data.media.notes import notes


def mux(path: Path, payloads: list[bytes], codec: str, *, width: int, height: int, form: str) -> None:
    """Pictures that are encoded already, 25 a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, form
        for number, payload in enumerate(payloads):
            packet = av.Packet(payload)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), stream, True
            container.mux(packet)


def encode(
    path: Path, arrays: list[NDArray[Any]], form: str, codec: str, options: dict[str, str] | None = None
) -> None:
    """Frames of any pixel format as they are, 25 a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        first = av.VideoFrame.from_ndarray(arrays[0], format=form)
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, form
        for number, array in enumerate(arrays):
            frame = av.VideoFrame.from_ndarray(array, format=form)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def read(path: Path, index: int = 0, *, rules: PixelRules | None = None, small: bool = False) -> NDArray[np.uint8]:
    with VideoDecoder(path, **({} if rules is None else {"rules": rules})) as decoder:
        height, width = (8, 8) if small else (decoder.info.height, decoder.info.width)
        return decoder.read([index], height=height, width=width)[0]


def said(path: Path) -> list[str]:
    with VideoDecoder(path) as decoder:
        return notes(decoder.timeline, 0, decoder.frames)
