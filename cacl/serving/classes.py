"""Classes on the page: learnt from the labels beside other work, told of every stretch, and what to label next."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cacl.errors import UserError
from cacl.exploring.classes import Classes, Told
from cacl.exploring.examples import examples_of, owners
from cacl.exploring.labels import Labels
from cacl.exploring.learn import learn
from cacl.exploring.next import least_sure, most_unlike
from cacl.serving.current import View, stamp_of

Codes = NDArray[np.uint16]
NONE = 0xFFFF  # the code of a stretch without a name


class Taught:
    """The classes beside an index, whoever learnt them: ``cacl finetune`` or the page."""

    def __init__(self, folder: Path, labels: Labels) -> None:
        self.folder, self._labels = folder, labels
        self._lock = threading.Lock()
        self._learning: View | None = None
        self._problem = ""
        self._kept: tuple[object, tuple[Classes, Told] | None, str] = (None, None, "")

    def begin(self, view: View) -> None:
        """Learn the classes of the labels as they are now, unless that is under way."""
        with self._lock:
            if self._learning is not None:
                return
            self._learning, self._problem = view, ""
        threading.Thread(target=self._learn, args=(view,), daemon=True).start()

    def report(self, view: View) -> dict[str, Any]:
        """Whether it is learning, and what there is: names, how many stretches are each, what held-out labels say."""
        with self._lock:
            status: Literal["running", "none"] = "none" if self._learning is None else "running"
            problem = self._problem
        found, unusable = self.told(view)
        if found is None:
            return {"status": status, "problem": unusable or problem, "classes": [], "said": "", "notes": []}
        classes, told = found
        counts = np.bincount(told.best, minlength=len(classes.names)).tolist()
        facts = classes.facts
        return {
            "status": status,
            "problem": problem,
            "classes": [{"name": name, "count": n} for name, n in zip(classes.names, counts, strict=True)],
            "said": str((facts.get("held out") or {}).get("words", "")),
            "notes": [str(note) for note in facts.get("notes") or ()],
            "labels": facts.get("labels"),
        }

    def told(self, view: View) -> tuple[tuple[Classes, Told] | None, str]:
        """The classes with what they tell of every stretch, ``None`` where there are none; and why not."""
        key = stamp_of(self.folder / "config.json"), view
        with self._lock:
            if self._kept[0] != key:
                self._kept = (key, *self._told(view))
            return self._kept[1], self._kept[2]

    def next(self, view: View) -> dict[str, NDArray[np.int64]]:
        """Rows of what to label next. Raises UserError: too few labels to say."""
        found, problem = self.told(view)
        if found is None:
            raise UserError(problem or "Learn classes first: then there is something to be unsure of.")
        examples = examples_of(view.index, self._labels.read(), name=str(self._labels.file))
        return {
            "least_sure": least_sure(found[1], view.index, examples),
            "most_unlike": most_unlike(view.index, examples),
        }

    def codes(self, view: View, by: str) -> tuple[list[str], Codes]:
        """A name for every stretch, as a number in a list of names: its label, or its class.

        Args:
            view: the index.
            by: ``"label"``: given on the page, else that of the video; ``"class"``: told.
        """
        if by == "class":
            found, _ = self.told(view)
            if found is None:
                return [], np.full(len(view.index.vectors), NONE, np.uint16)
            return list(found[0].names), found[1].best.astype(np.uint16)
        entries = [(one, label) for one, label in self._labels.read().items() if one.path in view.parts_of]
        of_video = [video.label or "" for video in view.index.videos]
        names = sorted({label for _, label in entries} | ({*of_video} - {""}))[: NONE - 1]
        place = {name: number for number, name in enumerate(names)}
        codes = np.array([place.get(label, NONE) for label in of_video], np.uint16)[view.index.spans.video]
        if entries:
            owner, _ = owners(view.index, [one for one, _ in entries])
            own = np.array([place.get(label, NONE) for _, label in entries], np.uint16)
            codes = np.where(owner >= 0, own[owner], codes)
        return names, codes

    def _learn(self, view: View) -> None:
        problem = ""
        try:
            learnt = learn(view.index, self._labels.read(), name=str(self._labels.file))
            learnt.classes.save(self.folder)
        except UserError as error:
            problem = str(error)
        except Exception as error:
            problem = f"Learning failed ({type(error).__name__}: {error})."
        with self._lock:
            self._learning, self._problem = None, problem

    def _told(self, view: View) -> tuple[tuple[Classes, Told] | None, str]:
        if not self.folder.is_dir():
            return None, ""
        try:
            classes = Classes.load(self.folder)
            return (classes, classes.told(view.index)), ""
        except UserError as error:
            return None, str(error)
