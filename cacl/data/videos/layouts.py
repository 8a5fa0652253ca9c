"""The list files of data sets: which videos they name, with which label, in which part.

Recognised: UCF101 (``trainlist01.txt``, ``testlist01.txt``), HMDB51 (``<class>_test_split1.txt``), Kinetics-400
(``label,youtube_id,time_start,time_end,split``), ``videos.csv`` (``path,label,split,start,end``) and plain lists, one
file a line. Nothing here looks at a video.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cacl.data.videos.labels import several_labels
from cacl.errors import UserError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_HMDB_TAGS = {"1": "train", "2": "test"}  # 0: in neither list of this split
_MISSING_SHARE = 0.5
_LONGEST = 40  # letters of a name in a sentence


@dataclass(frozen=True, slots=True)
class Entry:
    """One video, or one part of it, as a list names it.

    Attributes:
        name: path or name in the list's own words.
        labels: its classes: none, one or several.
        split: ``"train"``, ``"val"``, ``"test"`` or ``None``.
        start: seconds from the first frame.
        end: seconds; ``None`` for the end of the file.
        also: another name under which the file may lie.
    """

    name: str
    labels: tuple[str, ...] = ()
    split: str | None = None
    start: float = 0.0
    end: float | None = None
    also: str = ""


@dataclass(frozen=True)
class Listing:
    """The videos that list files name.

    Attributes:
        entries: what they name, in their order.
        files: the list files that were read.
        absent: why a video that they do not name is skipped, e.g. ``"in neither list of split 1"``.
        unique_names: whether the file's name alone tells a video from all others, whatever folder it lies in.
        split: which of the official splits they are of; ``None`` where there is but one.
    """

    entries: tuple[Entry, ...]
    files: tuple[Path, ...]
    absent: str
    unique_names: bool
    split: int | None = None


def read_lists(place: Path, *, split: int = 1) -> Listing:
    """Read the list files in a folder (or one list file).

    Args:
        place: folder with the lists of UCF101, HMDB51 or Kinetics-400, a ``videos.csv`` or plain lists; or one file.
        split: which of the official splits, from 1.

    Raises:
        UserError: there are no lists, or not of this split, or a line cannot be read.
    """
    if not place.exists():
        raise UserError(f"{place}: no such file or folder. Name the folder that holds the split lists.")
    if place.is_file():
        return _table(place) if place.suffix.lower() == ".csv" else plain_lists([place])
    found = find_lists(place, split=split)
    if found is not None:
        return found
    numbers = sorted(
        {int(m[1]) for m in (re.search(r"(?:list0|split)(\d)\.txt$", p.name) for p in place.iterdir()) if m}
    )
    if numbers:
        there = ", ".join(map(str, numbers))
        raise UserError(f"{place}: no lists of split {split} there, but of {there}. Choose one of them with --split.")
    raise UserError(
        f"{place}: no split lists found. Expected UCF101's trainlist0{split}.txt and testlist0{split}.txt, HMDB51's "
        f"<class>_test_split{split}.txt, Kinetics' CSV files, a videos.csv, or plain lists such as train.txt."
    )


def find_lists(folder: Path, *, split: int = 1) -> Listing | None:
    """The lists of a folder, of whatever kind they are; ``None`` where there are none."""
    names = {p.name.lower(): p for p in sorted(folder.iterdir()) if p.is_file()}
    if "videos.csv" in names:
        return _table(names["videos.csv"])
    if f"trainlist0{split}.txt" in names or f"testlist0{split}.txt" in names:
        return ucf101_lists(folder, split=split)
    if any(name.endswith(f"_test_split{split}.txt") for name in names):
        return hmdb51_lists(folder, split=split)
    kinetics = [p for name, p in names.items() if name.endswith(".csv") and _is_kinetics(p)]
    if kinetics:
        return kinetics_lists(kinetics)
    plain = [p for name, p in names.items() if name.endswith(".txt") and split_of_name(p.stem)]
    return plain_lists(plain) if plain else None


def own_lists(root: Path, split: int) -> Listing | None:
    """Lists that lie with the videos: a ``videos.csv`` in their folder, official lists there or in a folder below it.

    Nobody named these, so whatever cannot be read as lists is passed over, but for ``videos.csv``.
    """
    if os.path.isfile(root / "videos.csv"):  # Path.is_file raises where the folder may not be entered
        return read_lists(root / "videos.csv", split=split)
    try:
        below = sorted(p for p in root.iterdir() if not p.name.startswith(".") and p.is_dir())
    except OSError:
        return None  # the walk says why
    for folder in [root, *below]:
        try:
            listing = find_lists(folder, split=split)
        except (OSError, UserError):
            continue
        if listing is not None and listing.files[0].name.lower() != "videos.csv":
            return listing
    return None


def check_split(root: Path, listing: Listing | None, split: int) -> None:
    """Raise UserError where a split is asked for and the lists have but one, or there are none."""
    if split != 1 and (listing is None or listing.split is None):
        raise UserError(
            f"{root}: there are no lists of several splits, but split {split} was asked for; name the folder of the "
            "lists with --lists, or leave the split out."
        )


def ucf101_lists(folder: Path, *, split: int = 1) -> Listing:
    """UCF101's ``trainlist0N.txt`` (``Class/v_Class_g01_c01.avi 1``) and ``testlist0N.txt`` (without the number).

    The folder in the name is the label. The numbers count classes from 1, in the order of ``classInd.txt``; they say
    nothing that the folder does not.
    """
    entries: list[Entry] = []
    files = [folder / f"{part}list0{split}.txt" for part in ("train", "test")]
    for part, path in zip(("train", "test"), files, strict=True):
        if not path.is_file():
            raise UserError(f"{path}: no such file. UCF101's split {split} needs a train list and a test list.")
        for number, line in _lines(path):
            name = re.sub(r"\s+\d+$", "", line)
            if "/" not in name:
                raise UserError(f"{path}, line {number}: '{line}' is not of the form Class/video.avi.")
            entries.append(Entry(name, labels=(name.split("/")[-2],), split=part))
    return Listing(tuple(entries), tuple(files), f"in neither list of split {split}", True, split)


def hmdb51_lists(folder: Path, *, split: int = 1) -> Listing:
    """HMDB51's ``<class>_test_splitN.txt``: ``video.avi 1`` is a training video, 2 a test video, 0 neither."""
    entries: list[Entry] = []
    ending = f"_test_split{split}.txt"
    files = sorted(p for p in folder.iterdir() if p.name.endswith(ending))
    for path in files:
        label = path.name.removesuffix(ending)
        for number, line in _lines(path):
            name, _, tag = line.rpartition(" ")
            if not name or tag not in {"0", "1", "2"}:
                raise UserError(f"{path}, line {number}: '{line}' is not of the form video.avi 0, 1 or 2.")
            if tag in _HMDB_TAGS:
                entries.append(Entry(f"{label}/{name.strip()}", labels=(label,), split=_HMDB_TAGS[tag]))
    return Listing(tuple(entries), tuple(files), f"in neither list of split {split}", True, split)


