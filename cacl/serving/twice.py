"""A look for duplicates beside the page's other work: begun once for each state of the index, its progress told."""

from __future__ import annotations

import threading
from typing import Any, Literal

from cacl.errors import UserError
from cacl.indexing.words import duplicates_as_rows
from cacl.search.duplicates import Duplicate
from cacl.serving.current import View


class _EndedError(Exception):
    """The server stops, or the index changed."""


class Twice:
    """The last look for duplicates."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: View | None = None
        self._status: Literal["none", "running", "done", "failed"] = "none"
        self._found: list[Duplicate] = []
        self._notes: list[str] = []
        self._progress = ("", 0, 0)
        self._stopping = False

    def begin(self, view: View) -> None:
        """Begin to look, unless it was done or is under way."""
        with self._lock:
            if self._of is view and self._status in ("running", "done"):
                return
            self._of, self._status, self._found, self._notes = view, "running", [], []
            self._progress = ("", 0, 0)
        threading.Thread(target=self._run, args=(view,), daemon=True).start()

    def stop(self) -> None:
        """End the look that is under way."""
        self._stopping = True

    def found(self, view: View) -> list[Duplicate]:
        """What was found in this state, without what was said not to be the same."""
        with self._lock:
            found = self._found if self._of is view else []
        decisions = view.index.decisions
        return [one for one in found if not decisions.not_same(one.first, one.second)]

    def report(self, view: View) -> dict[str, Any]:
        """How far it is, and what was found."""
        with self._lock:
            own = self._of is view
            what, done, total = self._progress if own else ("", 0, 0)
            status, notes = (self._status, list(self._notes)) if own else ("none", [])
        pairs = [
            {
                **row,
                "a": view.facts(view.part(row["path"], row["start_s"], row["end_s"])),
                "b": view.facts(view.part(row["other_path"], row["other_start_s"], row["other_end_s"])),
            }
            for row in duplicates_as_rows(self.found(view))
        ]
        return {"status": status, "what": what, "done": done, "total": total, "notes": notes, "pairs": pairs}

    def _run(self, view: View) -> None:
        def progress(what: str, done: int, total: int) -> None:
            if self._stopping or self._of is not view:
                raise _EndedError
            self._progress = what, done, total

        def say(text: str) -> None:
            self._notes.append(text)

        try:
            found = view.index.duplicates(say=say, progress=progress)
        except _EndedError:
            return
        except UserError as error:
            self._finish(view, "failed", [], str(error))
        except Exception as error:
            self._finish(view, "failed", [], f"The look for duplicates failed ({type(error).__name__}: {error}).")
        else:
            self._finish(view, "done", found)

    def _finish(self, view: View, status: Literal["done", "failed"], found: list[Duplicate], note: str = "") -> None:
        with self._lock:
            if self._of is view:
                self._status, self._found = status, found
                self._notes += [note] if note else []
