"""The videos of a folder and the files that are none, and the table ``videos.csv`` that holds both."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from cacl.data.media.cut import Box
from cacl.data.media.pictures import on_disk
from cacl.data.remote.place import file_at, names_store, place
from cacl.data.videos.labels import join_labels, label_order, several_labels
from cacl.data.videos.lists.plain import LIST_SUFFIXES, SUFFIXES
from cacl.errors import UserError, counted
from cacl.files import whole

CLIP_FRAMES = 16
CLIP_WINDOW = 31  # frames: 16 at stride 2; a broken video shorter than this up to its break is not used
MISSING = "named in the list, no such file"
UNUSED = "looks like a list, not used: name it in place of the folder, or call it videos.csv"
_COLUMNS = ("path", "status", "reason", "id", "label", "split", "frames", "fps", "width", "height", "first_frame")
_LABELS, _REGION = "labels", ("x", "y", "w", "h")  # more columns where a video has several, or a region


@dataclass(frozen=True, slots=True)
class Video:
    """One video, or one part of a video file.

    Attributes:
        path: the file, relative to the catalog's root, with ``/``.
        id: a name that no other video of the catalog has.
        label: its class; ``None`` where it has none, or several.
        split: ``"train"``, ``"test"``, ``"val"``, another word of ``videos.csv``, or ``None``.
        frames: usable frames, at least 1.
        fps: average frames a second; 0 when unknown.
        width: pixels, as shown.
        height: pixels, as shown.
        first_frame: the file's frame with which this part begins.
        note: what is unusual about it, or an empty string.
        several: its classes where it has two or more of them, else empty; see ``labels``.
        region: the part of each frame that is seen, ``(x, y, width, height)`` in pixels as shown; ``None``: all of it.
        absent: an index knows it, but its file was not there when the index was made the last time.
    """

    path: str
    id: str
    label: str | None
    split: str | None
    frames: int
    fps: float
    width: int
    height: int
    first_frame: int = 0
    note: str = ""
    several: tuple[str, ...] = ()
    region: Box | None = None
    absent: bool = False

    def noted(self, note: str) -> Video:
        """The same with one note more; an empty one changes nothing."""
        return replace(self, note="; ".join(filter(None, (note, self.note)))) if note else self

    @property
    def labels(self) -> tuple[str, ...]:
        """All its classes: none, one (``label``) or several."""
        return self.several or (() if self.label is None else (self.label,))


@dataclass(frozen=True, slots=True)
class Skipped:
    """One file that is not used, and why. ``path`` is relative to the catalog's root."""

    path: str
    reason: str


