"""What an encoder or classifier was trained on, from the folders of its runs, and whether that is what it is tested on.

A pretraining's ``videos.csv`` lists its videos, a fine-tuning's ``videos/`` its splits; its ``data.json`` says which
encoder it began with. Of weights without a run nothing is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from cacl.data.remote.place import place
from cacl.data.videos.catalog import Catalog, Video, root_of
from cacl.data.videos.lists.entry import split_of_name


def trained_on_notes(
    model: Path, test: Sequence[Video], root: Path, *, what: str = "test videos", head: bool = False
) -> list[str]:
    """A sentence for each training of this model that saw some of the test videos.

    A video is the same when it is the same file, or a copy in another place: with the same folder, stem and number of
    frames, and not in ``train/`` on one side and ``test/`` on the other, where names begin anew.

    Args:
        model: a run, its ``encoder`` or ``classifier``; ``initial`` holds weights from before the training.
        test: the videos that it is tested on.
        root: the folder of these.
        what: how the sentence calls them.
        head: whether a classifier's own layer is used, too; a linear probe trains nothing else.
    """
    notes = []
    for run, catalog, labelled in _trainings(model, head):
        seen = _seen(catalog, test, root)
        if seen:
            seen_of = f"{seen} of the {len(test)} {what}"
            notes.append(
                f"The {'classifier' if head else 'encoder'} was trained with the labels of {seen_of} ({run}/videos): "
                "the result is too good."
                if labelled
                else f"The encoder was pretrained on {seen_of} ({run}/videos.csv), without their labels: on new videos "
                "it may do worse."
            )
    return notes


def trained_on(model: Path, test: Sequence[Video], root: Path) -> int:
    """How many of these videos the encoder was trained on, with labels or without; arguments as above."""
    return max((_seen(catalog, test, root) for _, catalog, _ in _trainings(model, head=False)), default=0)


def _seen(catalog: Catalog, test: Sequence[Video], root: Path) -> int:
    """How many of the test videos a catalog has."""
    own = catalog.root.resolve()
    files = {(own / v.path).resolve() for v in catalog.videos}
    copies: dict[tuple[str, str, int], set[str | None]] = {}
    for video in catalog.videos:
        copies.setdefault(_copy(video), set()).add(_part(video))
    seen = 0
    for video in test:
        file, parts = (root / video.path).resolve(), copies.get(_copy(video), set())
        copied = bool(parts) and (_part(video) is None or not parts.isdisjoint({_part(video), None}))
        seen += file in files or (copied and not file.is_relative_to(own))
    return seen


def _trainings(model: Path, head: bool) -> Iterator[tuple[Path, Catalog, bool]]:
    """The runs that made these weights, the last first: their training videos, and whether labels were learnt from."""
    run = next((p for p in (model, model.parent) if (p / "data.json").is_file()), None)
    if run is None or model.name == "initial":
        return
    request = json.loads((run / "data.json").read_text(encoding="utf-8"))
    root = root_of(place(request["videos"]))
    if request.get("verb") != "finetune":
        if (run / "videos.csv").is_file():
            own = Catalog.read_csv(run / "videos.csv", root=root)
            yield run, own if not own.only("train").videos else own.only("train"), False
        return
    kept = run / "videos" / f"split-{request['splits'][0]}.csv"  # the classifier is that of the first split
    if kept.is_file() and model.name != "start" and (head or not request["linear"]):
        yield run, Catalog.read_csv(kept, root=root).only("train"), True
    if request["model"] != "untrained":
        yield from _trainings(Path(request["model"]), head=False)


def _part(video: Video) -> str | None:
    """The part that the video's outermost folder says."""
    return split_of_name(video.path.split("/")[0]) if "/" in video.path else None


def _copy(video: Video) -> tuple[str, str, int]:
    path = Path(video.path)
    return path.parent.name.lower(), path.stem.lower(), video.frames
