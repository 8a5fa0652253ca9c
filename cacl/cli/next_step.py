"""``cacl`` alone: what to type next, from what lies in this folder. Nothing is opened but small JSON files."""

from __future__ import annotations

import mimetypes
import os
import shutil
import sys
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cacl.errors import counted, printable, quoted
from cacl.files import read_object
from cacl.run_folder import go_on, is_run

_DEEP, _MANY = 4, 5000  # folders below this one, and entries in all: it must not take long
_SHOWN = 2  # runs, and indexes


@dataclass
class Found:
    """What lies in a folder.

    Attributes:
        videos: the folder below this one (``.`` for this one) -> how many files look like videos, by their names.
        runs, indexes: folders, the newest first.
    """

    videos: dict[str, int] = field(default_factory=dict)
    runs: list[Path] = field(default_factory=list)
    indexes: list[Path] = field(default_factory=list)


def look(here: Path) -> Found:
    """What is in a folder and a few levels below it, hidden folders left out."""
    found = Found()
    for path, top in _entries(here):
        if path.is_dir():
            (found.runs if is_run(path) else found.indexes).append(path)
        elif (mimetypes.guess_type(path.name)[0] or "").startswith("video/"):
            found.videos[top] = found.videos.get(top, 0) + 1
    for folders in (found.runs, found.indexes):
        folders.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
    return found


def _entries(here: Path) -> Iterator[tuple[Path, str]]:
    """Files, and folders that are a run or an index and are not entered; each with the folder of ``here`` it is in."""
    waiting, seen = [(here, ".", 0)], 0
    while waiting:
        folder, top, depth = waiting.pop(0)
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                seen += 1
                if seen > _MANY:
                    return
                path, below = Path(os.path.relpath(entry.path)), entry.name if top == "." else top
                if entry.name.startswith("."):
                    continue
                if entry.is_dir() and not entry.is_dir(follow_symlinks=False):
                    continue  # a link to a folder may lead in a circle
                if entry.is_file() or is_run(path) or (path / "index.json").is_file():
                    yield path, top
                elif depth < _DEEP:
                    waiting.append((Path(entry.path), below, depth + 1))


def next_steps(here: Path) -> str:
    """What to type next, the furthest first, as lines for a terminal."""
    found = look(here)
    parts = [_of_index(index) for index in found.indexes[:_SHOWN]]
    indexed = {_about(index).get("videos") for index in found.indexes}
    parts += [_of_run(run, indexed) for run in found.runs[:_SHOWN]]
    if found.videos:
        parts.append(_of_videos(found))
    if not parts:
        parts.append(
            "There is no video in this folder, and nothing that cacl made.\n"
            + _lines(
                ("cacl demo --out demo", "see it work, on videos that it makes (some ten minutes)"),
                ("cacl check FOLDER", "which files of a folder of videos it can use"),
                ("cacl doctor", "whether this machine will do"),
            )
        )
    if (activate := _activation()) is not None:
        parts.append(f"These lines find cacl after: {activate}")
    head = "cacl learns from a folder of videos, without labels, what in them is alike: to search it, or to sort it."
    return "\n\n".join([head, *parts, "All commands: cacl --help"])


def _activation() -> str | None:
    """What makes the lines work as they stand, where this ``cacl`` is not the one that typing its name would find."""
    scripts, found = Path(sys.argv[0]).parent.resolve(), shutil.which("cacl")
    here = found is not None and Path(found).parent.resolve() == scripts
    if here or os.name == "nt" or not (scripts / "activate").is_file():
        return None
    return f"source {quoted(scripts / 'activate')}"


def _of_videos(found: Found) -> str:
    folder = max(found.videos, key=lambda name: found.videos[name])
    count = found.videos[folder]
    where = "in this folder" if folder == "." else f"in {printable(folder)}"
    name = quoted(folder)
    out = quoted(f"runs/{folder if folder != '.' else 'mine'}")
    lines = [(f"cacl check {name}", "which of them are usable, and why not")]
    if not found.runs:
        lines.append((f"cacl pretrain {name} --out {out}", "learn from them; Ctrl-C stops, and it can go on later"))
    like = "looks like a video" if count == 1 else "look like videos"
    return f"{counted(count, 'file')} {where} {like}.\n{_lines(*lines)}"


def _of_run(run: Path, indexed: Container[object]) -> str:
    """Of a run; ``indexed`` are the folders that an index was made of."""
    name = quoted(run)
    if (command := go_on(run)) is not None:
        return f"The training in {printable(str(run))} has not come to its end.\n" + _lines((command, "go on with it"))
    if not (run / "finished.json").is_file():  # of fine-tuning
        told = (f"cacl classify {name} FOLDER", "what each video shows")
        return f"{printable(str(run))} tells classes.\n{_lines(told)}"
    place = str(read_object(run / "data.json").get("videos", "FOLDER"))
    videos = quoted(os.path.relpath(place))
    out = quoted(f"{run.name}.index")
    lines = (
        [] if place in indexed else [(f"cacl index {videos} --model {name} --out {out}", "make the videos searchable")]
    )
    if not (run / "results.json").is_file():
        lines.append((f"cacl evaluate {name}", "how well it finds videos of a kind, if some have labels"))
    lines.append((f"cacl report {name}", f"a page of it all: {run / 'report.html'}"))
    return f"{printable(str(run))} has learned.\n{_lines(*lines)}"


def _of_index(index: Path) -> str:
    name = quoted(index)
    return f"{printable(str(index))} can be searched.\n" + _lines(
        (f"cacl serve {name}", "a page for it, on this machine alone"),
        (f"cacl search {name} VIDEO@0-2", "where else happens what VIDEO shows in its first two seconds"),
        (f"cacl duplicates {name}", "what is there twice"),
    )


def _about(index: Path) -> dict[str, object]:
    generation = str(read_object(index / "index.json").get("generation", ""))
    return read_object(index / "generations" / generation / "embedding.json")


def _lines(*commands: tuple[str, str]) -> str:
    """Commands with what they do beside them, or below where a command is long."""
    width = max(len(command) for command, _ in commands)
    if width > 60:
        return "\n".join(f"  {command}\n      {what}" for command, what in commands)
    return "\n".join(f"  {command.ljust(width)}   {what}" for command, what in commands)
