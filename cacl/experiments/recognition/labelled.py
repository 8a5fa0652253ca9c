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
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.labels import label_order
from cacl.data.videos.lists.plain import SUFFIXES
from cacl.errors import UserError, counted
from cacl.experiments.recognition.near_copies import near_copies

_GROUP = re.compile(r"^v_(.+)_g(\d+)_c\d+$", re.IGNORECASE)  # UCF101: clips of a group are cut from one video


@dataclass(frozen=True)
class LabelledSplit:
    """The labelled videos of one split.

    Attributes:
        number: which split of the lists.
        train, test: their videos, every one with a label or several.
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
        return label_order(label for video in self.train for label in video.labels)

    @property
    def several(self) -> bool:
        """Whether some video has several labels."""
        return any(video.several for video in (*self.train, *self.test))


def labelled_split(catalog: Catalog, number: int) -> LabelledSplit:
    """The training and test videos of a catalog, checked.

    Raises:
        UserError: no labels, no training or test part, one class only, a video in both parts, or a test label that no
            training video has.
    """
    parts = {video.split for video in catalog.videos}
    part = "val" if "val" in parts and "test" not in parts else "test"
    train = [v for v in catalog.videos if v.split == "train" and v.labels]
    test = [v for v in catalog.videos if v.split == part and v.labels]
    if not train or not test:
        raise UserError(
            f"{catalog.root}: recognition needs labelled videos with a training and a test part "
            f"(found {len(train)} and {len(test)}): train/CLASS and test/CLASS folders, a videos.csv with the columns "
            f"path, label and split, or --lists DIR.{_unread(catalog)}"
        )
    check_leakage(catalog.root, train, test, number)
    if unknown := untrained_labels(train, test):
        raise UserError(
            f"{catalog.root}: {unknown} among the test videos, but no training video has that label; check "
            f"the spelling, or take them out of the list.{_unread(catalog)}"
        )
    if len(names := {label for v in train for label in v.labels}) < 2:
        raise UserError(
            f"{catalog.root}: all training videos are of one class ({names.pop()}); two are needed.{_unread(catalog)}"
        )
    return LabelledSplit(number, tuple(train), tuple(test), part, tuple(_doubts(catalog, train, test)))


def _unread(catalog: Catalog) -> str:
    """How many files that are called as videos could not be used, which may be why something lacks, or nothing."""
    found = [item for item in catalog.skipped if item.path.rpartition(".")[2].lower() in SUFFIXES]
    first = f" (first {found[0].path}: {found[0].reason})" if found else ""
    return f" {counted(len(found), 'file')} could not be used{first}." if found else ""


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
    if unlabelled := sum(not v.labels for v in catalog.videos):
        notes.append(f"Left out: {counted(unlabelled, 'video')} without a label.")
    if catalog.missing:
        notes.append(f"{catalog.missing} of the videos that the lists name are not there.")
    notes += shared_groups(train, test)
    notes += copied_videos(catalog.root, train, test)
    counts = Counter(label for v in train for label in v.labels)
    tested = {label for v in test for label in v.labels}
    if single := sorted(label for label, n in counts.items() if n == 1):
        notes.append(f"One training video only: {', '.join(single)}.")
    if untested := sorted(label for label in counts if label not in tested):
        notes.append(f"No test video: {', '.join(untested)}; the accuracy says nothing of these classes.")
    return notes


def copied_videos(root: Path, train: Sequence[Video], test: Sequence[Video]) -> list[str]:
    """A sentence where a test video is a copy, byte for byte, of a training video of another name, or none."""
    return _copies_said("copies", [f"{path} = {other}" for path, other in _byte_copies(root, train, test)])


def near_copies_said(data: Dataset, train: Sequence[int], test: Sequence[int]) -> list[str]:
    """A sentence where a test video shows what a training video shows, encoded anew or in another container, or none.

    Byte copies are left to ``copied_videos``. Frames are read: see ``near_copies``.
    """
    videos = data.catalog.videos
    byte = {path for path, _ in _byte_copies(data.catalog.root, data.videos(list(train)), data.videos(list(test)))}
    pairs = [(videos[i].path, videos[j].path) for i, j in near_copies(data, train, test)]
    return _copies_said("near copies", [f"{path} ~ {other}" for path, other in sorted(pairs) if path not in byte])


def _copies_said(what: str, copies: Sequence[str]) -> list[str]:
    if not copies:
        return []
    more = f" and {len(copies) - 3} more" if len(copies) > 3 else ""
    return [f"Test videos that are {what} of training videos: {', '.join(copies[:3])}{more}; the result is too good."]


def _byte_copies(root: Path, train: Sequence[Video], test: Sequence[Video]) -> list[tuple[str, str]]:
    files = {video.path: root / video.path for video in (*train, *test)}
    sizes = {path: file.stat().st_size for path, file in files.items() if file.is_file()}
    of_size: dict[int, list[str]] = defaultdict(list)
    for path in {video.path for video in train} & set(sizes):
        of_size[sizes[path]].append(path)
    return [
        (path, other)
        for path in sorted({video.path for video in test} & set(sizes))
        for other in sorted(of_size.get(sizes[path], []))[:1]
        if other != path and filecmp.cmp(files[path], files[other], shallow=False)
    ]


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
    known = {label for v in train for label in v.labels}
    unknown = Counter(label for v in test for label in v.labels if label not in known)
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
    there = Counter(label for v in split.train for label in v.labels)
    few = {label: n for label, n in sorted(there.items()) if n < wanted}
    if few:
        shown = ", ".join(f"{label} has {n}" for label, n in list(few.items())[:8])
        more = f" and {len(few) - 8} more classes" if len(few) > 8 else ""
        raise UserError(
            f"--labels-per-class asks for {wanted} training videos of each class, but {shown}{more} (split "
            f"{split.number}): ask for {min(few.values())} or fewer, or for all."
        )


def draw_labels(videos: Sequence[Video], count: int, *, seed: int, draw: int, split: int) -> list[Video]:
    """``count`` videos of each class, in the order given; one of several classes may be drawn for any of them.

    A draw of fewer is part of the same draw of more: a curve over ``count`` adds labels and exchanges none.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for position, video in enumerate(videos):
        for label in video.labels:
            members[label].append(position)
    chosen: set[int] = set()
    for number, label in enumerate(sorted(members)):
        order = generator(seed, "labels", split, draw, number).permutation(len(members[label]))
        chosen |= {members[label][i] for i in order[:count].tolist()}
    return [video for position, video in enumerate(videos) if position in chosen]


def held_out(videos: Sequence[Video], count: int, *, seed: int, split: int) -> tuple[list[Video], list[Video]]:
    """Training videos without ``count`` that are set aside at random, and these; a class keeps its last video."""
    left = Counter(label for video in videos for label in video.labels)
    aside: set[int] = set()
    for position in generator(seed, "hold out", split).permutation(len(videos)).tolist():
        labels = videos[position].labels
        if len(aside) < count and all(left[label] > 1 for label in labels):
            aside.add(position)
            left.subtract(labels)
    kept = [video for position, video in enumerate(videos) if position not in aside]
    return kept, [video for position, video in enumerate(videos) if position in aside]
