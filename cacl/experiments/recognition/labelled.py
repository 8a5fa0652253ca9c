"""Labelled videos with a training and a test part: what is wrong with them, and which of them a training sees.

What would make a result worthless (a video on both sides, a class that was never trained) is refused by name; what
makes it doubtful (one source video on both sides, classes that nobody tests) is said in the result.
"""

from __future__ import annotations

import filecmp
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cacl.data.randomness import generator
from cacl.data.videos.catalog import Catalog, Video
from cacl.data.videos.layouts import label_order
from cacl.errors import UserError, counted

_GROUP = re.compile(r"^v_(.+)_g(\d+)_c\d+$", re.IGNORECASE)  # UCF101: clips of a group are cut from one video


@dataclass(frozen=True)
class LabelledSplit:
    """The labelled videos of one split.

    Attributes:
        number: which split of the lists.
        train, test: their videos, every one with a label.
        test_part: ``test``, or ``val`` where nothing is called ``test``.
        notes: what is doubtful, in sentences.
    """

    number: int
    train: tuple[Video, ...]
    test: tuple[Video, ...]
    test_part: str
    notes: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of ``label_order``; every one has a training video."""
        return label_order(str(video.label) for video in self.train)


def labelled_split(catalog: Catalog, number: int) -> LabelledSplit:
    """The training and test videos of a catalog, checked.

    Raises:
        UserError: no labels, no training or test part, one class only, a video in both parts, or a test label that no
            training video has.
    """
    parts = {video.split for video in catalog.videos}
    part = "val" if "val" in parts and "test" not in parts else "test"
    train = [v for v in catalog.videos if v.split == "train" and v.label is not None]
    test = [v for v in catalog.videos if v.split == part and v.label is not None]
    if not train or not test:
        raise UserError(
            f"{catalog.root}: recognition needs labelled videos with a training and a test part "
            f"(found {len(train)} and {len(test)}): train/CLASS and test/CLASS folders, a videos.csv with the columns "
            "path, label and split, or --lists DIR."
        )
    check_leakage(catalog.root, train, test, number)
    if unknown := untrained_labels(train, test):
        raise UserError(
            f"{catalog.root}: {unknown} among the test videos, but no training video has that label; check "
            "the spelling, or take them out of the list."
        )
    if len({v.label for v in train}) < 2:
        raise UserError(f"{catalog.root}: all training videos are of one class ({train[0].label}); two are needed.")
    return LabelledSplit(number, tuple(train), tuple(test), part, tuple(_doubts(catalog, train, test)))


def check_leakage(root: Path, train: Sequence[Video], test: Sequence[Video], number: int) -> None:
    """Raise UserError where frames of one file are on both sides."""
    parts: dict[str, list[Video]] = defaultdict(list)
    for video in train:
        parts[video.path].append(video)
    both = [
        video.path
        for video in test
        if any(
            other.first_frame < video.first_frame + video.frames
            and video.first_frame < other.first_frame + other.frames
            for other in parts.get(video.path, [])
        )
    ]
    if both:
        more = f" and {len(both) - 3} more" if len(both) > 3 else ""
        raise UserError(
            f"{root}: {', '.join(both[:3])}{more} {'is' if len(both) == 1 else 'are'} in the training and in the test "
            f"part of split {number}: the result would be worthless. Take {'it' if len(both) == 1 else 'them'} out of "
            "one of the lists."
        )


def _doubts(catalog: Catalog, train: Sequence[Video], test: Sequence[Video]) -> list[str]:
    notes = []
    if unlabelled := sum(v.label is None for v in catalog.videos):
        notes.append(f"Left out: {counted(unlabelled, 'video')} without a label.")
    if catalog.missing:
        notes.append(f"{catalog.missing} of the videos that the lists name are not there.")
    notes += shared_groups(train, test)
    notes += copied_videos(catalog.root, train, test)
    counts, tested = Counter(v.label for v in train), {v.label for v in test}
    if single := sorted(str(label) for label, n in counts.items() if n == 1):
        notes.append(f"One training video only: {', '.join(single)}.")
    if untested := sorted(str(label) for label in counts if label not in tested):
        notes.append(f"No test video: {', '.join(untested)}; the accuracy says nothing of these classes.")
    return notes


def copied_videos(root: Path, train: Sequence[Video], test: Sequence[Video]) -> list[str]:
    """A sentence where a test video is a copy, byte for byte, of a training video of another name, or none."""
    files = {video.path: root / video.path for video in (*train, *test)}
    sizes = {path: file.stat().st_size for path, file in files.items() if file.is_file()}
    of_size: dict[int, list[str]] = defaultdict(list)
    for path in {video.path for video in train} & set(sizes):
        of_size[sizes[path]].append(path)
    copies = [
        f"{path} = {other}"
        for path in sorted({video.path for video in test} & set(sizes))
        for other in sorted(of_size.get(sizes[path], []))[:1]
        if other != path and filecmp.cmp(files[path], files[other], shallow=False)
    ]
    if not copies:
        return []
    more = f" and {len(copies) - 3} more" if len(copies) > 3 else ""
    return [f"Test videos that are copies of training videos: {', '.join(copies[:3])}{more}; the result is too good."]


def shared_groups(train: Sequence[Video], test: Sequence[Video]) -> list[str]:
    """A sentence where clips that UCF101's names say are of one source video are on both sides, or none."""
    groups = {_group(v) for v in train} & {_group(v) for v in test} - {None}
    if not groups:
        return []
    named = sorted(f"{name} g{number}" for name, number in (group for group in groups if group is not None))
    shown = ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
    return [
        f"Clips of one source video are on both sides ({shown}): v_CLASS_gNN_cNN of a group belong together, and the "
        "result is too good."
    ]


