"""The two scales of ``cacl reproduce``: the paper's recipe on its data sets, or minutes on generated videos.

Both run the same code; a scale is presets, settings and where the data sets are.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from cacl.data.synthetic.generate import make_videos
from cacl.data.videos.lists.find import find_lists
from cacl.errors import UserError
from cacl.experiments.reproduce.paper_tables import SetName, folder_name
from cacl.presets import ABLATIONS, PUBLISHED
from cacl.settings import method_settings

ScaleName = Literal["tiny", "paper"]


@dataclass(frozen=True)
class Place:
    """Where a data set's videos are, and its split lists; None where folders ``train`` and ``test`` say it."""

    videos: Path
    lists: Path | None = None


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Attributes:
        name: ``tiny`` or ``paper``.
        preset: of fine-tuning, and of pretraining where ``preset_of`` has none of the method's own.
        pretraining: settings that differ from it.
        finetuning: likewise.
        splits: that fine-tuning is averaged over; everything else is on the first.
    """

    name: ScaleName
    preset: Literal["small", "paper"]
    splits: tuple[int, ...]
    pretraining: Mapping[str, Any] = field(default_factory=dict)
    finetuning: Mapping[str, Any] = field(default_factory=dict)

    def preset_of(self, method: str) -> str:
        """Of the pretraining of a method: at the paper's scale, methods of others are run as their authors ran them."""
        others = self.name == "paper" and method not in ABLATIONS
        return PUBLISHED if others and method_settings(method).published is not None else self.preset


_ONE_CORE = {"run.device": "cpu", "run.precision": "float32", "run.threads": 1, "data.workers": 0}
_TINY_PRETRAINING: dict[str, Any] = {
    **_ONE_CORE,
    "data.resize": [36, 48],
    "augment.size": 32,
    "model.width": 8,
    "model.frame_width": 8,
    "model.token_width": 48,
    "model.depth": 1,
    "optim.batch_size": 10,
    "optim.epochs": 6,
    "frames.optim.batch_size": 32,
    "frames.optim.epochs": 2,
}
_TINY_FINETUNING: dict[str, Any] = {**_ONE_CORE, "optim.batch_size": 10, "optim.epochs": 4}
# The stand-ins are other videos of the same ten classes, of other lengths, so that none is taken for another's copy.
TINY_VIDEOS: dict[SetName, dict[str, Any]] = {
    name: {"seed": seed, "videos_per_class": (6, 3), "size": (48, 64), "frames": (40 + 8 * seed, 47 + 8 * seed)}
    for seed, name in enumerate(get_args(SetName))
}

_NAMES: dict[SetName, tuple[str, ...]] = {
    "UCF101": ("ucf101",),
    "HMDB51": ("hmdb51", "hmdb51org"),
    "Kinetics-400": ("kinetics400", "k400", "kinetics"),
}
_LIST_FILES: dict[SetName, str] = {"UCF101": "trainlist01.txt", "HMDB51": "*_test_split1.txt"}


def scale_of(name: ScaleName) -> Scale:
    """The scale of that name."""
    if name == "paper":
        return Scale("paper", "paper", splits=(1, 2, 3))
    return Scale("tiny", "small", splits=(1,), pretraining=_TINY_PRETRAINING, finetuning=_TINY_FINETUNING)


def tiny_places(folder: Path, names: Sequence[SetName], *, say: Callable[[str], None]) -> dict[SetName, Place]:
    """The generated stand-ins of these data sets, below ``folder``; made where they are not there yet."""
    places = {}
    for name in names:
        target = folder / folder_name(name)
        if not target.exists():
            say(f"Making videos that stand in for {name} …")
            partial = target.with_name(f".{target.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            make_videos(partial, **TINY_VIDEOS[name])
            partial.rename(target)
        places[name] = Place(target)
    return places


def paper_places(data: Path, names: Sequence[SetName]) -> dict[SetName, Place]:
    """The official data sets in one folder, each in a folder of its own name (or a link to it).

    UCF101's and HMDB51's lists are looked for in the data set's folder, beside it, and in a folder ``splits`` or
    ``lists``.

    Raises:
        UserError: no such folder, or it lacks a data set or its lists; all that is missing is named.
    """
    if not data.is_dir():
        raise UserError(f"--data is {data}, which is no folder; name the folder that holds {_listed(names)}.")
    folders = sorted(path for path in data.iterdir() if path.is_dir())
    places, missing = {}, []
    for name in names:
        found = [path for path in folders if re.sub(r"[^a-z0-9]", "", path.name.lower()) in _NAMES[name]]
        if not found:
            missing.append(f"{name} (a folder {folder_name(name)})")
            continue
        try:
            places[name] = _place(data, name, found[0])
        except FileNotFoundError as error:
            missing.append(f"the lists of {name} ({error})")
    if missing:
        there = ", ".join(path.name for path in folders) or "no folder"
        raise UserError(f"--data {data} lacks {_listed(missing)}; it has {there}. Put or link what is missing there.")
    return places


def _place(data: Path, name: SetName, videos: Path) -> Place:
    if name == "Kinetics-400":  # its parts are folders, or tables that lie with them
        tables = [path for path in (videos, *_folders(videos)) if find_lists(path) is not None]
        return Place(videos, tables[0] if tables else None)
    around = [videos, *_folders(videos), *_folders(data)]
    around += [inner for path in (data / "splits", data / "lists") for inner in _folders(path)]
    for path in around:
        if any(path.glob(_LIST_FILES[name])):
            return Place(videos, path)
    raise FileNotFoundError(_LIST_FILES[name])


def _folders(path: Path) -> list[Path]:
    return sorted(inner for inner in path.iterdir() if inner.is_dir()) if path.is_dir() else []


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
