"""From a decoded frame to upright RGB pixels of one size.

One scaler serves a whole thread: making one for each frame costs more than the scaling of small video, and two threads
in one scaler crash the process.
"""

from __future__ import annotations

import threading
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from cacl.data.media.colours import AS_CODED, HDR, PixelRules, matrix_of, to_levels, to_sdr
from cacl.data.media.cut import WHOLE, Cut

if TYPE_CHECKING:
    from collections.abc import Mapping

    from av.buffer import Buffer
    from av.filter import Graph
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter

_own = threading.local()  # .scaler and .fields of this thread
_SIDE_DATA = 64  # kinds of FFmpeg's data about a frame; some forty are in use


class Orientation(NamedTuple):
    """How stored pixels become upright: rows and columns change places first, then each axis may be reversed."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def rotation(self) -> int:
        """Degrees clockwise: 0, 90, 180 or 270 (of a mirrored picture: without the mirroring)."""
        return {
            (False, True, True): 180,
            (True, True, False): 90,
            (True, False, True): 270,
        }.get((self.transpose, self.flip_x, self.flip_y), 0)


def orientation_of(frame: VideoFrame) -> Orientation:
    """Read the display matrix that a camera wrote: x' = a·x + c·y, y' = b·x + d·y (ISO/IEC 14496-12, 6.2.2)."""
    data = _display_matrix(frame)
    if data is None or len(data) < 36:
        return Orientation()
    a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(transpose=False, flip_x=a < 0, flip_y=d < 0)
    return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0)


def rgb(
    frame: VideoFrame,
    orientation: Orientation,
    *,
    height: int,
    width: int,
    rules: PixelRules = AS_CODED,
    cut: Cut = WHOLE,
) -> NDArray[np.uint8]:
    """One frame as uint8 RGB ``[height, width, 3]``, stretched (bilinear, every source pixel counts) and upright.

    Of an interlaced frame, which holds two moments in alternate rows, the upper field is taken.

    Args:
        rules: how its values become RGB.
        cut: the part of it that is seen, in pixels of the upright frame.

    Raises:
        OSError or ValueError: of FFmpeg, which does not know the frame's format.
    """
    if cut != WHOLE:
        from av import VideoFrame as Frame

        turned = orientation.transpose
        rows, columns = (frame.width, frame.height) if turned else (frame.height, frame.width)
        upright = np.ascontiguousarray(rgb(frame, orientation, height=rows, width=columns, rules=rules))
        frame, orientation, rules = Frame.from_ndarray(cut.of(upright), format="rgb24"), Orientation(), AS_CODED
    matrix, _ = matrix_of(frame, rules)
    levels = rules.levels if is_deep(frame) and rules.levels != AS_CODED.levels else None
    light = frame.color_trc if rules.colours == "shown" and frame.color_trc in HDR else None
    primaries = frame.color_primaries
    if frame.interlaced_frame:
        frame = _upper_field(frame)
    rows, columns = (width, height) if orientation.transpose else (height, width)
    # At its own size nothing is interpolated, whatever the number of bits; FFmpeg by itself would smooth the colours of
    # 10-bit video but not those of 8-bit video.
    kernel = "POINT" if (rows, columns) == (frame.height, frame.width) else "BILINEAR"
    form = "rgb24" if levels is None and light is None else "rgb48le"
    scaled = _scaler().reformat(
        frame, columns, rows, form, interpolation=kernel, threads=1, src_colorspace=matrix, dst_colorspace=matrix
    )
    if levels is not None:
        pixels = to_levels(np.asarray(scaled.to_ndarray(), np.uint16), levels)
    elif light is not None:
        pixels = to_sdr(np.asarray(scaled.to_ndarray(), np.uint16), light=light, primaries=primaries)
    else:
        pixels = np.asarray(scaled.to_ndarray(), np.uint8)
    if orientation.transpose:
        pixels = pixels.transpose(1, 0, 2)
    return pixels[:: -1 if orientation.flip_y else 1, :: -1 if orientation.flip_x else 1]


def refusals() -> tuple[type[Exception], ...]:
    """What PyAV raises where FFmpeg refuses a frame."""
    import av

    return av.FFmpegError, OSError, ValueError, RuntimeError


def deep_pixels(frame: VideoFrame) -> NDArray[np.uint16]:
    """The values of a frame that ``is_deep``, scaled to 16 bits: ``[H, W, 3]``."""
    return np.asarray(_scaler().reformat(frame, format="rgb48le", interpolation="POINT", threads=1).to_ndarray())


def is_deep(frame: VideoFrame) -> bool:
    """Whether its values are measured ones of more than 8 bits: grey or RGB, not coded for a screen as YUV is."""
    form = frame.format
    return form.components[0].bits > 8 and (form.is_rgb or form.name.startswith(("gray", "ya16")))


def oddities(frame: VideoFrame) -> tuple[str, ...]:
    """What is unusual about a frame's pixels, for ``videos.csv``."""
    _, problem = matrix_of(frame, AS_CODED)
    found = [problem] if problem else []
    if (light := HDR.get(frame.color_trc)) is not None:
        found.append(f"HDR ({light})")
    if is_deep(frame):
        found.append(f"{frame.format.components[0].bits} bits a value")
    return tuple(found)


def _scaler() -> VideoReformatter:
    scaler: VideoReformatter | None = getattr(_own, "scaler", None)
    if scaler is None:
        from av.video.reformatter import VideoReformatter

        scaler = _own.scaler = VideoReformatter()
    return scaler


def _upper_field(frame: VideoFrame) -> VideoFrame:
    """Rows 0, 2, 4 … of all planes: one moment, whichever field is the earlier."""
    kind = (frame.format.name, frame.width, frame.height)
    known: tuple[tuple[str, int, int], Graph] | None = getattr(_own, "fields", None)
    if known is None or known[0] != kind:
        known = _own.fields = kind, _filters(frame, [("field", "type=top")])
    known[1].push(frame)
    return _pulled(known[1])


def _display_matrix(frame: VideoFrame) -> bytes | None:
    try:
        data = _matrix_among(frame)
    except ValueError:  # PyAV 18 stumbles over data of a kind that it does not know, as EXIF of a photograph
        from av.sidedata.sidedata import Type

        known: set[object] = {kind.value for kind in Type}
        graph = _filters(
            frame, [("sidedata", f"mode=delete:type={kind}") for kind in range(_SIDE_DATA) if kind not in known]
        )
        graph.push(frame)
        data = _matrix_among(_pulled(graph))
    return None if data is None else bytes(data)


def _matrix_among(frame: VideoFrame) -> Buffer | None:
    return cast("Mapping[str, Buffer]", frame.side_data).get("DISPLAYMATRIX")


def _filters(frame: VideoFrame, chain: list[tuple[str, str]]) -> Graph:
    """FFmpeg's filters one after the other, for frames like this one."""
    from av.filter import Graph

    graph = Graph()
    last = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000))
    for name, arguments in [*chain, ("buffersink", "")]:
        step = graph.add(name, arguments or None)
        last.link_to(step)
        last = step
    graph.configure()
    return graph


def _pulled(graph: Graph) -> VideoFrame:
    from av.video.frame import VideoFrame

    frame = graph.pull()
    assert isinstance(frame, VideoFrame)
    return frame
