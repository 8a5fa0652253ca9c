"""``cacl evaluate RUN``: the protocols on a finished run, its report, and the numbers as a dictionary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from cacl.data.dataset import Dataset, open_dataset
from cacl.errors import UserError
from cacl.models.encoder import Encoder
from cacl.models.processes import is_first, join
from cacl.runs import RunFolder
from cacl.training.retrieval import run_retrieval
from cacl.training.run import Run
from cacl.training.videos import open_run_data


def evaluate(
    run: str | Path,
    videos: str | Path | None = None,
    *,
    protocol: Literal["retrieval"] = "retrieval",
    lists: str | Path | None = None,
    split: int = 1,
    beside: Sequence[str | Path] = (),
) -> dict[str, Any]:
    """Evaluate a finished run; writes ``results.json``, ``report.html`` and ``neighbours.png`` into its folder.

    Called by every process of torchrun, they share the videos; the numbers are those of one process.

    Args:
        run: the run folder.
        videos: labelled videos with a train and a test part (``val`` where nothing is called ``test``); by default the
            run's own. Videos without a label are left out.
        protocol: ``retrieval`` (paper section 4.3).
        lists: the data set's split lists, for ``videos``. The run's own keep the parts that it was trained with.
        split: which split of them.
        beside: other finished runs on the same videos, for more rows of the table.

    Returns:
        ``{"retrieval": {row: {"R@1": percent, …}}, "degree": {…}}``.

    Raises:
        UserError: the run is not finished or in use, the videos have no labels or no test part, or ``lists`` came
            without ``videos``.
    """
    join()
    main = Run(run)
    if main.finished is None:
        raise UserError(f"{main.path} is not finished; continue it: cacl pretrain --resume {main.path}")
    others = _distinct_names(main, [Run(other) for other in beside])
    command = f"cacl evaluate {main.path}" if videos is None else f"cacl evaluate {main.path} {videos}"
    with RunFolder(main.path, owner=is_first()):
        return run_retrieval(main, _labelled(main, videos, lists, split), beside=others, command=command)


def _labelled(main: Run, videos: str | Path | None, lists: str | Path | None, split: int) -> Dataset:
    """The videos to evaluate on."""
    settings, folder = main.settings, RunFolder.open(main.path)
    if videos is None:
        if lists is not None or split not in (1, folder.data["split"]):
            raise UserError(
                f"The videos of {main.path} keep the lists and the split that it was trained with: leave out --lists "
                f"and --split, or name the videos too (cacl evaluate {main.path} VIDEOS --lists {lists or 'DIR'})."
            )
        return open_run_data(folder)
    height, width = settings.data.resize
    return open_dataset(
        Path(videos), height=height, width=width, lists=None if lists is None else Path(lists), split=split
    )


def _distinct_names(main: Run, others: Sequence[Run]) -> dict[str, Run]:
    """Row names of other runs: of two with the same method each has its folder's name too."""
    taken = Counter(run.method for run in [main, *others])
    names = [run.method if taken[run.method] == 1 else f"{run.method} ({run.path.name})" for run in others]
    again = Counter(names)
    pairs = zip(names, others, strict=True)
    return {name if again[name] == 1 else f"{run.method} ({run.path})": run for name, run in pairs}


def load(path: str | Path) -> Encoder:
    """The encoder of a run folder or an encoder folder, in evaluation mode: ``cacl.load("runs/gulls")(clips)``."""
    return Encoder.load(path).eval()
