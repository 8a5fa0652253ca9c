"""Labels of stretches, in ``labels.csv``: stored as they are given, and read anew each time, so that it may be edited.

Its columns are those of ``videos.csv``: ``path``, ``label``, ``start``, ``end``.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cacl.errors import UserError, printable
from cacl.files import write_whole
from cacl.lock import locked

COLUMNS = ("path", "label", "start", "end")


def labels_of(index: Path) -> Path:
    """Where the labels of an index are kept unless another file is named: beside it."""
    return index.absolute().parent / "labels.csv"


def classes_of(index: Path) -> Path:
    """Where the classes that were learnt from them are kept: beside the index, ``mine.classes`` for ``mine.index``."""
    path = index.absolute()
    return path.with_name(f"{path.name.removesuffix('.index')}.classes")


@dataclass(frozen=True)
class Stretch:
    """A part of a video.

    Attributes:
        path: of its file, as the index names it.
        start: seconds, ``None`` with ``end``: all of it.
        end: seconds.

    Raises:
        ValueError: a time that is no finite number or below 0, or an end before the start.
    """

    path: str
    start: float | None = None
    end: float | None = None

    def __post_init__(self) -> None:
        if not all(time is None or math.isfinite(time) for time in (self.start, self.end)):
            raise ValueError(f"from {self.start} to {self.end}")
        if (self.start or 0.0) < 0 or (self.end is not None and self.end < (self.start or 0.0)):
            raise ValueError(f"from {self.start} to {self.end}")


class Labels:
    """A file of labels; one that is missing holds none."""

    def __init__(self, file: Path) -> None:
        """``file``: the CSV. Raises UserError: there is a file that is no table of labels."""
        self.file = file
        self.read()

    def read(self) -> dict[Stretch, str]:
        """The label of each stretch. Raises UserError: the file is damaged."""
        try:
            text = self.file.read_text(encoding="utf-8-sig", errors="surrogateescape")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UserError(f"{self.file} cannot be read ({error.strerror or error}).") from error
        table = csv.DictReader(io.StringIO(text, newline=""))
        found: dict[Stretch, str] = {}
        try:
            if tuple(table.fieldnames or COLUMNS) not in (COLUMNS, COLUMNS[:2]):  # without times: all of each video
                raise UserError(
                    f"{self.file} is no table of labels ({','.join(COLUMNS)}): name another file with --labels, "
                    "or move it away."
                )
            for row in table:
                times = [float(row[name]) if row.get(name) else None for name in ("start", "end")]
                path, label = row["path"], (row["label"] or "").strip()
                if not path or not label:
                    raise ValueError("no path, or no label")
                if (before := found.setdefault(Stretch(path, *times), label)) != label:
                    raise UserError(
                        f"{self.file}: line {table.line_num} calls {printable(label)!r} what a line above it calls "
                        f"{printable(before)!r}: leave one of them."
                    )
        except (csv.Error, TypeError, ValueError) as error:
            number = table.line_num + isinstance(error, csv.Error)  # a line that cannot be parsed is not counted yet
            raise UserError(f"{self.file}: line {number} is no label of a stretch: mend it.") from None
        return found

    def change(self, stretches: Sequence[Stretch], label: str | None) -> dict[Stretch, str | None]:
        """Give stretches a label, or take theirs away; who does so to the same file at the same time is waited for.

        Args:
            stretches: of the index.
            label: ``None``: none any more.

        Returns:
            What they had before, to undo it.

        Raises:
            UserError: no label that can be kept in a line, or the file cannot be written.
        """
        label = label if label is None else label.strip()
        if label is not None and (not label or len(label) > 200 or not label.isprintable()):
            raise UserError("A label is a word or a few, on one line: give another.")
        file = self.file.resolve()  # by whichever name: one lock, and a link stays one
        with locked(file.parent, file=file.name):
            now = self.read()
            before = {stretch: now.get(stretch) for stretch in stretches}
            for stretch in before:
                now.pop(stretch, None)
                if label is not None:
                    now[stretch] = label
            text = io.StringIO(newline="")
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(COLUMNS)
            for stretch, name in now.items():
                writer.writerow(
                    [stretch.path, name, *("" if t is None else f"{t:.15g}" for t in (stretch.start, stretch.end))]
                )
            write_whole(file, text.getvalue().encode("utf-8", "surrogateescape"))
        return before
