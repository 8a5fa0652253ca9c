"""What stands out in a folder of videos, and which settings suit it better."""

from __future__ import annotations

from statistics import median
from typing import Literal

from cacl.data.videos.catalog import Catalog
from cacl.errors import counted

_MOST = 2
_LONG = 20  # times the median length
_UNEVEN = 1.3  # times as many frames a second, of the fastest twentieth and the slowest: 25 and 30 may stay together
_SMALLEST = 16  # pixels: augment.size can be no smaller


def time_spread(catalog: Catalog, *, frames: int, stride: int) -> str:
    """The spread of frame rates, and of what a clip of ``frames`` at ``stride`` lasts; empty where none is known."""
    rates = _rates(catalog)
    if not rates:
        return ""
    window = (frames - 1) * stride + 1
    low, high = window / rates[-1], window / rates[0]
    seen = f"what the network sees at once, a clip of {window} frames"
    if _format(rates[0]) == _format(rates[-1]):
        return f"{_format(rates[0])} frames a second: {seen}, lasts {low:.2f} s."
    middle = rates[len(rates) // 2]
    spread = f"{_format(rates[0])} to {_format(rates[-1])} frames a second (median {_format(middle)})"
    return f"{spread}: {seen}, lasts {low:.2f} to {high:.2f} s."


def suggestions(
    catalog: Catalog,
    *,
    batch_size: int,
    frames: int,
    stride: int,
    resize: tuple[int, int] | None,
    size: int,
    frame_rate: float | None = None,
    clips_per_video: Literal["one", "duration"] = "one",
) -> str:
    """At most two sentences with settings to try, or an empty string where nothing stands out.

    Args:
        catalog: what was found; only its training part counts where there is one.
        batch_size: clips a step.
        frames: frames of a clip.
        stride: video frames from one frame of a clip to the next.
        resize: height and width that whole frames are stretched to, pixels; ``None`` where a store has fixed them.
        size: side of a view, pixels.
        frame_rate: at which every video is read, or None for its own.
        clips_per_video: ``duration`` where long videos are read more than once an epoch.
    """
    videos = catalog.only("train").videos or catalog.videos
    if not videos:
        return ""
    found = []
    if len(videos) == 1:
        found.append(
            "One video to train on cannot be told from others: add videos, or give each of its parts a row in a "
            "videos.csv beside it (path,start,end)."
        )
    elif len(videos) < batch_size:
        found.append(
            f"{counted(len(videos), 'video')} to train on are few for batches of {batch_size}: try --batch-size "
            f"{len(videos)}, so that no video is twice in a batch."
        )
    lengths, most = sorted(video.frames for video in videos), _LONG * median(video.frames for video in videos)
    if clips_per_video == "one" and 2 * sum(n for n in lengths if n > most) > sum(lengths):
        found.append(
            f"More than half of the footage is in {counted(sum(n > most for n in lengths), 'video')} of {len(videos)}, "
            "of which an epoch sees one clip each: try --set data.clips_per_video=duration, so that it is seen."
        )
    rates = _rates(catalog)
    if frame_rate is None and rates and rates[len(rates) * 19 // 20] > _UNEVEN * rates[len(rates) // 20]:
        low = rates[len(rates) // 20]  # so that few are slower: frames can be left out, but not made up
        found.append(
            f"Frame rates differ ({_format(rates[0])} to {_format(rates[-1])} a second): try --set "
            f"data.frame_rate={_format(low)}, so that all clips last equally long."
        )
    window = (frames - 1) * stride + 1
    short = sum(n < window for n in lengths)
    if short > len(videos) / 4 and stride > 1:
        found.append(
            f"{short} of {counted(len(videos), 'video')} {'is' if short == 1 else 'are'} shorter than {window} "
            "frames: try --set data.stride=1, so that all clips have the same step."
        )
    height, width = (int(median(sizes)) for sizes in zip(*((v.height, v.width) for v in videos), strict=True))
    if resize is not None and height > width and resize[0] < resize[1]:
        found.append(
            f"Most frames are upright ({width}x{height}): try --set 'data.resize=[{resize[1]},{resize[0]}]', "
            "so that they are not squeezed."
        )
    elif resize is not None and _SMALLEST <= min(height, width) < size:
        found.append(
            f"Frames are small ({width}x{height}): try --set 'data.resize=[{height},{width}]' "
            f"--set augment.size={max(_SMALLEST, min(height, width) * 7 // 8)}, so that they are not blown up."
        )
    return " ".join(found[:_MOST])


def _rates(catalog: Catalog) -> list[float]:
    """Frames a second of the videos to train on, as far as they are known, the lowest first."""
    return sorted(video.fps for video in catalog.only("train").videos or catalog.videos if video.fps > 0)


def _format(rate: float) -> str:
    return f"{rate:.2f}".rstrip("0").rstrip(".")
