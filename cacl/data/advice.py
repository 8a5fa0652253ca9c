"""What stands out in a folder of videos, and which settings suit it better than the preset's."""

from __future__ import annotations

from statistics import median

from cacl.data.catalog import CLIP_WINDOW, Catalog

FEW = 32  # videos: the preset small has that many in a batch
_HEIGHT, _WIDTH, _SIZE = 64, 86, 56  # frames and views of the preset small
_MOST = 2


def suggestions(catalog: Catalog) -> str:
    """At most two sentences with settings to try, or an empty string where nothing stands out.

    Args:
        catalog: what was found; only its training part counts where there is one.
    """
    videos = catalog.only("train").videos or catalog.videos
    if not videos:
        return ""
    found = []
    if len(videos) < FEW:
        found.append(
            f"{len(videos)} video{'s' * (len(videos) != 1)} to train on {'are' if len(videos) != 1 else 'is'} few: "
            f"try --batch-size {max(2, len(videos))}, so that no video is twice in a batch."
        )
    short = sum(video.frames < CLIP_WINDOW for video in videos)
    if short > len(videos) / 4:
        found.append(
            f"{short} of {len(videos)} videos are shorter than {CLIP_WINDOW} frames: try --set data.stride=1, "
            "so that all clips have the same step."
        )
    height, width = (int(median(sizes)) for sizes in zip(*((v.height, v.width) for v in videos), strict=True))
    if height > width:
        found.append(
            f"Most frames are upright ({width}x{height}): try --set 'data.resize=[{_WIDTH},{_HEIGHT}]', "
            "so that they are not squeezed."
        )
    elif 16 <= min(height, width) < _SIZE:
        found.append(
            f"Frames are small ({width}x{height}): try --set 'data.resize=[{height},{width}]' "
            f"--set augment.size={max(16, min(height, width) * 7 // 8)}, so that they are not blown up."
        )
    return " ".join(found[:_MOST])