@dataclass(frozen=True)
class Catalog:
    """The videos of a folder, and every other file in it with the reason why it is not used.

    Attributes:
        root: the folder.
        videos: those that are used.
        skipped: the others.
        blank: boxes that are black in the frames of all videos; of the command or run, and not in ``videos.csv``.
    """

    root: Path
    videos: tuple[Video, ...]
    skipped: tuple[Skipped, ...] = ()
    blank: tuple[Box, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The distinct labels in the order of ``label_order``."""
        return label_order(label for v in self.videos for label in v.labels)

    @property
    def missing(self) -> int:
        """How many videos the lists name that are not there."""
        return sum(s.reason == MISSING for s in self.skipped)

    def only(self, split: str) -> Catalog:
        """The videos of one split alone; skipped files belong to no split and are left out."""
        return replace(self, videos=tuple(v for v in self.videos if v.split == split), skipped=())

    def file(self, video: Video) -> Path:
        """Where a video's file lies."""
        return file_at(self.root, video.path)

    def summary(self) -> str:
        """One line: ``1 204 used, 3 skipped (of 1 207 files)``."""
        present = [v for v in self.videos if not v.absent]
        absent = len({v.path for v in self.videos if v.absent})
        files = len({v.path for v in present})
        missing = self.missing
        skipped = len(self.skipped) - missing
        used = f"{_count(len(present))} parts of {counted(files, 'file')}" if files < len(present) else _count(files)
        line = f"{used} used, {_count(skipped)} skipped (of {counted(files + skipped, 'file')})"
        line += f"; {_count(absent)} absent, kept" if absent else ""
        line += f"; {_count(missing)} named in a list but not there" if missing else ""
        unused = [s.path for s in self.skipped if s.reason == UNUSED]
        return line + (f"; {unused[0]} {UNUSED}" if unused else "")

    def reasons(self) -> dict[str, int]:
        """How many files were skipped for which reason, the most frequent first."""
        return dict(Counter(s.reason for s in self.skipped).most_common())

    def write_csv(self, path: str | Path) -> None:
        """Write one row a video or skipped file; columns ``path, status, reason, id, label, ...``.

        A status is ``used``, ``absent`` (see ``Video.absent``) or ``skipped``.

        Raises:
            UserError: the file cannot be written; what was there is as it was.
        """
        with (
            whole(Path(path)) as partial,
            partial.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            columns = list(_COLUMNS)
            columns += [_LABELS] if any(video.several for video in self.videos) else []
            columns += _REGION if any(video.region for video in self.videos) else ()
            plain = csv.DictWriter(file, columns, lineterminator="\n")
            # csv leaves a lone carriage return unquoted, and then reads it as the end of a line.
            quoted = csv.DictWriter(file, columns, lineterminator="\n", quoting=csv.QUOTE_ALL)
            plain.writeheader()
            for video in self.videos:
                row = {name: getattr(video, name) for name in _COLUMNS if name not in ("status", "reason")}
                row |= {"fps": repr(video.fps), "status": "absent" if video.absent else "used", "reason": video.note}
                if video.several:
                    row[_LABELS] = join_labels(video.several)
                row |= dict(zip(_REGION, video.region or (), strict=False))
                (quoted if "\r" in f"{video.path}{video.labels}" else plain).writerow(row)
            for item in self.skipped:
                row = {"path": item.path, "status": "skipped", "reason": item.reason}
                (quoted if "\r" in item.path else plain).writerow(row)

    @staticmethod
    def is_csv(path: Path) -> bool:
        """Whether a file is one that ``write_csv`` wrote, by its first line."""
        with path.open(encoding="utf-8", errors="replace") as file:
            head = file.readline(1024).rstrip("\n").removesuffix("," + ",".join(_REGION))
        return head.removesuffix(f",{_LABELS}") == ",".join(_COLUMNS)

    @classmethod
    def read_csv(cls, path: str | Path, *, root: str | Path, blank: tuple[Box, ...] = ()) -> Catalog:
        """Read what ``write_csv`` wrote; ``root`` is the folder of videos, ``blank`` as in the attributes.

        Raises:
            UserError: the file is not a catalog.
        """
        videos: list[Video] = []
        skipped: list[Skipped] = []
        try:
            with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
                for row in csv.DictReader(file):
                    if row["status"] == "skipped":
                        skipped.append(Skipped(row["path"], row["reason"]))
                    else:
                        videos.append(_video_of(row))
        except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
            raise UserError(f"{path}: not a catalog of videos ({error}). Make it again from the videos.") from error
        return cls(place(root), tuple(videos), tuple(skipped), blank)


def root_of(place: Path) -> Path:
    """The folder of videos that a command was given as such, or by a list or video in it, though it may be gone."""
    if names_store(place):
        return place
    gone_file = not place.exists() and place.suffix.lower().lstrip(".") in {*LIST_SUFFIXES, *SUFFIXES}
    return place.parent if place.is_file() or gone_file else place


def check_there(catalog: Catalog, *, mend: str) -> str:
    """A sentence where some of the videos' files are gone, or an empty string.

    Args:
        mend: what to do about it, for the error.

    Raises:
        UserError: more than half of them are gone, as when the folder was moved; it names the first.
    """
    files = dict.fromkeys(catalog.file(video) for video in catalog.videos)
    gone = [file for file in files if not on_disk(file).exists()]
    if not gone:
        return ""
    found = f"{gone[0]} is not there" + (
        f", nor are {len(gone) - 1} more of {counted(len(files), 'file')}" * (len(gone) > 1)
    )
    if len(gone) > len(files) / 2:
        raise UserError(f"{found}. {mend}")
    return f"{found}: they are left out."


def judged(video: Video, *, frames: int, problem: str) -> Video | Skipped:
    """A video of which ``frames`` frames can be decoded: used up to the break, noted when short, or skipped.

    Args:
        frames: good frames.
        problem: why it ends there, or an empty string where nothing is wrong.
    """
    if problem and frames < CLIP_WINDOW:
        return Skipped(video.path, f"{problem}, fewer than {CLIP_WINDOW} frames are good")
    notes = [part for part in (video.note, f"{problem}, used up to there" if problem else "") if part]
    if frames < CLIP_FRAMES:
        notes.append(f"{frames} frame{'s' * (frames > 1)}, looped to {CLIP_FRAMES}")
    elif frames < CLIP_WINDOW:
        notes.append(f"{frames} frames, too short for stride 2")
    return replace(video, frames=frames, note="; ".join(notes))


def _video_of(row: dict[str, str]) -> Video:
    return Video(
        path=row["path"],
        id=row["id"],
        label=row["label"] or None,
        split=row["split"] or None,
        frames=int(row["frames"]),
        fps=float(row["fps"]),
        width=int(row["width"]),
        height=int(row["height"]),
        first_frame=int(row["first_frame"]),
        note=row["reason"],
        several=several_labels(row.get(_LABELS) or ""),
        region=_region_of(row),
        absent=row["status"] == "absent",
    )


def _region_of(row: dict[str, str]) -> Box | None:
    x, y, w, h = (row.get(name) for name in _REGION)
    return (int(x), int(y), int(w), int(h)) if x and y and w and h else None


def _count(number: int) -> str:
    """``1 204``."""
    return f"{number:,}".replace(",", " ")
