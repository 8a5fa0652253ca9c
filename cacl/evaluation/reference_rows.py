"""What a retrieval is compared with, kept for the next run on the same videos: it does not depend on what was trained.

Chance, colour histogram, thumbnail and the untrained network take two thirds of an evaluation, and are the same for
every run with the same initial weights. One JSON file each, in the user's cache folder; whatever may change a bit of it
is in its name: videos with their labels and the state of their files, weights, clips, versions and the processor.
Where it cannot be read or written the rows are made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from cacl.data.media.open_files import stamp_of
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.resampled import as_files
from cacl.data.videos.sources import FrameStore
from cacl.distributed.processes import everyones, is_first
from cacl.errors import VideoError
from cacl.machine.cache import cache_folder, keep, machine_facts
from cacl.models.encoder import Encoder

FORMAT = 1
KEPT = 200  # files; the oldest go


@dataclass(frozen=True)
class ReferenceRows:
    """Rows of a retrieval that need no training.

    Attributes:
        recalls: row name -> {"R@1": percent, …}.
        right: of each network, number of a query -> whether its nearest video is of its class.
        whole: every video was read; else the rows are not kept.
    """

    recalls: dict[str, dict[str, float]]
    right: dict[str, dict[int, bool]]
    whole: bool = True


def kept_rows(
    make: Callable[[], ReferenceRows],
    data: Dataset,
    numbers: Sequence[int],
    untrained: Encoder | None,
    *,
    plain: bool,
    seed: int,
    clips: int,
    ks: Sequence[int],
    device: str,
    autocast_dtype: torch.dtype | None,
    say: Callable[[str], None] = lambda text: None,
) -> ReferenceRows:
    """What ``make`` gives, or gave for the same arguments before. All processes of a job call it.

    Args:
        make: makes the rows from the other arguments.
        data: the videos; ``numbers`` of those that are asked for and searched.
        untrained: the network that the rows are of, if any.
        plain: whether those that need no network are among them.
        seed, clips, ks, device, autocast_dtype: as of ``evaluate_retrieval``.
    """
    facts = [FORMAT, _videos(data, numbers), plain, seed, clips, list(ks), str(autocast_dtype), *machine_facts(device)]
    if untrained is not None:
        facts += [untrained.digest(), untrained.name, untrained.width, asdict(untrained.clip)]
    name = hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:32]
    folder = cache_folder("evaluation")
    file = None if folder is None else folder / f"{name}.json"
    known = everyones(_read(file) if file is not None and is_first() else None)[0]
    if known is not None:
        say("What needs no training is known from an earlier run; --no-cache measures it again.")
        return known
    made = make()
    if file is not None and made.whole and is_first():
        keep(file, json.dumps({"recalls": made.recalls, "right": made.right}))
        _forget_old(file.parent)
    return made


def _videos(data: Dataset, numbers: Sequence[int]) -> list[Any]:
    """Everything about the videos that a row depends on."""
    files = as_files(data)
    stored = [_state(file) for file in files.source.files] if isinstance(files.source, FrameStore) else None
    size = (data.source.height, data.source.width)
    facts: list[Any] = [size, asdict(data.rules), str(data.catalog.blank), stored]
    for number, video, here in zip(numbers, files.videos(list(numbers)), data.videos(list(numbers)), strict=True):
        state = () if stored else _state(files.catalog.file(video))
        facts.append([number, asdict(video), here.frames, here.fps, state])
    return facts


def _state(file: Path) -> Sequence[int]:
    try:
        return stamp_of(str(file))
    except VideoError:
        return ()


def _read(file: Path) -> ReferenceRows | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        right = {name: {int(n): bool(hit) for n, hit in rows.items()} for name, rows in content["right"].items()}
        return ReferenceRows({name: dict(row) for name, row in content["recalls"].items()}, right)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _forget_old(folder: Path) -> None:
    with contextlib.suppress(OSError):
        by_age = sorted(folder.glob("*.json"), key=lambda one: one.stat().st_mtime_ns, reverse=True)
        for old in by_age[KEPT:]:
            old.unlink(missing_ok=True)
