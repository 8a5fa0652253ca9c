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
from PIL import Image, ImageOps

from cacl.data.media import pixels
from cacl.data.media.colours import PixelRules
from cacl.data.media.decode import VideoDecoder
from cacl.data.media.encode import write_video
from cacl.data.media.notes import notes
from cacl.data.videos.catalog import scan

SHOWN = PixelRules(colours="shown")


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


# ---- matrices --------------------------------------------------------------------------------------------------------


def with_matrix(path: Path, number: int, *, height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    """A file of a red frame whose stream says that its matrix is ``number``; its Y, U and V."""
    planes = np.empty((height * 3 // 2, width), np.uint8)
    planes[:height], planes[height : height * 5 // 4], planes[height * 5 // 4 :] = 81, 90, 240
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.colorspace = number
        for pts in range(2):
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.colorspace = pts, number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return np.array([81, 90, 240], np.uint8)


def by_hand(yuv: NDArray[np.uint8], kr: float, kb: float) -> NDArray[np.float64]:
    """Limited range Y'CbCr to R'G'B' (ITU-T H.273)."""
    y, b, r = (yuv[0] - 16) / 219, (yuv[1] - 128.0) / 224, (yuv[2] - 128.0) / 224
    red, blue = y + 2 * (1 - kr) * r, y + 2 * (1 - kb) * b
    return 255 * np.clip([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue], 0, 1)


BT601, BT709, BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)


@pytest.mark.parametrize(
    ("number", "read_as", "note"),
    [
        (1, BT709, []),
        (5, BT601, []),
        (6, BT601, []),
        (9, BT2020, []),
        (8, BT709, ["colour matrix YCgCo read as BT.709"]),
        (10, BT2020, ["colour matrix BT.2020 constant luminance read as BT.2020"]),
        (12, BT709, ["colour matrix chromaticity-derived read as BT.709"]),
        (14, BT2020, ["colour matrix ICtCp read as BT.2020"]),
    ],
)
def test_matrices(tmp_path: Path, number: int, read_as: tuple[float, float], note: list[str]) -> None:
    yuv = with_matrix(tmp_path / "m.mp4", number)
    assert said(tmp_path / "m.mp4") == note
    for rules in (PixelRules(), SHOWN):
        for small in (False, True):
            got = read(tmp_path / "m.mp4", 1, rules=rules, small=small)[4, 4]
            assert got == pytest.approx(by_hand(yuv, *read_as), abs=3)


@pytest.mark.parametrize(
    ("height", "width", "shown"),
    [(96, 128, BT601), (576, 720, BT601), (720, 1280, BT709), (592, 64, BT709)],
)
def test_where_no_matrix_is_stated_players_go_by_the_size(
    tmp_path: Path, height: int, width: int, shown: tuple[float, float]
) -> None:
    yuv = with_matrix(tmp_path / "m.mp4", 2, height=height, width=width)
    assert read(tmp_path / "m.mp4", small=True)[4, 4] == pytest.approx(by_hand(yuv, *BT601), abs=3)
    assert read(tmp_path / "m.mp4", rules=SHOWN, small=True)[4, 4] == pytest.approx(by_hand(yuv, *shown), abs=3)


def test_frames_that_cannot_be_turned_into_rgb_are_the_files_fault(
    media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(pixels, "_scaler", lambda: type("Scaler", (), {"reformat": refuse}))
    with pytest.raises(Exception, match=r"h264.mp4: its frames \(yuv420p\) cannot be turned into RGB") as caught:
        VideoDecoder(media / "h264.mp4").read([0], height=8, width=8)
    assert type(caught.value).__name__ == "VideoError"


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


# ---- more than 8 bits ------------------------------------------------------------------------------------------------


def ramp(bits: int) -> NDArray[np.uint16]:
    return np.linspace(0, 2**bits - 1, 64 * 48).astype(np.uint16).reshape(48, 64)


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    encode(tmp_path / "twelve.mkv", [ramp(12)] * 3, "gray16le", "ffv1")
    return tmp_path / "twelve.mkv"


def test_levels_spread_few_values_over_all_of_black_to_white(deep: Path) -> None:
    assert said(deep) == ["16 bits a value"]
    assert read(deep).max() <= 16  # 12 bits in 16: near black
    spread = read(deep, rules=PixelRules(levels=(0, 4095 / 65535)))
    expected = np.rint(ramp(12) / 4095 * 255)
    assert np.abs(spread[..., 0] - expected).max() <= 1
    middle = read(deep, rules=PixelRules(levels=(1000 / 65535, 2000 / 65535)))[..., 0]
    assert np.abs(middle - np.clip((ramp(12).astype(float) - 1000) / 1000, 0, 1) * 255).max() <= 1


def test_levels_leave_video_for_screens_alone(media: Path) -> None:
    narrow = PixelRules(levels=(0.25, 0.5))
    assert np.array_equal(read(media / "ten_bit.mp4", 5, rules=narrow), read(media / "ten_bit.mp4", 5))
    assert np.array_equal(read(media / "h264.mp4", 5, rules=narrow), read(media / "h264.mp4", 5))


@pytest.mark.parametrize(("light", "name"), [(16, "PQ"), (18, "HLG")])
@pytest.mark.parametrize("code", [200, 509])
def test_high_dynamic_range_is_brought_to_the_standard_one(tmp_path: Path, light: int, name: str, code: int) -> None:
    """Greys up to the knee, against FFmpeg's own conversion, which takes half a second a frame."""
    planes = np.full((144, 128), 512, np.uint16)
    planes[:96] = code
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p10le")
    frame.colorspace, frame.color_primaries, frame.color_trc = 9, 9, light
    scaler = av.video.reformatter.VideoReformatter()
    expected = scaler.reformat(frame, 8, 8, "rgb24", dst_color_trc=1, dst_color_primaries=1).to_ndarray()[4, 4]
    for rules, value in ((SHOWN, expected), (PixelRules(), scaler.reformat(frame, 8, 8, "rgb24").to_ndarray()[4, 4])):
        got = pixels.rgb(frame, pixels.Orientation(), height=8, width=8, rules=rules)[4, 4]
        assert got == pytest.approx(value, abs=5 if rules is SHOWN else 0)
    assert pixels.oddities(frame) == (f"HDR ({name})",)


def test_the_brightest_light_keeps_its_hue_and_stays_below_white() -> None:
    from cacl.data.media.colours import to_sdr

    codes = np.array([[[65535, 65535, 65535], [60000, 20000, 20000], [30000, 30000, 30000]]], np.uint16)
    white, red, grey = to_sdr(codes, light=16, primaries=9)[0].astype(int)
    assert white.min() >= 250
    assert red[0] > 200 > red[1] + 100
    assert red[1] == pytest.approx(red[2], abs=12)
    assert grey.max() - grey.min() <= 1
