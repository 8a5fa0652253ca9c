"""``report.html``: what was trained, on what, and how good it is, as one file to send to a colleague.

Everything is inside the file (pictures as data, charts as SVG, no script, no network), and every name is escaped. One
run has a page of its own; several are compared first, and each can be opened below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cacl.files import write_whole
from cacl.reports.analysis import Analysis, Confused
from cacl.reports.compare import compare
from cacl.reports.curves import chart, panels
from cacl.reports.page import KINDS, RunPage
from cacl.reports.recognition import recognition_view
from cacl.reports.tables import TaskBars, highlights, retrieval_table, task_bars, top
from cacl.reports.tiles import jpeg_uri

if TYPE_CHECKING:
    from jinja2 import Template


def write_page(path: Path, pages: Sequence[RunPage], *, command: str = "") -> None:
    """Write the page of one run, or of several compared.

    Args:
        path: of the HTML file; its folder exists.
        pages: one or more; their order is that of the colours.
        command: that made a comparison; a single run has its own.

    Raises:
        OSError: the file cannot be written.
    """
    views = [_view(page) for page in pages]
    comparison = compare(pages) if len(pages) > 1 else None
    title = pages[0].title if comparison is None else f"{len(pages)} runs compared"
    write_whole(path, template("page.html").render(title=title, runs=views, comparison=comparison, command=command))


def template(name: str) -> Template:
    """A page's template, which escapes whatever is put into it and refuses to leave anything out."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    def source(file: str) -> str:
        return files("cacl.reports").joinpath("templates", file).read_text(encoding="utf-8")

    environment = Environment(
        loader=FunctionLoader(source), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(name)


def _view(page: RunPage) -> dict[str, Any]:
    """What the templates of one run ask for."""
    spread = page.results.get("standard deviation") or {}
    table, ks = retrieval_table(page.results.get("retrieval") or {}, spread.get("retrieval") or {})
    tasks = task_bars(page.results)
    recognition = recognition_view(page.results, page.confusion)
    drawn = {name: panels(rows, page.curves.get(name, ())) for name, rows in page.metrics.items()}
    view: dict[str, Any] = {
        "page": page,
        "kind": KINDS[page.kind],
        "highlights": highlights(table, ks, tasks, [] if recognition is None else recognition.rows, page.main),
        "table": table,
        "ks": ks,
        "table_top": top(table, ks[0]) if ks else 100,
        "tasks": _tasks(tasks, page.analysis),
        "seeds": len(page.results.get("seeds") or {}),
        "recognition": recognition,
        "recognition_top": 100 if recognition is None else top(recognition.rows, "top-1"),
        "charts": {name: [chart(panel) for panel in found] for name, found in drawn.items() if found},
        "first_batch": None if page.first_batch is None else jpeg_uri(page.first_batch),
    }
    view["sections"] = _sections(view)
    return view


def _tasks(
    bars: Sequence[TaskBars], analysis: Analysis | None
) -> list[tuple[str, str, TaskBars | None, Confused | None]]:
    """(name, title, bars, confusion) of the tasks that either knows."""
    known, confused = {task.name: task for task in bars}, {} if analysis is None else analysis.tasks
    titles = {name: task.title for name, task in known.items()} | {name: own.title for name, own in confused.items()}
    return [(name, title, known.get(name), confused.get(name)) for name, title in titles.items()]


def _sections(view: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Identifier and name of the sections that the page has, in their order."""
    page: RunPage = view["page"]
    analysis = page.analysis
    there = {
        "retrieval": ("Retrieval", view["table"]),
        "neighbours": ("Neighbours", page.neighbours),
        "recognition": ("Recognition", view["recognition"]),
        **{name: (title, True) for name, title, _, _ in view["tasks"]},
        "probes": ("Time", analysis is not None and analysis.probes),
        "similarity": ("Pairs", analysis is not None and analysis.similarity),
        "attention": ("Attention", analysis is not None and analysis.attention),
        "features": ("Features", analysis is not None and analysis.features),
        "curves": ("Training", view["charts"]),
        "samples": ("First batch", view["first_batch"]),
        "data": ("Videos", page.data or page.skipped),
        "settings": ("Settings", page.settings),
    }
    return [(key, name) for key, (name, content) in there.items() if content]
