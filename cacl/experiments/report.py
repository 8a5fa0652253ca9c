"""``cacl report RUN…``: one page of a run, or of several compared; pretrainings and fine-tunings alike.

Everything is read from the run folders: nothing is trained or evaluated, and the videos need not be there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cacl.errors import UserError
from cacl.evaluation.results import tasks_of
from cacl.files import check_replaceable
from cacl.reports.finetune import finetune_page
from cacl.reports.page import RunPage
from cacl.reports.run import run_page
from cacl.reports.write import write_page
from cacl.run import Run

_GENERATOR = '<meta name="generator" content="cacl">'  # in report/templates/open.html


def report(runs: Sequence[str | Path], *, out: str | Path | None = None, command: str = "") -> Path:
    """Write the page.

    Args:
        runs: run folders, in the order in which they are shown; they need not be finished.
        out: the HTML file, replaced where it is one of this command. By default ``report.html`` in the folder of a
            single run, and ``comparison.html`` in the working folder for several.
        command: for the foot of the page.

    Returns:
        Where the page is.

    Raises:
        UserError: no run folder, a damaged file in it, or a place that cannot be written, or holds something else.
    """
    if not runs:
        raise UserError("Name at least one run: cacl report RUN")
    folders = [Path(run) for run in runs]
    path = (
        Path(out) if out is not None else folders[0] / "report.html" if len(folders) == 1 else Path("comparison.html")
    )
    if path.suffix.lower() not in (".html", ".htm"):  # a slip of the hand must not cost a run its videos.csv
        raise UserError(f"--out is {path}; name a file that ends in .html.")
    if path.is_dir():
        raise UserError(f"--out is {path}, which is a folder; name a file in it, for example {path / 'report.html'}.")
    if out is not None or len(folders) > 1:  # a run's own page is the run's
        check_replaceable(path, _is_page, by="cacl report")
    pages = [_page(folder, command) for folder in folders]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_page(path, pages, command=command)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}); choose another --out.") from error
    return path


def _is_page(file: Path) -> bool:
    """Whether a file is a page of cacl: the head of its HTML says so."""
    with file.open(encoding="utf-8", errors="replace") as text:
        return _GENERATOR in text.read(1024)


def _page(folder: Path, command: str) -> RunPage:
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; name a run.")
    verb = (_object(folder / "data.json") or {}).get("verb", "pretrain")
    results = _object(folder / "results.json")
    if verb == "finetune":
        return finetune_page(folder, results, command=command)
    run = Run(folder)
    finished = run.finished
    return run_page(run, {**tasks_of(finished or {}), **(results or {})}, finished=finished, command=command)


def _object(file: Path) -> dict[str, Any] | None:
    """A JSON object, None where there is no such file."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}); make it again, or remove it.") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} holds no results; make it again, or remove it.")
    return content