def untrained_labels(train: Sequence[Video], test: Sequence[Video]) -> str:
    """The labels among the test videos that no training video has, with their numbers, or an empty string."""
    labels = {v.label for v in train}
    unknown = Counter(str(v.label) for v in test if v.label not in labels)
    return _counted(unknown) if unknown else ""


def _group(video: Video) -> tuple[str, str] | None:
    found = _GROUP.match(Path(video.path).stem)
    return (found[1].lower(), found[2]) if found else None


def _counted(labels: Counter[str]) -> str:
    shown = [f"'{label}' ({n} video{'s' * (n > 1)})" for label, n in sorted(labels.items())[:5]]
    return ", ".join(shown) + (f" and {len(labels) - 5} more labels" if len(labels) > 5 else "")


def check_label_counts(split: LabelledSplit, counts: Sequence[int | None]) -> None:
    """Raise UserError, with the classes, where more labels a class are asked for than there are."""
    wanted = max((n for n in counts if n is not None), default=0)
    there = Counter(str(v.label) for v in split.train)
    few = {label: n for label, n in sorted(there.items()) if n < wanted}
    if few:
        shown = ", ".join(f"{label} has {n}" for label, n in list(few.items())[:8])
        more = f" and {len(few) - 8} more classes" if len(few) > 8 else ""
        raise UserError(
            f"--labels-per-class asks for {wanted} training videos of each class, but {shown}{more} (split "
            f"{split.number}): ask for {min(few.values())} or fewer, or for all."
        )


def draw_labels(videos: Sequence[Video], count: int, *, seed: int, draw: int, split: int) -> list[Video]:
    """``count`` videos of each class, in the order given.

    A draw of fewer is part of the same draw of more: a curve over ``count`` adds labels and exchanges none.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for position, video in enumerate(videos):
        members[str(video.label)].append(position)
    chosen: set[int] = set()
    for number, label in enumerate(sorted(members)):
        order = generator(seed, "labels", split, draw, number).permutation(len(members[label]))
        chosen |= {members[label][i] for i in order[:count].tolist()}
    return [video for position, video in enumerate(videos) if position in chosen]


def held_out(videos: Sequence[Video], count: int, *, seed: int, split: int) -> tuple[list[Video], list[Video]]:
    """Training videos without ``count`` that are set aside at random, and these; a class keeps its last video."""
    left = Counter(video.label for video in videos)
    aside: set[int] = set()
    for position in generator(seed, "hold out", split).permutation(len(videos)).tolist():
        if len(aside) < count and left[videos[position].label] > 1:
            aside.add(position)
            left[videos[position].label] -= 1
    kept = [video for position, video in enumerate(videos) if position not in aside]
    return kept, [video for position, video in enumerate(videos) if position in aside]
