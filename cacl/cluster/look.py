"""``cacl check --engine ray``: files are opened by the tasks of a cluster, and what is found is the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cacl.cluster.batches import Job
from cacl.cluster.on_ray import Cluster
from cacl.data.media.pictures import size_of
from cacl.data.remote.place import file_at, place
from cacl.data.videos.catalog import Catalog, Skipped, Video, root_of
from cacl.data.videos.lists.entry import Entry
from cacl.data.videos.look import look
from cacl.data.videos.scan import scan

Asked = tuple[str, Sequence[Entry], bool]  # of one file: its path, its parts by a list, whether a list names it
Found = list[Video | Skipped]
_PACKETS = 100_000  # bytes: opening any file takes as long as reading so many


def scan_on_ray(
    cluster: Cluster,
    root: str | Path,
    *,
    deep: bool = False,
    rate: float = 0.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    **asked: Any,
) -> Catalog:
    """As ``scan``, but that files are opened by a cluster.

    The folder is gone through twice: to know what is to be opened, and to put together what was found. A file that
    ended three processes, or came meanwhile, is opened here.

    Args:
        cluster: entered.
        root, deep, rate, asked: as of ``scan``.
        progress: called with files done and files in all.

    Raises:
        UserError: as ``scan``, and what ``Cluster.do`` raises.
    """
    questions, answers = dict[str, Asked](), dict[str, Found]()

    def ask(root: Path, path: str, entries: Sequence[Entry], *, deep: bool, rate: float, named: bool) -> Found:
        questions[path] = path, entries, named
        return []

    def answer(root: Path, path: str, entries: Sequence[Entry], *, deep: bool, rate: float, named: bool) -> Found:
        if questions.get(path) == (path, entries, named) and path in answers:
            return answers[path]
        return look(root, path, entries, deep=deep, rate=rate, named=named)

    scan(root, deep=deep, rate=rate, look=ask, empty=True, **asked)
    below = root_of(place(root)).absolute()
    jobs = [Job(path, _PACKETS + size_of(file_at(below, path)), what) for path, what in questions.items()]
    ready = 0

    def done(keys: Sequence[str]) -> None:
        nonlocal ready
        ready += len(keys)
        progress(ready, len(jobs))

    if jobs:
        cluster.do(
            partial(look_at, below, deep=deep, rate=rate),
            jobs,
            sees=[below],
            kept=answers.keys,
            take=answers.update,
            done=done,
        )
    return scan(root, deep=deep, rate=rate, look=answer, **asked)


def look_at(root: Path, asked: Sequence[Asked], *, deep: bool, rate: float) -> dict[str, Found]:
    """What a task does: what is found in some files, by their paths."""
    return {path: look(root, path, entries, deep=deep, rate=rate, named=named) for path, entries, named in asked}
