"""What stands out in a folder of videos, and which settings suit it better."""

from __future__ import annotations

from statistics import median

from cacl.data.videos.catalog import CLIP_WINDOW, Catalog
from cacl.errors import counted

_MOST = 2
_SMALLEST = 16  # pixels: augment.size can be no smaller


def suggestions(catalog: Catalog, *, batch_size: int, stride: int, resize: tuple[int, int] | None, size: int) -> str:
    """At most two sentences with settings to try, or an empty string where nothing stands out.

    Args:
        catalog: what was found; only its training part counts where there is one.
        batch_size: clips a step.
        stride: video frames from one frame of a clip to the next.
        resize: height and width that whole frames are stretched to, pixels; ``None`` where a store has fixed them.
        size: side of a view, pixels.
    """
    videos = catalog.only("train").videos or catalog.videos
    if not videos:
        return ""
    found = []
    if len(videos) == 1:
        found.append("One video to train on cannot be told from others: add videos.")
    elif len(videos) < batch_size:
        found.append(
            f"{counted(len(videos), 'video')} to train on are few for batches of {batch_size}: try --batch-size "
            f"{len(videos)}, so that no video is twice in a batch."
        )
    short = sum(video.frames < CLIP_WINDOW for video in videos)
    if short > len(videos) / 4 and stride > 1:
        found.append(
            f"{short} of {counted(len(videos), 'video')} {'is' if short == 1 else 'are'} shorter than {CLIP_WINDOW} "
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
