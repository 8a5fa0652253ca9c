"""Pixels of unusual frames: photographs' side data, fields, matrices, palettes, bits; right values by other means."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from conftest import blocks
from numpy.typing import NDArray
from odd_media import mux, read, said
from PIL import Image, ImageOps

from cacl.data.media import pixels
from cacl.data.media.decode import VideoDecoder
from cacl.data.media.encode import write_video
from cacl.data.videos.scan import scan
from cacl.errors import VideoError

# ---- side data -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", range(1, 9))
def test_photographs_in_a_video_are_upright_by_their_exif(tmp_path: Path, turn: int) -> None:
    """All eight orientations against Pillow; EXIF is of a kind that PyAV 18 does not know."""
    corners = np.zeros((48, 64, 3), np.uint8)
    corners[:24, :32], corners[:24, 32:], corners[24:, :32] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    exif = Image.Exif()
    exif[0x0112] = turn
    file = io.BytesIO()
    Image.fromarray(corners).save(file, "jpeg", exif=exif, quality=95)
    mux(tmp_path / "p.avi", [file.getvalue()] * 3, "mjpeg", width=64, height=48, form="yuvj420p")
    upright = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    got = read(tmp_path / "p.avi", 1)
    assert got.shape == upright.shape
    assert np.abs(got.astype(int) - upright).mean() < 3


def test_tiff_frames_in_mov(tmp_path: Path) -> None:
    frames = blocks(3)
    write_video(tmp_path / "t.mov", frames, codec="tiff", pixel_format="rgb24")
    assert np.array_equal(read(tmp_path / "t.mov", 2), frames[2])
    assert [v.path for v in scan(tmp_path, deep=True).videos] == ["t.mov"]


def test_a_frame_whose_side_data_cannot_be_read_at_all(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As PyAV 18 does where it does not know a kind; the frame's own data are asked again without it."""

    class Stubborn:
        def __init__(self, frame: av.VideoFrame) -> None:
            self.frame = frame

        @property
        def side_data(self) -> object:
            raise ValueError("31 is not a valid Type")

        def __getattr__(self, name: str) -> object:
            return getattr(self.frame, name)

    with av.open(str(media / "rotated_90.mp4")) as container:
        frame = next(container.decode(video=0))
    filters = pixels._filters
    monkeypatch.setattr(pixels, "_filters", lambda _, chain: _Pushes(filters(frame, chain), frame))
    assert pixels.orientation_of(Stubborn(frame)).rotation == 90  # type: ignore[arg-type]


class _Pushes:
    def __init__(self, graph: Any, frame: av.VideoFrame) -> None:
        self.graph, self.frame = graph, frame

    def push(self, _: object) -> None:
        self.graph.push(self.frame)

    def pull(self) -> object:
        return self.graph.pull()


# ---- fields ----------------------------------------------------------------------------------------------------------


def woven(count: int, *, height: int = 96, width: int = 128) -> tuple[list[NDArray[np.uint8]], NDArray[np.uint8]]:
    """A bar that jumps from field to field: interlaced frames, and what their upper fields show."""
    moments = np.full((2 * count, height, width), 30, np.uint8)
    for t in range(2 * count):
        moments[t, :, (t * 9) % 80 : (t * 9) % 80 + 40] = 220
    frames = moments[0::2].copy()
    frames[:, 1::2] = moments[1::2, 1::2]
    return list(frames), moments[0::2]


INTERLACED = {
    "i.mp4": ("libx264", {"flags": "+ildct+ilme", "preset": "veryfast", "crf": "10"}),
    "i.mpg": ("mpeg2video", {"flags": "+ildct+ilme", "q": "2", "b": "4000000"}),
    "i.ts": ("libx264", {"flags": "+ildct+ilme", "preset": "veryfast", "crf": "10"}),
    "i.mkv": ("ffv1", {}),
}


