"""A run's videos: found the first time, from the run's own ``videos.csv`` ever after."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cacl.config import Settings
from cacl.data.media.colours import PixelRules
from cacl.data.randomness import generator
from cacl.data.remote.place import RemotePath, place
from cacl.data.videos.catalog import Catalog, check_there, root_of
from cacl.data.videos.dataset import Dataset, open_videos
from cacl.data.videos.pixel_rules import choose_rules, rules_from_json, rules_to_json
from cacl.data.videos.resampled import resampled
from cacl.data.videos.store import DecodedVideos, FrameStore, build_store, is_store
from cacl.errors import UserError
from cacl.machine.auto import hold_out_auto
from cacl.run import Run
from cacl.run_folder import RunFolder


def open_run_data(
    run: RunFolder,
    *,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Dataset:
    """The run's videos at its frame rate: found (and kept decoded) once, from its own ``videos.csv`` ever after.

    Args:
        run: the run; ``videos.csv``, and in ``data.json`` the store that was made, are written the first time.
        say: told what is done and why.
        progress: called with what is done, how much of it and of how much; may raise to end it.

    Raises:
        UserError: no usable video, a store of another frame size, or one that has changed since the run began.
    """
    return resampled(_open_files(run, say, progress), run.resolved.settings.data.frame_rate, say=say)


def _open_files(
    run: RunFolder, say: Callable[[str], None], progress: Callable[[str, int, int], None] | None
) -> Dataset:
    """The run's videos with every frame of their files."""
    settings, where = run.resolved.settings, run.data
    height, width = settings.data.resize
    root, kept = place(where["videos"]), run.path / "videos.csv"
    if not kept.exists():
        say(f"Looking through {root} …")
        data = open_videos(
            root,
            resize=settings.data.resize,
            lists=None if where["lists"] is None else Path(where["lists"]),
            split=where["split"],
            rules=partial(choose_rules, colours=settings.data.colours, levels=settings.data.levels, say=say),
            blank=settings.data.blank,
            rate=settings.data.picture_rate or 0.0,
            store=settings.data.store,
            store_folder=run.path / "store",
            say=say,
            progress=progress,
        )
        if isinstance(data.source, FrameStore) and not is_store(root):
            inside = data.source.path == run.path / "store"  # so that the run folder can be moved
            where["store"] = "store" if inside else str(data.source.path.resolve())
        where["pixels"] = rules_to_json(data.rules)
        run.write("data.json", json.dumps(where, indent=2) + "\n")
        data.catalog.write_csv(kept)  # from now on it decides which video has which number
        return data
    catalog = Catalog.read_csv(kept, root=root_of(root), blank=settings.data.blank)
    if not is_store(root) and where.get("store") is None:
        if note := check_there(
            catalog, mend="If they were moved, say where they are: --videos FOLDER beside the same command."
        ):
            say(note)
        rules = pixel_rules(run)
        return Dataset(catalog, DecodedVideos(catalog, height=height, width=width, rules=rules), rules)
    store = root if where.get("store") is None else _own_store(run, catalog, say, progress)
    frames = FrameStore(store)
    if (frames.height, frames.width) != (height, width) or frames.catalog.videos != catalog.videos:
        raise UserError(f"{store} has changed since {run.path} began; put the old one back, or start a new run.")
    return Dataset(frames.catalog, frames, frames.rules)


def pixel_rules(run: RunFolder) -> PixelRules:
    """By which stored pixels became RGB in this run."""
    return rules_from_json(run.data.get("pixels"))


def move_videos(run: RunFolder, videos: str | Path) -> None:
    """From now on the run's videos lie in another folder (or store); everything else is as it was.

    Raises:
        UserError: they are not there.
    """
    moved = place(videos).resolve()
    stored = is_store(moved)
    if not stored and (isinstance(moved, RemotePath) or not moved.is_dir()):
        raise UserError(
            f"{videos}: no such folder; --videos names the folder that the videos of {run.path} are in now."
        )
    for kept in (*run.path.glob("videos.csv"), *sorted((run.path / "videos").glob("split-*.csv"))):
        catalog = Catalog.read_csv(kept, root=moved)
        if stored:
            if FrameStore(moved).catalog.videos != catalog.videos:
                raise UserError(f"{videos} is a store of other videos than those of {run.path}.")
        else:
            check_there(catalog, mend=f"The videos of {run.path} are not in {videos}.")
    run.write("data.json", json.dumps({**run.data, "videos": str(moved)}, indent=2) + "\n")
    run.log(f"The videos of {run.path} are in {moved} now.")


def training_numbers(settings: Settings, data: Dataset) -> list[int]:
    """Numbers of the videos to train on: the training part where there is one, without those that are held out."""
    return training_parts(settings, data)[0]


def training_parts(settings: Settings, data: Dataset) -> tuple[list[int], list[int]]:
    """Numbers of the videos to train on, and of those of them that ``data.hold_out`` takes away, at random by the seed.

    Both are long enough for ``data.start_window``.

    Raises:
        UserError: no video is left to train on.
    """
    window, hold_out = settings.data.start_window, settings.data.hold_out
    numbers = data.numbers("train" if data.has_train else None)
    if window is not None:
        numbers = [i for i in numbers if data.catalog.videos[i].frames >= window]
    if not numbers:
        long = "" if window is None else f" of data.start_window {window} frames or more"
        raise UserError(f"{data.catalog.root}: no video{long} is left to train on ({data.catalog.summary()}).")
    count = hold_out_auto(len(numbers))[0] if hold_out == "auto" else hold_out
    if count >= len(numbers):
        raise UserError(f"data.hold_out {count} leaves none of {len(numbers)} videos to train on; set fewer.")
    order = generator(settings.run.seed, "hold out").permutation(len(numbers))
    aside = set(order[:count].tolist())
    kept = [number for place, number in enumerate(numbers) if place not in aside]
    return kept, [number for place, number in enumerate(numbers) if place in aside]


def training_count(run: Run) -> int:
    """How many videos a run is trained on, from its ``videos.csv``; nothing is opened."""
    height, width = run.settings.data.resize
    catalog = Catalog.read_csv(run.path / "videos.csv", root=RunFolder(run.path).data["videos"])
    data = Dataset(catalog, DecodedVideos(catalog, height=height, width=width))
    return len(training_numbers(run.settings, resampled(data, run.settings.data.frame_rate)))


def _own_store(
    run: RunFolder, catalog: Catalog, say: Callable[[str], None], progress: Callable[[str, int, int], None] | None
) -> Path:
    """Where the run's decoded frames are kept; where they were deleted, they are made again, the same."""
    store = run.path / str(run.data["store"])
    if not is_store(store):
        check_there(
            catalog, mend=f"The frames kept in {store} are gone, too. If the videos were moved: --videos FOLDER"
        )
        say(f"The decoded frames in {store} are gone: making them again …")
        height, width = run.resolved.settings.data.resize
        watch = None if progress is None else partial(progress, "videos decoded")
        build_store(catalog, store, height=height, width=width, rules=pixel_rules(run), progress=watch)
    return store
