"""The map beside the page's other work: begun when it is first asked for, better as it goes on."""

from __future__ import annotations

import threading
from typing import Any

from cacl.errors import UserError
from cacl.exploring.map import Map, maps_of
from cacl.serving.current import View


class _EndedError(Exception):
    """The server stops, or the index changed."""


class Maps:
    """The best map so far of the state of the index that was asked for last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: View | None = None
        self._best: Map | None = None
        self._progress, self._problem, self._done, self._stopping = (0, 1), "", False, False

    def report(self, view: View) -> dict[str, Any]:
        """How far it is; begins with the first question about a state of the index."""
        with self._lock:
            if self._of is not view:
                self._of, self._best, self._progress, self._problem, self._done = view, None, (0, 1), "", False
                threading.Thread(target=self._run, args=(view,), daemon=True).start()
            best, (done, total) = self._best, self._progress
            return {
                "kind": None if best is None else best.kind,
                "points": 0 if best is None else len(best.points),
                "stride": 1 if best is None else best.stride,
                "finished": self._done,
                "done": done,
                "total": total,
                "problem": self._problem,
            }

    def best(self, view: View) -> Map:
        """The best map so far. Raises UserError: there is none yet."""
        with self._lock:
            if self._of is not view or self._best is None:
                raise UserError("The map is not drawn yet.")
            return self._best

    def stop(self) -> None:
        """End what is under way."""
        self._stopping = True

    def _run(self, view: View) -> None:
        def progress(done: int, total: int) -> None:
            if self._stopping or self._of is not view:
                raise _EndedError
            self._progress = done, total

        problem = ""
        try:
            for one in maps_of(view.index, progress):
                with self._lock:
                    if self._of is view:
                        self._best = one
        except _EndedError:
            return
        except Exception as error:
            problem = f"The map could not be drawn ({type(error).__name__}: {error})."
        with self._lock:
            if self._of is view:
                self._done, self._problem = True, problem
