"""A query from outside the index, embedded as its videos were: same encoder, step, precision and pixels.

Shapes: m windows of the query, d numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cacl.data.media.isolated import isolated, time_limit
from cacl.data.media.open_files import frame_seconds
from cacl.data.remote.place import place
from cacl.data.videos.catalog import Catalog, Skipped, Video
from cacl.data.videos.dataset import open_videos
from cacl.data.videos.lists.entry import Entry
from cacl.data.videos.look import look
from cacl.data.videos.resampled import resampled
from cacl.errors import UserError, VideoError, quoted
from cacl.evaluation.video_vectors import video_vectors
from cacl.files import check_there
from cacl.indexing.layout import ENCODER
from cacl.indexing.parts_of import Part
from cacl.machine.device import choose_device
from cacl.models.clip_encoder import ClipEncoder
from cacl.models.load import load_encoder

_encoders: dict[tuple[str, str], ClipEncoder] = {}  # the last one


def embedded(
    index: Path, about: Mapping[str, Any], part: Part, *, say: Callable[[str], None] = lambda text: None
) -> NDArray[np.float32]:
    """The vectors of a file, or of a part of it, float32 ``[m, d]``.

    Args:
        index: its folder, which holds the encoder.
        about: what it is made of.
        part: of which file.
        say: told what is unusual.

    Raises:
        UserError: the file is no video, the part is beyond its end, or the index's encoder is damaged.
    """
    video = _video(part)
    encoder = _encoder(index, about)
    clip, path = encoder.clip, place(part.path).absolute()
    catalog = Catalog(path.parent, (video,), (), clip.blank)
    data = resampled(open_videos(catalog, resize=clip.resize, rules=clip.rules), clip.frame_rate)
    skipped = dict[int, str]()
    precision = about["precision"]
    dtype = None if precision == "float32" else getattr(torch, precision)
    found = list(video_vectors(encoder, data, skipped=skipped, step=about["step"], autocast_dtype=dtype))
    if not found:
        raise UserError(f"{part.path}: {skipped[0]}; name another file, or look with cacl check {quoted(part.path)}.")
    if found[0].problem:
        say(f"{part.path}: used up to its break ({found[0].problem}).")
    if video.note:
        say(f"{part.path}: {video.note}.")
    return found[0].segments.vector


def _video(part: Part) -> Video:
    """The part of the file as a video. Raises UserError."""
    path = place(part.path).absolute()
    check_there(path)
    entry = Entry(path.name, start=part.start, end=part.end)
    found = look(path.parent, path.name, [entry], deep=False, rate=0.0, named=True)[0]
    if isinstance(found, Video):
        return found
    whole = "" if not part.start and part.end is None else _length(path)
    if whole and _is_beyond(found):
        raise UserError(f"{part.path} ends at {whole} s, the part begins at {part.start:g} s: name one within it.")
    raise UserError(f"{part.path}: {found.reason}; name a video.")


def _is_beyond(found: Skipped) -> bool:
    return found.reason.startswith("no frame between")


def _length(path: Path) -> str:
    try:
        seconds = isolated(str(path), time_limit(path), frame_seconds, str(path))
    except VideoError:
        return ""
    return f"{seconds[-1]:.1f}"


def _encoder(index: Path, about: Mapping[str, Any]) -> ClipEncoder:
    """The index's own, kept for the next query. Raises UserError: it is damaged, or another."""
    place = (str((index / ENCODER).absolute()), str(about["weights"]))
    encoder = _encoders.get(place)  # at once: another thread may ask another index
    if encoder is None:
        device, _ = choose_device("auto")
        encoder = load_encoder(index / ENCODER).to(device)
        if encoder.digest() != about["weights"]:
            raise UserError(
                f"{index / ENCODER} holds another encoder than the one that made {index}: put that one back, or make "
                "the index anew."
            )
        _encoders.clear()
        _encoders[place] = encoder
    return encoder
