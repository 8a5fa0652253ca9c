"""What stored numbers mean as colours: the matrix of YUV, high dynamic range, values of more than 8 bits.

Files say it, or leave it out; then players and libraries differ. A run keeps the rules that it was trained by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

Colours = Literal["shown", "coded"]

# Numbers of ITU-T H.273, as FFmpeg uses them.
_UNSPECIFIED, _BT709, _BT2020 = 2, 1, 9
_PQ, _HLG = 16, 18
HDR = {_PQ: "PQ", _HLG: "HLG"}
_KNOWN = frozenset({0, 1, 2, 4, 5, 6, 7, 9})  # matrices that FFmpeg's scaler converts
_MATRICES = {8: "YCgCo", 10: "BT.2020 constant luminance", 11: "SMPTE 2085", 12: "chromaticity-derived"}
_MATRICES |= {13: "chromaticity-derived constant luminance", 14: "ICtCp", 15: "IPT-C2", 16: "YCgCo-Re", 17: "YCgCo-Ro"}
_WIDE = frozenset({10, 11, 14, 15})  # made for BT.2020
_TO_BT709 = {  # linear light of other primaries to those of BT.709 (ITU-R BT.2087; SMPTE EG 432-1)
    9: np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32),
    12: np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]], np.float32),
}
_WHITE = 203.0  # cd/m², what is white in a picture of standard range (ITU-R BT.2408)
_KNEE = 0.75  # of white; what is brighter is compressed into the rest


@dataclass(frozen=True)
class PixelRules:
    """How stored numbers become RGB.

    Attributes:
        colours: ``"shown"``: as players show them: YUV that does not say its matrix is BT.709 from 1280 pixels across
            or 577 down, and high dynamic range (PQ, HLG) is brought to the standard one. ``"coded"``: as decoding
            libraries give them: BT.601 where nothing is said, high dynamic range as if it were standard.
        levels: of grey and RGB values of more than 8 bits, as fractions of the largest, those that become 0 and 255.
    """

    colours: Colours = "coded"
    levels: tuple[float, float] = (0.0, 1.0)


AS_CODED = PixelRules()  # of every run and store before there was a choice


def matrix_of(frame: VideoFrame, rules: PixelRules) -> tuple[int | None, str]:
    """The matrix to convert a frame by, ``None`` for what it says itself; and a note where that is not the one stated.

    Matrices that FFmpeg does not convert are replaced by the nearest: BT.2020 for those made for its primaries, else
    BT.709.
    """
    stated = int(frame.colorspace)
    if stated not in _KNOWN:
        wide = stated in _WIDE or (stated in (12, 13) and frame.color_primaries == _BT2020)
        name = _MATRICES.get(stated, f"number {stated}")
        return (_BT2020 if wide else _BT709), f"colour matrix {name} read as {'BT.2020' if wide else 'BT.709'}"
    if stated != _UNSPECIFIED or rules.colours == "coded":
        return None, ""
    if frame.color_trc in HDR:
        return _BT2020, ""
    return (_BT709 if frame.width >= 1280 or frame.height > 576 else None), ""


def to_levels(pixels: NDArray[np.uint16], levels: tuple[float, float]) -> NDArray[np.uint8]:
    """Values between two levels, fractions of the largest, to 0 to 255; those outside to the nearest of these."""
    low, high = (65535 * level for level in levels)
    scale = 255 / max(high - low, 1)
    return np.asarray(np.clip((pixels.astype(np.float32) - low) * scale + 0.5, 0, 255), np.uint8)


def to_sdr(pixels_HWC: NDArray[np.uint16], *, light: int, primaries: int) -> NDArray[np.uint8]:
    """High dynamic range to standard: 203 cd/m² is white, what is brighter keeps its hue and is compressed.

    Args:
        pixels_HWC: coded RGB, 16 bits.
        light: 16 for PQ (SMPTE ST 2084), 18 for HLG (ARIB STD-B67), shown at 1 000 cd/m² (ITU-R BT.2100).
        primaries: of ITU-T H.273; unknown ones are taken for BT.2020's.
    """
    linear = _LINEAR[light][pixels_HWC >> 4]
    if light == _HLG:  # scene light to light of a screen: the system gamma of 1.2
        luminance = linear @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        linear = linear * (1000 / _WHITE * np.maximum(luminance, 1e-6) ** 0.2)[..., None]
    if primaries != _BT709:
        linear = linear @ _TO_BT709.get(primaries, _TO_BT709[_BT2020]).T
    linear = np.maximum(linear, 0)
    most = np.maximum(linear.max(axis=-1, keepdims=True), 1e-6)
    rest = 1 - _KNEE
    squeezed = np.where(most <= _KNEE, most, 1 - rest * np.exp(-np.maximum(most - _KNEE, 0) / rest))
    shown = (linear * (squeezed / most)) ** (1 / 2.4)  # a screen's gamma (ITU-R BT.1886)
    return np.asarray(255 * np.minimum(shown, 1) + 0.5, np.uint8)


def _pq() -> NDArray[np.float32]:
    """Light over white of 4096 code values (SMPTE ST 2084)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    code = np.linspace(0, 1, 4096) ** (1 / m2)
    return (10_000 / _WHITE * (np.maximum(code - c1, 0) / (c2 - c3 * code)) ** (1 / m1)).astype(np.float32)


def _hlg() -> NDArray[np.float32]:
    """Scene light, at most 1, of 4096 code values (ARIB STD-B67)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    code = np.linspace(0, 1, 4096)
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)


_LINEAR = {_PQ: _pq(), _HLG: _hlg()}
