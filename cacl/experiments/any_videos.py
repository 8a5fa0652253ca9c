"""Videos that a finished network is to look at: any folder, list or store, with labels or without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cacl.data.videos.dataset import Dataset, check_blank, open_catalog
from cacl.data.videos.resampled import resampled
from cacl.data.videos.scan import scan
from cacl.data.videos.sources import FrameStore, is_store
from cacl.errors import UserError
from cacl.models.encoder import ClipSpec


def open_unlabelled(
    videos: Path,
    clip: ClipSpec,
    *,
    rate: float = 0.0,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Dataset:
    """Find the videos and open their frames as an encoder wants them.

    Args:
        videos: a folder (any tree), one file, a list file, ``videos.csv``, or a store.
        clip: says which size, colours and frame rate, and what is black.
        rate: frames a second of pictures in folders, where no list says it; 0: unknown.
        say: told what is unusual.
        progress: called with what is done, how much of it and of how much; may raise to end it.

    Raises:
        UserError: nothing there, no video that can be used, or a store of another size.
    """
    height, width = clip.resize
    if not videos.exists():
        raise UserError(f"{videos}: there is no such file or folder.")
    if is_store(videos):
        store = FrameStore(videos)
        if (store.height, store.width) != clip.resize:
            raise UserError(
                f"{videos} holds frames of {store.height}x{store.width}, but this network knows {height}x{width}: "
                "name the videos instead."
            )
        check_blank(store, clip.blank)
        return resampled(Dataset(store.catalog, store, store.rules), clip.frame_rate, say=say)
    watch = None if progress is None else lambda done, total: progress("files looked at", done, total)
    catalog = scan(videos, rate=rate, blank=clip.blank, progress=watch)
    data = open_catalog(catalog, height=height, width=width, rules=clip.rules)
    return resampled(data, clip.frame_rate, say=say)
