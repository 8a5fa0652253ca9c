"""A run's videos: found the first time, from the run's own ``videos.csv`` ever after."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cacl.config import Settings
from cacl.data.videos.catalog import Catalog
from cacl.data.videos.dataset import Dataset, open_dataset
from cacl.data.videos.store import DecodedVideos, FrameStore, build_store, is_store
from cacl.errors import UserError
from cacl.run import Run
from cacl.run_folder import RunFolder


def open_run_data(
    run: RunFolder,
    *,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Dataset:
    """The run's videos: found (and kept decoded) the first time, from the run's own ``videos.csv`` ever after.

    Args:
        run: the run; ``videos.csv``, and in ``data.json`` the store that was made, are written the first time.
        say: told what is done and why.
        progress: called with what is done, how much of it and of how much; may raise to end it.

    Raises:
        UserError: no usable video, a store of another frame size, or one that has changed since the run began.
    """
    settings, where = run.resolved.settings, run.data
    height, width = settings.data.resize
    root, kept = Path(where["videos"]), run.path / "videos.csv"
    if not kept.exists():
        say(f"Looking through {root} …")
        data = open_dataset(
            root,
            height=height,
            width=width,
            lists=None if where["lists"] is None else Path(where["lists"]),
            split=where["split"],
            store=settings.data.store,
            store_folder=run.path / "store",
            say=say,
            progress=progress,
        )
        if isinstance(data.source, FrameStore) and not is_store(root):
            inside = data.source.path == run.path / "store"  # so that the run folder can be moved
            where["store"] = "store" if inside else str(data.source.path.resolve())
            run.write("data.json", json.dumps(where, indent=2) + "\n")
        data.catalog.write_csv(kept)  # from now on it decides which video has which number
        return data
    catalog = Catalog.read_csv(kept, root=root if root.is_dir() else root.parent)
    if not is_store(root) and where.get("store") is None:
        return Dataset(catalog, DecodedVideos(catalog, height=height, width=width))
    store = root if where.get("store") is None else _own_store(run, catalog, say, progress)
    frames = FrameStore(store)
    if (frames.height, frames.width) != (height, width) or frames.catalog.videos != catalog.videos:
        raise UserError(f"{store} has changed since {run.path} began; put the old one back, or start a new run.")
    return Dataset(frames.catalog, frames)


def training_numbers(settings: Settings, data: Dataset) -> list[int]:
    """Numbers of the videos to train on: the training part where there is one, long enough for ``start_window``."""
    window = settings.data.start_window
    numbers = data.numbers("train" if data.has_train else None)
    if window is not None:
        numbers = [i for i in numbers if data.catalog.videos[i].frames >= window]
    if not numbers:
        long = "" if window is None else f" of data.start_window {window} frames or more"
        raise UserError(f"{data.catalog.root}: no video{long} is left to train on ({data.catalog.summary()}).")
    return numbers


def training_count(run: Run) -> int:
    """How many videos a run is trained on, from its ``videos.csv``; nothing is opened."""
    height, width = run.settings.data.resize
    catalog = Catalog.read_csv(run.path / "videos.csv", root=RunFolder(run.path).data["videos"])
    return len(training_numbers(run.settings, Dataset(catalog, DecodedVideos(catalog, height=height, width=width))))


def _own_store(
    run: RunFolder, catalog: Catalog, say: Callable[[str], None], progress: Callable[[str, int, int], None] | None
) -> Path:
    """Where the run's decoded frames are kept; where they were deleted, they are made again, the same."""
    store = run.path / str(run.data["store"])
    if not is_store(store):
        say(f"The decoded frames in {store} are gone: making them again …")
        height, width = run.resolved.settings.data.resize
        watch = None if progress is None else partial(progress, "videos decoded")
        build_store(catalog, store, height=height, width=width, progress=watch)
    return store
