"""The run folder: one named folder a run, guarded by a lock that dies with its process.

``config.yaml`` (resolved settings with their origins), ``data.json`` (where the videos are), ``videos.csv``,
``environment.json``, ``log.txt``, ``metrics.jsonl``, ``checkpoints/``, ``samples/``, ``curves.png``, ``encoder/``.
``config.yaml`` is written last when a run begins: without it, what is there is of a run that never began.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cacl.errors import UserError, printable, quoted
from cacl.files import partial_name, write_whole, writing
from cacl.lock import NAME as LOCK
from cacl.lock import FolderLock

if TYPE_CHECKING:
    from cacl.config import Resolved, ResolvedOf

_BEGINNING = ("data.json", "environment.json", "config.yaml")  # in this order


class RunFolder:
    """A run on disk, opened for writing by one process at a time; use it as a context manager.

    Of several processes that train together the first one is the owner; the others only read, and what they would
    write or log the owner writes.
    """

    def __init__(self, path: Path, *, owner: bool = True) -> None:
        self.path = path
        self.owner = owner
        self._lock: FolderLock | None = None

    @classmethod
    def create(cls, path: Path, resolved: ResolvedOf[Any], data: Mapping[str, Any]) -> RunFolder:
        """A new run folder. Raises UserError when the folder holds something already.

        What a process left that died before its run began is written over.

        Args:
            resolved: its settings.
            data: where the videos are; ``verb`` names the command that goes on with the run, by default pretrain.
        """
        run, texts = cls(path), (json.dumps(dict(data), indent=2), json.dumps(environment(), indent=2))
        try:
            check_free(path)
            path.mkdir(parents=True, exist_ok=True)
            with run:
                check_free(path)  # nobody was faster
                for name, text in zip(_BEGINNING, (*(f"{text}\n" for text in texts), resolved.to_yaml()), strict=True):
                    run.write(name, text)
        except OSError as error:
            raise UserError(
                f"{path}: the run folder cannot be written ({error.strerror or error}); choose another --out."
            ) from error
        return run

    def discard(self) -> None:
        """Take a run that never began away again, so that the same command can be given once more.

        Only what ``create`` and the search for videos write is removed.
        """
        for name in (*_BEGINNING, "videos.csv", "log.txt", LOCK):
            (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something else is in it
            self.path.rmdir()

    @classmethod
    def open(cls, path: Path, *, verb: str = "pretrain") -> RunFolder:
        """An existing run made by ``cacl verb``. Raises UserError when there is none."""
        if not (path / "config.yaml").is_file():
            raise UserError(f"{path} is not a run folder (no config.yaml in it); name a folder made by cacl {verb}.")
        if (found := verb_of(path)) != verb:
            raise UserError(f"{path} was made by cacl {found}; name a folder made by cacl {verb}.")
        return cls(path)

    def __enter__(self) -> RunFolder:
        if not self.owner:
            return self
        self._lock = FolderLock(self.path).__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.__exit__(kind, error, trace)
            self._lock = None

    @property
    def resolved(self) -> Resolved:
        """The settings as last written."""
        from cacl.config import load_resolved  # only here, because it takes longer than all else: see `cacl --help`

        return load_resolved(self.path / "config.yaml")

    @property
    def data(self) -> dict[str, Any]:
        """Where the videos are: ``videos``, ``lists``, ``split``."""
        content: dict[str, Any] = json.loads((self.path / "data.json").read_text())
        return content

    def write(self, name: str, text: str) -> None:
        """Write a small text file whole or not at all. Raises UserError where it cannot be written."""
        if not self.owner:
            return
        write_whole(self.path / name, text)

    def log(self, text: str) -> None:
        """A line for the user (stderr) and for ``log.txt``."""
        if not self.owner:
            return
        text = "\n".join(printable(line) for line in text.split("\n"))
        print(text, file=sys.stderr, flush=True)
        # It has been said: no run ends because of a line of its log. What would be lost on a full disk, does end it.
        with (
            contextlib.suppress(OSError),
            (self.path / "log.txt").open("a", encoding="utf-8", errors="backslashreplace") as file,
        ):
            file.write(time.strftime("%Y-%m-%d %H:%M:%S ") + text + "\n")


class Metrics:
    """Rows of ``metrics.jsonl``. After a resume it goes on behind the checkpoint's step: no row twice, none missing."""

    def __init__(self, path: Path, *, kind: str, step: int) -> None:
        """Open for rows of one kind; rows of that kind beyond ``step`` are from after the checkpoint and go."""
        self._path, self._kind = path, kind
        if path.exists():
            kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _keep(line, kind, step)]
            write_whole(path, "".join(line + "\n" for line in kept))
        with writing(path):
            self._file = path.open("a", encoding="utf-8")

    def add(self, row: Mapping[str, Any]) -> None:
        """One row; written at ``flush``. Raises UserError where it cannot be written."""
        with writing(self._path):
            self._file.write(json.dumps({"kind": self._kind, **row}) + "\n")

    def flush(self) -> None:
        """Bring the rows to disk. Raises UserError where they cannot be written."""
        with writing(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close. Raises UserError where rows cannot be written."""
        with writing(self._path), self._file:
            self.flush()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a ``metrics.jsonl``; a last line cut off by a crash is left out.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if another line is no JSON object.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines):
                break
            raise ValueError(f"{path}, line {number}: not JSON") from None
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: not a JSON object")
        rows.append(row)
    return rows


def environment() -> dict[str, Any]:
    """Versions and machine, for ``environment.json``."""
    from importlib.metadata import version

    import numpy
    import torch

    return {
        "cacl": version("cacl"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": sys.argv,
    }


def is_run(path: Path) -> bool:
    """Whether a folder is a run that has begun."""
    return (path / "config.yaml").is_file() and (path / "data.json").is_file()


def go_on(path: Path) -> str | None:
    """The command that goes on with a run that has not come to its end; None for every other folder."""
    verb = verb_of(path)
    last = "finished.json" if verb == "pretrain" else "results.json"
    return f"cacl {verb} --resume {quoted(path)}" if is_run(path) and not (path / last).is_file() else None


def how_to_mend(folder: Path) -> str:
    """What to do about a damaged folder of weights: in a pretraining it is made again, the same to the bit."""
    run = folder.parent
    if not is_run(run):
        return "take the folder from its source again"
    if verb_of(run) == "pretrain":
        end = f" and {run / 'finished.json'}" if (run / "finished.json").is_file() else ""
        return f"remove {folder}{end}, and it is made again by cacl pretrain --resume {quoted(run)}"
    return "put it back from a copy of the run, or fine-tune again with another --out"


def verb_of(path: Path) -> str:
    """Which command made a run."""
    try:
        return str(json.loads((path / "data.json").read_text()).get("verb", "pretrain"))
    except (OSError, ValueError, AttributeError):
        return "pretrain"


def check_free(path: Path) -> None:
    """Raise UserError where a folder holds more than what a process left that died before its run began."""
    if not path.exists():
        return
    if not path.is_dir():
        raise UserError(f"{path} is a file; choose another --out.")
    names = {file.name for file in path.iterdir()}
    if "config.yaml" in names:
        raise UserError(
            f"{path} holds a run already. Continue it: cacl {verb_of(path)} --resume {quoted(path)}; "
            f"or choose another --out for a new one, for example {path}-2"
        )
    left = {LOCK, *_BEGINNING, *map(partial_name, _BEGINNING)}
    if names and (LOCK not in names or not names <= left):
        raise UserError(f"{path} exists and is not empty; choose another --out.")


def _keep(line: str, kind: str, step: int) -> bool:
    try:
        row = json.loads(line)
    except ValueError:
        return False  # torn by a crash
    return bool(row.get("kind") != kind or row.get("step", 0) <= step)
