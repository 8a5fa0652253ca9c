"""``cacl finetune``: recognition (paper section 4.4, Table 5) over splits and numbers of labels, in one run folder.

Beside every fine-tuning stand the linear probe and k-NN on the same encoder, frozen. ``config.yaml`` has the settings,
``data.json`` the request, ``start/`` the encoder that every training begins with, ``videos/`` the splits as found,
``parts/`` one folder a training; ``results.json`` is written last.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cacl.data.media.colours import PixelRules
from cacl.data.videos.dataset import videos_at
from cacl.data.videos.resampled import as_files
from cacl.data.videos.store import is_store
from cacl.distributed.agree import check_processes, limit_threads
from cacl.distributed.processes import first_alone, is_first, join, wait_for_first
from cacl.errors import UserError, quoted
from cacl.evaluation.choice.fuse import FUSED
from cacl.evaluation.results import write_results
from cacl.experiments.recognition.cells import Cell, Study, run_cell
from cacl.experiments.recognition.labelled import LabelledSplit, near_copies_said
from cacl.experiments.recognition.videos import find_splits, load_beside, open_study
from cacl.experiments.trained_on import trained_on_notes
from cacl.files import write_whole
from cacl.finetune_settings import FineTune, load_finetune, resolve_finetune
from cacl.machine.auto import machine_choices, set_deterministic, set_tf32
from cacl.machine.device import choose_device, device_auto
from cacl.models.classifier import Classifier
from cacl.models.encoder import Encoder
from cacl.reports.figures import save_figure
from cacl.reports.heatmap import confusion_figure
from cacl.run_folder import RunFolder
from cacl.tensorboard import check_tensorboard
from cacl.training.finetune import finetune_auto_values
from cacl.training.resolve import resolve_settings
from cacl.training.stop import StopRequest
from cacl.training.videos import move_videos
from cacl.training.wiring import initial_network, run_encoder

UNTRAINED = "untrained"
ROWS = ("fine-tuned", "linear probe", "k-NN")


def finetune(
    labelled: str | Path,
    *,
    model: str | Path,
    out: str | Path,
    preset: str = "small",
    lists: str | Path | None = None,
    splits: Sequence[int] = (1,),
    linear: bool = False,
    beside: str | Path | None = None,
    labels_per_class: Sequence[int | None] = (None,),
    draws: int = 5,
    epochs: int | None = None,
    seed: int | None = None,
    config: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
) -> dict[str, Any]:
    """Fine-tune an encoder on labelled videos and predict the test videos' classes; or the linear probe alone.

    Args:
        labelled: videos with labels, a training and a test part (``val`` where nothing is called ``test``): class
            folders in ``train/`` and ``test/``, ``videos.csv``, a data set with its lists, or a store.
        model: a run, an encoder folder, a classifier (its head is made anew), or ``"untrained"``: the preset's network.
            ``RUN/initial`` is a run's own network before it learnt.
        out: the run folder, new or empty.
        preset: ``small``, ``paper`` or ``released``.
        lists: folder of the data set's split lists, or one list file.
        splits: which of them; the result is the mean.
        linear: the linear probe alone.
        beside: a frozen image encoder, or a fused one (a row of its own, and one of its frozen part); by default the
            fused one that ``model`` keeps, where it is a run with one.
        labels_per_class: how many training videos of each class; None: all. Several make the few-label curve.
        draws: random choices of each number of labels; all labels need one.
        epochs: ``optim.epochs``. This and the next win over ``settings``.
        seed: ``run.seed``.
        config: a YAML file of settings.
        settings: any dotted settings.
        assignments: the same as text.

    Returns:
        What ``results.json`` holds: percent under ``recognition``, by row and number of labels.

    Raises:
        UserError: something that the user can mend, in one sentence.
        Stopped: SIGTERM or Ctrl-C; ``resume_finetune`` continues.
    """
    join()
    words = {"optim.epochs": epochs, "run.seed": seed}
    flags = {**(settings or {}), **{key: value for key, value in words.items() if value is not None}}
    resolved = resolve_finetune(preset=preset, config=config, assignments=assignments, flags=flags)
    _check_request(splits, labels_per_class, draws)
    labelled = videos_at(labelled)
    if lists is not None and not Path(lists).exists():
        raise UserError(f"{lists}: there is no such folder of lists, or list file.")
    if is_store(labelled) and (lists is not None or tuple(splits) != (1,)):
        raise UserError(f"{labelled} is a store and has its parts already; leave out --lists and --splits.")
    check_tensorboard(resolved.settings.run.tensorboard)
    choose_device(resolved.settings.run.device)
    _check_processes(resolved.settings)
    start = _load_start(model, resolved.settings)
    if beside is None and (Path(model) / FUSED / "config.json").is_file():
        beside = Path(model) / FUSED
    if beside is not None:
        load_beside(beside)
    data = {
        "verb": "finetune",
        "videos": str(labelled.resolve()),
        "lists": None if lists is None else str(Path(lists).resolve()),
        "model": UNTRAINED if str(model) == UNTRAINED else str(Path(model).resolve()),
        "splits": list(splits),
        "labels per class": ["all" if n is None else n for n in labels_per_class],
        "draws": draws,
        "linear": linear,
        **({} if beside is None else {"beside": str(Path(beside).resolve())}),
    }
    run = RunFolder.create(Path(out), resolved, data) if is_first() else RunFolder(Path(out), owner=False)
    wait_for_first()
    return _run(run, start=start)


def resume_finetune(run: str | Path, *, videos: str | Path | None = None) -> dict[str, Any]:
    """Continue a fine-tuning where it stopped, bit-exactly; everything comes from its folder.

    Args:
        run: the run folder.
        videos: the folder (or store) that its videos are in now, where they were moved.

    Raises:
        UserError: no such run there.
    """
    join()
    path = RunFolder.open(Path(run), verb="finetune").path
    _check_processes(load_finetune(path).settings)
    folder = RunFolder(path, owner=is_first())
    if videos is not None and is_first():
        with folder:
            move_videos(folder, videos)
    return _run(folder, start=None)


def _check_processes(settings: FineTune) -> None:
    device = device_auto()[0] if settings.run.device == "auto" else settings.run.device
    sizes = {"optim.batch_size": (settings.optim.batch_size, settings.optim.accumulate)}
    check_processes(device=device, batch_sizes=sizes, compiled=settings.run.compile)


def _check_request(splits: Sequence[int], counts: Sequence[int | None], draws: int) -> None:
    if not splits or min(splits) < 1 or len(set(splits)) != len(splits):
        raise UserError(f"--splits are numbers from 1, each once (found {', '.join(map(str, splits)) or 'none'}).")
    if not counts or len(set(counts)) != len(counts) or any(n is not None and n < 1 for n in counts):
        raise UserError("--labels-per-class are numbers from 1 or 'all', each once, for example 1,2,5,10,all.")
    if draws < 1:
        raise UserError(f"--draws is {draws}; it must be 1 or more.")


def _load_start(model: str | Path, settings: FineTune) -> Encoder:
    """The encoder to begin with, with the layer that retrieval and the linear probe stand on."""
    if str(model) == UNTRAINED:
        pretraining = resolve_settings(preset=settings.preset, flags={"run.seed": settings.run.seed}).settings
        rules = PixelRules(colours=pretraining.data.colours)
        return run_encoder(pretraining, initial_network(pretraining), rules)
    path = Path(model)
    for folder in (path / "classifier", path):
        if (folder / "config.json").is_file() and not (path / "encoder").is_dir():
            try:
                kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("format")
            except (OSError, ValueError, AttributeError):
                continue  # Encoder.load says what is wrong
            if kind == "cacl classifier":
                own = Classifier.load(folder).encoder
                return Encoder(own.name, width=own.width, clip=replace(own.clip, layer="max"), network=own.network)
    return Encoder.load(path)


def _run(run: RunFolder, *, start: Encoder | None) -> dict[str, Any]:
    """From the run folder to its results; ``start`` is given when the run is new."""
    with run, StopRequest(run.path) as stop:
        if (run.path / "results.json").exists():
            run.log(f"{run.path} is finished already: see {run.path / 'results.json'}.")
            return _results(run)
        request, resolved = run.data, load_finetune(run.path)
        set_deterministic(resolved.settings.run.deterministic)
        choose_device(resolved.settings.run.device)
        try:
            if run.owner and not (run.path / "start" / "config.json").exists():
                found = start or _load_start(request["model"], resolved.settings)
                found.clip = replace(found.clip, window=resolved.settings.data.window)
                found.save(run.path / "start")
            encoder = first_alone(lambda: Encoder.load(run.path / "start"))
            splits, catalogs = first_alone(lambda: find_splits(run, stop))
        except UserError:
            if start is not None and run.owner:  # so that the same command can be given once more
                for made in ("start", "videos"):
                    shutil.rmtree(run.path / made, ignore_errors=True)
                run.discard()
            raise
        if run.owner:
            values = finetune_auto_values(resolved.settings, encoder, videos=len(splits[0].train))
            run.write("config.yaml", resolved.with_auto(values).to_yaml())
        wait_for_first()
        resolved = load_finetune(run.path)
        settings = resolved.settings
        torch.set_num_threads(limit_threads(int(settings.run.threads)))
        set_tf32(settings.run.tf32 is True)
        run.log(
            machine_choices(
                settings.run, workers=int(settings.data.workers), why_threads=resolved.origins.get("run.threads", "")
            )
        )
        study = open_study(run, splits, catalogs, encoder, resolved, stop)
        cells = _cells(request)
        by_split = {split.number: split for split in splits}
        results = [run_cell(study, by_split[cell.split], cell, keep=cell == _main(cells)) for cell in cells]
        if run.owner:
            _finish(run, study, splits, cells, results)
        wait_for_first()
        return _results(run)


def _results(run: RunFolder) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.path / "results.json").read_text())
    return found


def _cells(request: Mapping[str, Any]) -> list[Cell]:
    """The most labels first: what most people wait for, and the classifier that is kept."""
    counts = [None if n == "all" else int(n) for n in request["labels per class"]]
    counts.sort(key=lambda n: (n is not None, -(n or 0)))
    return [
        Cell(split, count, draw)
        for count in counts
        for split in request["splits"]
        for draw in range(1 if count is None else request["draws"])
    ]


def _main(cells: Sequence[Cell]) -> Cell:
    """The cell whose classifier the run keeps: most labels, first split, first draw."""
    return cells[0]


def _finish(
    run: RunFolder, study: Study, splits: Sequence[LabelledSplit], cells: Sequence[Cell], found: list[dict[str, Any]]
) -> None:
    """Write ``predictions.csv``, ``confusion.png`` and ``results.json``, and say what is doubtful."""
    request, main = run.data, _main(cells)
    together = [r for c, r in zip(cells, found, strict=True) if (c.count, c.draw) == (main.count, main.draw)]
    means, deviations = summarise(found)
    if not study.several:
        confusion_KK = np.sum([np.array(r["confusion"], np.int64) for r in together], axis=0)
        labels = "all labels" if main.count is None else f"{main.count} labels a class"
        title = f"{study.main}, {labels}: top-1 {means[study.main][main.labels]['top-1']:.1f} %"
        figure = confusion_figure(confusion_KK, study.classes, what="class", heading=title)
        save_figure(figure, run.path / "confusion.png")
    texts = [(run.path / "parts" / cell.name / "predictions.csv").read_text(encoding="utf-8") for cell in cells]
    rows = [line for text in texts for line in text.splitlines(keepends=True)[1:]]
    write_whole(run.path / "predictions.csv", texts[0].splitlines(keepends=True)[0] + "".join(rows))
    used = {v.path for split in splits for v in (*split.train, *split.test)}
    lost = [item for item in (*study.data.catalog.skipped, *study.features.skipped) if item.path in used]
    skipped = sorted({f"{item.path}: {item.reason}" for item in lost})
    notes = [f"Split {s.number}: {note}" if len(splits) > 1 else note for s in splits for note in s.notes]
    files = as_files(study.data)
    for s in splits:
        train, test = (list(study.targets(part)) for part in (s.train, s.test))
        notes += near_copies_said(files, train, test)
    if request["model"] != UNTRAINED:
        for s in splits:
            what = f"test videos of split {s.number}"
            notes += trained_on_notes(Path(request["model"]), s.test, study.data.catalog.root, what=what)
    if skipped:
        more = " …" if len(skipped) > 5 else "."
        notes.append(f"{len(skipped)} labelled videos could not be read: {'; '.join(skipped[:5])}{more}")
    results = {
        "recognition": means,
        **({"standard deviation": deviations} if deviations else {}),
        **({} if study.several else {"chance": 100 / len(study.classes)}),
        "per class": _mean_by_class([r["per class"] for r in together]),
        "classes": list(study.classes),
        "model": request["model"],
        "preset": study.settings.preset,
        "average": "logits" if study.linear else study.settings.test.average,  # the probe stands on the mean feature
        "notes": notes,
        "parts": [{k: v for k, v in r.items() if k != "confusion"} for r in found],
    }
    for note in notes:
        run.log(f"Note: {note}")
    write_results(run.path / "results.json", results)
    run.log(f"Results: {run.path / 'results.json'}. Classifier: {run.path / 'classifier'}")
    run.log(f"Use it: cacl classify {quoted(run.path)} VIDEOS")


def summarise(found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Mean over splits and draws, and the sample standard deviation (n - 1) where there are several.

    Returns:
        ``{"fine-tuned": {"all": {"top-1": …, "top-5": …, "mean class": …}, …}, …}`` twice; the second leaves out what
        was measured once.
    """
    means: dict[str, Any] = {}
    deviations: dict[str, Any] = {}
    labels = list(dict.fromkeys(result["labels"] for result in reversed(found)))
    names = [*ROWS, *(name for name in found[0]["recognition"] if name not in ROWS)]
    for name in (row for row in names if row in found[0]["recognition"]):
        for label in labels:
            each = [result["recognition"][name] for result in found if result["labels"] == label]
            columns = {key: [float(one[key]) for one in each] for key in each[0]}
            means.setdefault(name, {})[label] = {key: float(np.mean(v)) for key, v in columns.items()}
            if len(each) > 1:
                spread = {key: float(np.std(v, ddof=1)) for key, v in columns.items()}
                deviations.setdefault(name, {})[label] = spread
    return means, deviations


def _mean_by_class(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for one in each for name in one)
    return {name: float(np.mean([one[name] for one in each if name in one])) for name in names}