def kinetics_lists(files: Iterable[Path]) -> Listing:
    """Kinetics-400's tables; a file is called ``<youtube_id>_<start>_<end>`` (six digits each) or ``<youtube_id>``."""
    entries: list[Entry] = []
    used = sorted(files)
    for path in used:
        for number, row in _rows(path):
            name = row.get("youtube_id") or ""
            times = [f"{_seconds(path, number, row, column):06.0f}" for column in ("time_start", "time_end")]
            split = split_of_name(row.get("split") or path.stem)
            entries.append(Entry("_".join([name, *times]), labels=_labels(row), split=split, also=name))
    return Listing(tuple(entries), tuple(used), "in none of the Kinetics lists", True)


def plain_lists(files: Iterable[Path]) -> Listing:
    """Lists with one file a line, with or without a label after a comma or blank; ``train.txt`` names the split."""
    entries: list[Entry] = []
    used = sorted(files)
    for path in used:
        split = split_of_name(path.stem)
        for _, line in _lines(path):
            name, label = line, ""
            if not Path(line).suffix or " " in Path(line).suffix or "," in Path(line).suffix:
                name, label = [*re.split(r"\s*[,;\t]\s*|\s+(?=\S+$)", line, maxsplit=1), ""][:2]
            entries.append(Entry(name, labels=(label,) if label else (), split=split, also=line))
    return Listing(tuple(entries), tuple(used), f"not in {' or '.join(p.name for p in used)}", False)


def split_of_name(name: str) -> str | None:
    """``"train"``, ``"val"`` or ``"test"`` for a folder or list called so (``Training``, ``val_list``), or ``None``."""
    word = re.split(r"[^a-z]", name.lower())[0]
    return SPLIT_NAMES.get(word)


