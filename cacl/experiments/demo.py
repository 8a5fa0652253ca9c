"""``cacl demo``: generated videos, the default method with V-MoCo beside it, retrieval, a page, and an index.

The seed makes the videos, too, so that another seed is another data set. What is finished is never made again: a demo
that was stopped goes on when it is asked for once more.
"""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

from cacl.data.synthetic.generate import make_videos
from cacl.errors import UserError
from cacl.evaluation.results import merge_seeds, write_results
from cacl.experiments.evaluate import evaluate
from cacl.experiments.plan_folder import check_plan, trained_run, write_plan
from cacl.indexing.build import index
from cacl.models.image.sources import import_image_encoder
from cacl.presets import DEMO, DEMO_BESIDE, DEMO_QUICK
from cacl.reports.page import RunPage
from cacl.reports.write import write_page
from cacl.run import Run
from cacl.run_folder import RunFolder
from cacl.training.pretrain import pretrain
from cacl.training.resolve import resolve_settings

INDEX = "videos.index"


def demo(out: str | Path, *, first_seed: int = 0, seeds: int = 1, quick: bool = False) -> dict[str, Any]:
    """Run the demo; ``report.html``, ``results.json`` and ``videos.index`` go into ``out``.

    Args:
        out: a folder, new or empty, or one in which the same demo was begun.
        first_seed: of everything random, the videos included.
        seeds: so many demos, ``first_seed`` and on; the results are their mean and standard deviation.
        quick: 30 small videos and five steps: everything runs and is written, and the numbers say nothing.

    Returns:
        ``{"retrieval": {row: {"R@1": percent, …}}, task: …}``, for several seeds with ``"standard deviation"``.

    Raises:
        UserError: ``out`` holds something else, or a seed is below 0.
        Stopped: SIGTERM or Ctrl-C while it trained; the same call goes on.
    """
    out = Path(out)
    if seeds < 1:
        raise UserError(f"--seeds is {seeds}; it must be 1 or more.")
    resolve_settings(flags={**DEMO, "run.seed": first_seed})  # refused before videos are made
    settings = [DEMO_QUICK, {}] if quick else [DEMO, DEMO_BESIDE]
    plan = {"verb": "demo", "seed": first_seed, "seeds": seeds, "quick": quick, "settings": settings}
    check_plan(out, plan)
    _make_folder(out)
    with RunFolder(out) as folder:
        write_plan(folder, plan)
        return _all(out, first_seed, seeds, quick=quick)


def _all(out: Path, first_seed: int, seeds: int, *, quick: bool) -> dict[str, Any]:
    each = {}
    for seed in range(first_seed, first_seed + seeds):
        folder = out if seeds == 1 else out / f"seed-{seed}"
        each[str(seed)] = _one(folder, seed, quick=quick)
    if seeds == 1:
        return each[str(first_seed)]
    merged = merge_seeds(each)
    write_results(out / "results.json", merged)
    page = RunPage(
        f"cacl demo, {seeds} seeds",
        merged,
        lead="Generated videos, mean and standard deviation over seeds; each seed makes its own videos.",
        command=f"cacl demo --seed {first_seed} --seeds {seeds}{' --quick' if quick else ''}",
    )
    write_page(out / "report.html", [page])
    return merged


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror or error}); choose another --out.") from error


def _one(folder: Path, seed: int, *, quick: bool) -> dict[str, Any]:
    _make_folder(folder)
    ours, beside = (DEMO_QUICK, {}) if quick else (DEMO, DEMO_BESIDE)
    videos = _videos(folder, seed, quick=quick)
    settings = {**ours, "run.seed": seed, "data.store": str((folder / "store").resolve())}
    begin = partial(pretrain, videos, out=folder / "own", settings=settings)
    own = trained_run(folder / "own", begin, say=_say)
    begin = partial(pretrain, videos, out=folder / "v-moco", method="v-moco", settings={**settings, **beside})
    v_moco = trained_run(folder / "v-moco", begin, say=_say)
    results = evaluate(own.path, beside=[v_moco.path, *_frozen(folder / "image")])
    _publish(own, folder)
    _say("Demo: making an index of the videos …")
    index(videos, model=own.path, out=folder / INDEX)
    return results


def _videos(folder: Path, seed: int, *, quick: bool) -> Path:
    videos, new = folder / "videos", folder / "videos.new"
    if videos.exists():
        return videos
    _say(f"Demo, seed {seed}: making videos …")
    shutil.rmtree(new, ignore_errors=True)
    fewer: dict[str, Any] = {"videos_per_class": (2, 1), "size": (48, 64)} if quick else {}
    return make_videos(new, seed=seed, **fewer).rename(videos)  # whole or not there


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _frozen(folder: Path) -> list[Path]:
    """A frozen image encoder, where its package is installed: the extra ``image`` is not needed."""
    try:
        encoder = import_image_encoder("efficientnet-lite0")
    except UserError:
        return []
    encoder.save(folder, imported_from=encoder.origin.source)
    return [folder]


def _publish(run: Run, folder: Path) -> None:
    """The run's report and numbers, where the demo's user looks first."""
    for name in ("report.html", "results.json", "neighbours.png", "curves.png"):
        if (run.path / name).exists():
            (folder / name).write_bytes((run.path / name).read_bytes())
