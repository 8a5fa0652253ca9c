"""A run's videos: found the first time, from the run's own ``videos.csv`` ever after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cacl.config import Settings
from cacl.data.catalog import Catalog
from cacl.data.dataset import Dataset, open_dataset
from cacl.data.store import DecodedVideos, FrameStore, is_store
from cacl.errors import UserError
from cacl.runs import RunFolder


def open_run_data(run: RunFolder, *, say: Callable[[str], None] = lambda text: None) -> Dataset:
    """The run's videos: found (and kept decoded) the first time, from the run's own ``videos.csv`` ever after."""
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
        )
        data.catalog.write_csv(kept)
        return data
    if is_store(root):
        return open_dataset(root, height=height, width=width)
    for folder in (run.path / "store", Path(settings.data.store)):
        if is_store(folder):
            frames = FrameStore(folder)
            return Dataset(frames.catalog, frames)
    catalog = Catalog.read_csv(kept, root=root if root.is_dir() else root.parent)
    return Dataset(catalog, DecodedVideos(catalog, height=height, width=width))


def training_numbers(settings: Settings, data: Dataset) -> list[int]:
    """Numbers of the videos to train on: the training part where there is one, long enough for ``start_window``."""
    window = settings.data.start_window
    numbers = data.numbers("train" if data.has_test else None)
    if window is not None:
        numbers = [i for i in numbers if data.catalog.videos[i].frames >= window]
    if not numbers:
        raise UserError(f"{data.catalog.root}: no video is left to train on ({data.catalog.summary()}).")
    return numbers