def match(listing: Listing, paths: Iterable[str]) -> tuple[list[tuple[Entry, str]], list[Entry]]:
    """Pair entries with files, by stem and without regard to case: lists say ``.avi`` where files are ``.mp4``.

    Where several files share a stem, the one whose folders agree best with the entry's is taken.

    Args:
        paths: the files that were found, relative to the catalog's root, with ``/``.

    Returns:
        Pairs of entry and file in the order of the entries, and the entries without a file.

    Raises:
        UserError: more than half of the entries have no file.
    """
    by_stem: dict[str, list[str]] = {}
    for path in paths:
        name = path.rsplit("/", 1)[-1].lower()
        for key in {name, name.rpartition(".")[0] or name}:
            by_stem.setdefault(key, []).append(path)
    pairs: list[tuple[Entry, str]] = []
    missing: list[Entry] = []
    for entry in listing.entries:
        found = (_fitting(listing, entry, by_stem.get(key, [])) for key in _keys(entry))
        candidates = next((paths_found for paths_found in found if paths_found), [])
        if candidates:
            pairs.append((entry, max(candidates, key=partial(_agreement, entry.name))))
        else:
            missing.append(entry)
    if len(missing) > _MISSING_SHARE * len(listing.entries):
        first = ", ".join(e.name if len(e.name) <= _LONGEST else f"{e.name[:_LONGEST]}…" for e in missing[:3])
        where = listing.files[0] if len(listing.files) == 1 else listing.files[0].parent
        raise UserError(
            f"{where}: {len(missing)} of the {len(listing.entries)} videos named there are not in the folder of "
            f"videos, first {first}. Check that the lists belong to these videos."
        )
    return pairs, missing


def _keys(entry: Entry) -> Iterator[str]:
    for name in (entry.name, entry.also):
        last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].lower()
        if last:
            yield last
            yield last.rpartition(".")[0] or last


def _fitting(listing: Listing, entry: Entry, paths: list[str]) -> list[str]:
    return paths if listing.unique_names else [path for path in paths if _same_folder(entry.name, path)]


def _same_folder(name: str, path: str) -> bool:
    """Whether the folders agree as far as both say one: ``a/x.avi`` is not ``b/x.mp4``, but may be ``x.mp4``."""
    ours, theirs = (p.lower().split("/")[-2:-1] for p in (name.replace("\\", "/"), path))
    return ours == theirs or not ours or not theirs


def _agreement(name: str, path: str) -> int:
    """How many of the last path parts agree, the suffix left out."""
    ours, theirs = (p.lower().rpartition(".")[0].split("/")[::-1] for p in (name.replace("\\", "/"), path))
    same = 0
    for a, b in zip(ours, theirs, strict=False):
        if a != b:
            break
        same += 1
    return same * 2 + (Path(name).suffix.lower() == Path(path).suffix.lower())


def _table(path: Path) -> Listing:
    """``videos.csv``: path, and optionally label, split, start and end in seconds. One row a video or part of one."""
    entries: list[Entry] = []
    for number, row in _rows(path, needs="path"):
        if (row.get("status") or "used") != "used":
            continue
        start = _seconds(path, number, row, "start") if row.get("start") else 0.0
        end = _seconds(path, number, row, "end") if row.get("end") else None
        if end is not None and end <= start:
            raise UserError(f"{path}, line {number}: the part ends at {end:g} s but starts at {start:g} s.")
        split = row.get("split") or None
        entries.append(
            Entry(
                row["path"],
                labels=several_labels(row.get("labels") or "") or _labels(row),
                split=SPLIT_NAMES.get((split or "").lower(), split),
                start=start,
                end=end,
            )
        )
    return Listing(tuple(entries), (path,), f"not in {path.name}", False)


def _is_kinetics(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = file.readline(4096)
    return {"label", "youtube_id", "time_start", "time_end"} <= {c.strip().strip('"') for c in header.split(",")}


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("# "):  # HMDB51 has names such as #20_Rhythm_clap_u_nm_np1_fr_goo_0
            yield number, line.strip()


def _rows(path: Path, *, needs: str = "youtube_id") -> Iterator[tuple[int, Mapping[str, str]]]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        try:
            if needs not in (reader.fieldnames or ()):
                found = ", ".join(reader.fieldnames or ()) or "nothing"
                raise UserError(f"{path}: the first line must name the columns, '{needs}' among them; it says {found}.")
            for row in reader:
                if row.get(needs):
                    yield reader.line_num, row
        except csv.Error as error:
            raise UserError(f"{path}, line {reader.line_num}: cannot be read as a table ({error}).") from error


def _labels(row: Mapping[str, str]) -> tuple[str, ...]:
    label = (row.get("label") or "").strip()
    return (label,) if label else ()


def _seconds(path: Path, number: int, row: Mapping[str, str], column: str) -> float:
    try:
        return float(row[column])
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{path}, line {number}: '{row.get(column)}' in column {column} is not a number of seconds."
        ) from None
