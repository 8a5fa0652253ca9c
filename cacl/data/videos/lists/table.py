"""``videos.csv``: path, and optionally label or labels, split, start and end in seconds; a row a video or part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cacl.data.media.cut import Box, box_of
from cacl.data.videos.labels import several_labels
from cacl.data.videos.lists.entry import SPLIT_NAMES, Entry, Listing, split_of_name
from cacl.data.videos.lists.text import header, one_label, rows, seconds
from cacl.errors import UserError, did_you_mean


def is_table(path: Path) -> bool:
    """Whether the first line of a file names a column ``path``."""
    return "path" in header(path)


def tables(files: Iterable[Path]) -> Listing:
    """The rows of such tables; those that say ``skipped`` in a column ``status`` are passed over.

    A row without a split is of the part that its file is called after (``train.csv``).

    Raises:
        UserError: no column ``path``, or a cell that cannot be read.
    """
    used = sorted(files)
    entries = [entry for path in used for entry in _entries(path)]
    return Listing(tuple(entries), tuple(used), f"not in {' or '.join(p.name for p in used)}", False)


def _entries(path: Path) -> Iterator[Entry]:
    part = None if path.name.lower() == "videos.csv" else split_of_name(path.stem)
    for number, row in rows(path, needs="path"):
        if (row.get("status") or "used") != "used":
            continue
        start = seconds(path, number, row, "start") if row.get("start") else 0.0
        end = seconds(path, number, row, "end") if row.get("end") else None
        if end is not None and end <= start:
            raise UserError(f"{path}, line {number}: the part ends at {end:g} s but starts at {start:g} s.")
        labels = several_labels(row.get("labels") or "")
        split = _split(path, number, row) or part
        yield Entry(
            row["path"],
            labels or one_label(row.get("label")),
            split,
            start,
            end,
            region=_region(path, number, row),
            fps=_rate(path, number, row),
        )


def _region(path: Path, number: int, row: Mapping[str, str]) -> Box | None:
    cells = [row.get(name) or "" for name in ("x", "y", "w", "h")]
    if not any(cells):
        return None
    if (box := box_of(",".join(cells))) is None:
        raise UserError(
            f"{path}, line {number}: '{','.join(cells)}' in the columns x, y, w and h is no region: four whole "
            "numbers of pixels, width and height above 0."
        )
    return box


def _rate(path: Path, number: int, row: Mapping[str, str]) -> float:
    text = row.get("fps") or "0"
    try:
        rate = float(text.replace(",", "."))
    except ValueError:
        rate = -1.0
    if not 0 <= rate < 1e6:
        raise UserError(f"{path}, line {number}: '{text}' in column fps is no number of frames a second.")
    return rate


def _split(path: Path, number: int, row: Mapping[str, str]) -> str | None:
    word = row.get("split") or ""
    split = SPLIT_NAMES.get(word.lower())
    if split is None and (near := did_you_mean(word.lower(), SPLIT_NAMES, cutoff=0.8)):
        raise UserError(f"{path}, line {number}: '{word}' in column split is no part that is known.{near}")
    return split or word or None
