"""A video opened for reading, whatever it is: a video file, a folder of pictures, or a file of several pages."""

from __future__ import annotations

from pathlib import Path

from cacl.data.media.colours import AS_CODED, PixelRules
from cacl.data.media.decode import VideoDecoder
from cacl.data.media.picture_video import PictureVideo
from cacl.data.media.pictures import NumberedPictures, is_pictures
from cacl.data.media.stacks import Stack, is_stack
from cacl.data.media.timeline import Timeline

AnyVideo = VideoDecoder | PictureVideo


def open_video(
    path: str | Path, *, timeline: Timeline | None = None, rate: float = 0.0, rules: PixelRules = AS_CODED
) -> AnyVideo:
    """Open a video; close it, or use ``with``.

    Args:
        path: a file, a folder of numbered pictures, or ``folder/img_*.jpg``.
        timeline: of an earlier decoder of the same unchanged file, see ``VideoDecoder``.
        rate: frames a second of pictures, where they do not say.
        rules: how its pixels become RGB.

    Raises:
        VideoError: it cannot be read, or is no video.
    """
    path = str(path)
    if is_pictures(path):
        return PictureVideo(NumberedPictures(path), rate=rate, rules=rules)
    if is_stack(path):
        return PictureVideo(Stack(path), rate=rate, rules=rules)
    return VideoDecoder(path, timeline=timeline, rules=rules)