@pytest.mark.parametrize("name", INTERLACED)
def test_of_interlaced_video_one_moment_is_seen(tmp_path: Path, name: str) -> None:
    frames, moments = woven(20)
    codec, options = INTERLACED[name]
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        graph = av.filter.Graph()
        source = graph.add_buffer(width=128, height=96, format="gray", time_base=Fraction(1, 25))
        steps = [graph.add(*step) for step in (("setfield", "tff"), ("format", "yuv420p"), ("buffersink",))]
        for one, other in zip([source, *steps], steps, strict=False):
            one.link_to(other)
        graph.configure()
        for number, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format="gray")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            graph.push(frame)
            container.mux(stream.encode(graph.pull()))
        container.mux(stream.encode(None))
    if name == "i.mkv" and not flagged(tmp_path / name):
        pytest.skip("this FFmpeg's FFV1 does not say that a frame is interlaced")
    assert said(tmp_path / name) == ["interlaced: one field of each frame"]
    with VideoDecoder(tmp_path / name) as decoder:
        small = decoder.read(range(20), height=48, width=64).mean(axis=-1)
    expected = moments.reshape(20, 48, 2, 64, 2).mean(axis=(2, 4))
    mixed = np.stack(frames).reshape(20, 48, 2, 64, 2).mean(axis=(2, 4))
    assert np.abs(mixed - expected).mean() > 8  # what two moments in one frame would give
    assert np.abs(small - expected)[:, 2:-2].mean() < 4


def flagged(path: Path) -> bool:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).interlaced_frame


def test_frames_that_cannot_be_turned_into_rgb_are_the_files_fault(
    media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    decoder = VideoDecoder(media / "h264.mp4")
    monkeypatch.setattr(pixels, "_scaler", lambda: type("Scaler", (), {"reformat": refuse}))
    with pytest.raises(Exception, match=r"h264.mp4: its frames \(yuv420p\) cannot be turned into RGB") as caught:
        decoder.read([0], height=8, width=8)
    assert type(caught.value).__name__ == "VideoError"
    decoder.close()
    with pytest.raises(VideoError, match=r"its frames \(yuv420p\) cannot be read \(operation not supported\)"):
        VideoDecoder(media / "h264.mp4")


# ---- palettes and single bits ----------------------------------------------------------------------------------------


def palette_video(path: Path) -> list[NDArray[np.uint8]]:
    """Pictures that stay as they are while their colours change: at first, in the middle, and none in between."""
    rng = np.random.default_rng(0)
    index = rng.integers(0, 8, (48, 64)).astype(np.uint8)
    shown, arrays = [], []
    for t in range(30):
        colours = np.random.default_rng(t // 10).integers(0, 256, (256, 3), dtype=np.uint8)
        arrays.append((index, colours))
        shown.append(colours[index])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("qtrle" if path.suffix == ".mov" else "rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "pal8"
        for number, (picture, colours) in enumerate(arrays):
            four = np.full((256, 4), 255, np.uint8)
            four[:, :3] = colours[:, ::-1]
            frame = av.VideoFrame(64, 48, "pal8")
            frame.planes[0].update(picture.tobytes())
            frame.planes[1].update(four.tobytes())
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return shown


@pytest.mark.parametrize("name", ["p.nut", "p.avi"])
def test_colours_of_a_palette_are_those_of_the_moment_after_a_seek(tmp_path: Path, name: str) -> None:
    shown = palette_video(tmp_path / name)
    with av.open(str(tmp_path / name)) as container:
        plain = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert any(not np.array_equal(plain[0], later) for later in plain)  # this container keeps changes of the palette
    assert len(plain) == len(shown)
    with VideoDecoder(tmp_path / name) as decoder:
        for i in (25, 12, 3, 29, 0, 15):
            assert np.array_equal(decoder.read([i], height=48, width=64)[0], plain[i])


@pytest.mark.parametrize("width", [64, 50, 5])
def test_video_of_single_bits(tmp_path: Path, width: int) -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (20, 48, width), dtype=np.uint8)
    with av.open(str(tmp_path / "b.nut"), "w") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, 48, "monob"
        for number, picture in enumerate(bits):
            frame = av.VideoFrame(width, 48, "monob")
            plane = frame.planes[0]
            rows = rng.integers(0, 256, (48, plane.line_size), dtype=np.uint8)  # padding is anything
            packed = np.packbits(picture, axis=1)
            rows[:, : packed.shape[1]] = packed
            plane.update(rows.tobytes())
            frame.pts = number
            container.mux(stream.encode(frame))
    with VideoDecoder(tmp_path / "b.nut") as decoder:
        assert decoder.frames == 20
        for i in (13, 2, 19, 7):
            assert np.array_equal(decoder.read([i], height=48, width=width)[0][..., 0] > 127, bits[i] > 0)
