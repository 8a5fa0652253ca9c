"""What stored numbers mean as colours: matrices, high dynamic range, levels; right values by hand or by FFmpeg."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from odd_media import encode, read, said

from cacl.data.media import pixels
from cacl.data.media.colours import PixelRules, to_sdr

SHOWN = PixelRules(colours="shown")


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
    """Greys up to the knee, against FFmpeg's own conversion, its scaler's with BT.709 asked for."""
    planes = np.full((144, 128), 512, np.uint16)
    planes[:96] = code
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p10le")
    frame.colorspace, frame.color_primaries, frame.color_trc = 9, 9, light
    by_ffmpeg = {(16, 200): 29, (16, 509): 189, (18, 200): 44, (18, 509): 145}[light, code]  # 8.1
    plain = av.video.reformatter.VideoReformatter().reformat(frame, 8, 8, "rgb24").to_ndarray()[4, 4]
    for rules, value in ((SHOWN, by_ffmpeg), (PixelRules(), plain)):
        got = pixels.rgb(frame, pixels.Orientation(), height=8, width=8, rules=rules)[4, 4]
        assert got == pytest.approx(value, abs=5 if rules is SHOWN else 0)
    assert pixels.oddities(frame) == (f"HDR ({name})",)


def test_the_brightest_light_keeps_its_hue_and_stays_below_white() -> None:
    codes = np.array([[[65535, 65535, 65535], [60000, 20000, 20000], [30000, 30000, 30000]]], np.uint16)
    white, red, grey = to_sdr(codes, light=16, primaries=9)[0].astype(int)
    assert white.min() >= 250
    assert red[0] > 200 > red[1] + 100
    assert red[1] == pytest.approx(red[2], abs=12)
    assert grey.max() - grey.min() <= 1
