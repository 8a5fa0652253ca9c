"""Small moving pictures of stretches, made of the frames that the encoder is given anyway; they play in any browser.

Those of one video lie in one file, a ZIP without compression: ``previews/ab/ab….zip`` holds ``00000.webp``, ….

Shapes: n windows, T frames of each, H height and W width of the frames, in pixels.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cacl.data.videos.catalog import Video
from cacl.files import whole, writing
from cacl.indexing.layout import PREVIEWS

FRAMES = 3  # of a stretch: each costs half a millisecond, and a stretch some ten
_HEIGHT, _WIDEST = 72, 3.0  # pixels; width for a height
_QUALITY = 50


def moving_pictures(clips_NTHWC: NDArray[np.uint8], video: Video, *, seconds: float) -> list[bytes]:
    """An animated WebP of each of some windows.

    Args:
        clips_NTHWC: frames of the windows, uint8, stretched to the encoder's size; shown in the video's own shape.
        video: what they are of.
        seconds: that a window lasts; 0 where unknown.
    """
    height = min(_HEIGHT, clips_NTHWC.shape[2])
    size = (max(1, round(height * min(video.width / max(video.height, 1), _WIDEST))), height)
    chosen = np.linspace(0, clips_NTHWC.shape[1] - 1, min(FRAMES, clips_NTHWC.shape[1])).round().astype(int)
    milliseconds = max(40, round(1000 * (seconds or 1.0) / len(chosen)))
    return [_webp([_picture(frame, size) for frame in clip[chosen]], milliseconds) for clip in clips_NTHWC]


def _picture(frame_HWC: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(frame_HWC).resize(size, Image.Resampling.BILINEAR)


def _webp(pictures: Sequence[Image.Image], milliseconds: int) -> bytes:
    file = io.BytesIO()
    pictures[0].save(
        file,
        "WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=milliseconds,
        loop=0,
        quality=_QUALITY,
        method=0,
    )
    return file.getvalue()


def preview_file(index: Path, key: str) -> Path:
    """Where the previews of a video lie."""
    return index / PREVIEWS / key[:2] / f"{key}.zip"


def write_previews(index: Path, key: str, pictures: Sequence[bytes]) -> None:
    """Keep the previews of a video, whole or not at all. Raises UserError."""
    file = preview_file(index, key)
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    with whole(file) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as store:
        for number, picture in enumerate(pictures):
            store.writestr(zipfile.ZipInfo(f"{number:05d}.webp"), picture)


def read_preview(index: Path, key: str, number: int) -> bytes | None:
    """The preview of a video's stretch with this number; None where there is none."""
    try:
        with zipfile.ZipFile(preview_file(index, key)) as store:
            return store.read(f"{number:05d}.webp")
    except (OSError, KeyError, zipfile.BadZipFile):
        return None


def read_previews(index: Path, key: str) -> list[bytes]:
    """All previews of a video, in order; as many as can be read."""
    try:
        with zipfile.ZipFile(preview_file(index, key)) as store:
            return [store.read(name) for name in store.namelist()]
    except (OSError, KeyError, zipfile.BadZipFile):
        return []


def keep_previews(index: Path, keys: set[str]) -> None:
    """Remove the previews of all other videos."""
    for file in (index / PREVIEWS).glob("*/*"):
        if file.stem not in keys:
            file.unlink(missing_ok=True)
