"""The verbs that recognise classes: finetune, classify."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cacl.cli.app import LISTS, Moved, Sets, app, disk_or_store, given, holds_something, say_replaced, say_used, there
from cacl.cli.classes import classify_index, is_index, learn_classes
from cacl.data.remote.place import place
from cacl.distributed import launch as several
from cacl.errors import UserError, did_you_mean, quoted
from cacl.files import check_there
from cacl.run_folder import check_free

_NOT_WITH_RESUME = ("labelled", "model", "lists", "splits", "preset", "linear", "beside", "labels_per_class", "draws",
                    "epochs", "seed", "config", "sets", "out")  # fmt: skip


@app.command()
def finetune(
    context: typer.Context,
    labelled: Annotated[
        Path | None,
        typer.Argument(
            help="Labelled videos with a training and a test part: a folder, or a store. Or an index.",
            metavar="LABELLED",
            parser=place,
            callback=disk_or_store,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A run, an encoder folder, RUN/initial (before it learnt), or untrained.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder, new or empty, by default runs/NAME-finetuned.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Continue this run; everything comes from its folder.", callback=there)
    ] = None,
    moved: Moved = None,
    lists: Annotated[Path | None, typer.Option(help=f"{LISTS}.", callback=there)] = None,
    splits: Annotated[
        str, typer.Option(help="Which splits of the lists, for example 1,2,3; the result is the mean.")
    ] = "1",
    preset: Annotated[str, typer.Option(help="small, paper or released.")] = "small",
    beside: Annotated[
        Path | None,
        typer.Option(help="A frozen or fused encoder for more rows, by default the fused one of RUN.", callback=there),
    ] = None,
    linear: Annotated[
        bool, typer.Option("--linear", help="Only the linear probe on frozen features: a minute; of an index, seconds.")
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(help="Of an index: the table of labels (default: labels.csv beside it).", callback=there),
    ] = None,
    labels_per_class: Annotated[
        str, typer.Option(help="Training videos of each class, for example 1,2,5,10,all.")
    ] = "all",
    draws: Annotated[int, typer.Option(help="Random choices of each number of labels.")] = 5,
    epochs: Annotated[int | None, typer.Option(help="Passes over the videos.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    processes: Annotated[int | None, typer.Option(help="Processes that share a batch.")] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file of settings.")] = None,
    sets: Sets = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Fine-tune an encoder on labelled videos and test it, with linear probe and k-NN beside it.

    Examples: cacl finetune ucf/ --lists ucf/splits --splits 1,2,3 --model runs/gulls --out runs/ucf

    cacl finetune mine/ --model runs/gulls --linear --labels-per-class 1,2,5,10,all --out runs/few

    cacl finetune mine.index --labels labels.csv --linear

    cacl finetune --resume runs/ucf
    """
    if learn_classes(context, labelled, labels=labels, out=out, as_json=as_json):
        return
    from cacl.finetune_settings import resolve_finetune

    name = f"{labelled.resolve().name if labelled else 'run'}-{'linear' if linear else 'finetuned'}"
    run = resume or out or Path("runs") / name
    if resume is not None:
        _check_resume(context, resume)
    elif (run / "config.yaml").exists() and several.restarted(run):
        resume = run  # what is given beside it is in the run already
    if resume is None and moved is not None:
        raise UserError("--videos is for a run that goes on (--resume RUN); name the videos without it.")
    if resume is None:  # before the seconds that PyTorch takes
        _check_new(labelled, model, run)
        resolve_finetune(preset=preset, config=config, assignments=tuple(sets or ()))
    if (count := several.check_count(processes)) > 1:
        raise typer.Exit(several.run_processes(count, run=run, verb="finetune"))

    from cacl.experiments.recognition import finetune as recognition
    from cacl.training.stop import Stopped

    try:
        with several.one_of_them(go_on=f"cacl finetune --resume {quoted(run)}"):
            if resume is not None:
                results = recognition.resume_finetune(resume, videos=moved)
            else:
                assert labelled is not None
                assert model is not None
                results = recognition.finetune(
                    labelled,
                    model=model,
                    out=run,
                    preset=preset,
                    lists=lists,
                    splits=_numbers("--splits", splits),
                    linear=linear,
                    beside=beside,
                    labels_per_class=[
                        None if n == "all" else n
                        for n in _numbers("--labels-per-class", labels_per_class, all_too=True)
                    ],
                    draws=draws,
                    epochs=epochs,
                    seed=seed,
                    config=config,
                    assignments=tuple(sets or ()),
                )
    except Stopped as stopped:
        command = f"cacl finetune --resume {quoted(stopped.run)}{several.as_many()}"
        print(f"Stopped, everything is saved. Go on: {command}", file=sys.stderr)
        raise typer.Exit(stopped.code) from None
    if not several.is_first():
        return
    for catalog in sorted((run / "videos").glob("split-*.csv")):
        say_used(catalog)
    if as_json:
        print(json.dumps(results, indent=2))
    else:
        show_recognition(results)
        print(run)


@app.command()
def classify(
    run: Annotated[
        Path, typer.Argument(help="A fine-tuned run, or a classifier folder. Or an index with classes.", callback=there)
    ],
    videos: Annotated[
        Path | None,
        typer.Argument(
            help="A folder of videos (any tree), a list file, videos.csv, a store, or an index.",
            metavar="VIDEOS",
            parser=place,
            callback=disk_or_store,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A table, .csv, .json, .parquet or .arrow; else CSV on stdout.")
    ] = None,
    top: Annotated[int, typer.Option(help="Classes a video, or a stretch of an index.")] = 5,
) -> None:
    """Tell what each video shows: a table of classes with probabilities. Videos that cannot be read are listed.

    Of an index, tell what each stretch is by classes that were learnt from its labels.

    Examples: cacl classify runs/ucf videos/ --out table.csv

    cacl classify mine.index --out table.csv
    """
    if videos is None and not is_index(run):
        raise UserError(f"{run} is no index: name the videos to classify, cacl classify RUN VIDEOS.")
    if videos is not None and is_index(run) and not is_index(videos):
        raise UserError(
            f"{run} is an index, whose classes tell its own stretches (cacl classify {quoted(run)}): videos are told "
            "by a fine-tuned run, or once they are indexed."
        )
    if videos is None or is_index(videos):
        from cacl.exploring.labels import classes_of

        index = run if videos is None else videos
        return classify_index(classes_of(index) if videos is None else run, index, out=out, top=top)
    from cacl.experiments.recognition.classify import classify as run_classify
    from cacl.training.progress import VideoProgress

    there_before = out is not None and holds_something(out)
    with VideoProgress() as progress:
        found = run_classify(run, videos, out=out, top=top, progress=progress)
    for skipped in found.skipped:
        print(f"skipped  {skipped.path}: {skipped.reason}", file=sys.stderr)
    end = f": see the end of {'the table' if out is None else out}" if found.skipped else ""
    print(f"{len(found.predicted)} used, {len(found.skipped)} skipped{end}.", file=sys.stderr)
    if found.note:
        print(found.note, file=sys.stderr)
    if out is not None:
        say_replaced(out, there_before)
    print(found.to_csv() if out is None else out, end="" if out is None else "\n")


def show_recognition(results: dict[str, Any]) -> None:
    """The table of a recognition run on stdout: a row a number of labels, a column a way of predicting."""
    console = Console(width=None if sys.stdout.isatty() else 110)
    means, spread = results["recognition"], results.get("standard deviation", {})
    names, several = list(means), "chance" not in results  # of several labels a video
    keys = [*(["mAP"] if several else []), "top-1", *(["top-5"] if len(results["classes"]) > 5 else [])]
    table = Table("labels a class, %", *[f"{n} {k}" for n in names for k in keys])
    for labels in means[names[0]]:
        cells = []
        for name in names:
            for key in keys:
                deviation = spread.get(name, {}).get(labels)
                text = f"{means[name][labels][key]:.1f}"
                cells.append(text + (f" ± {deviation[key]:.1f}" if deviation else ""))
        table.add_row(labels, *cells)
    console.print(table)
    chance = "" if several else f"Chance: {results['chance']:.1f} %. "
    print(f"{chance}{len(results['classes'])} classes, mean over splits and draws ± deviation.")
    for note in results["notes"]:
        print(f"Note: {note}")


def _numbers(flag: str, text: str, *, all_too: bool = False) -> list[Any]:
    """``1,2,all`` as a list."""
    parts = [part.strip() for part in text.split(",")]
    if not all((part.isascii() and part.isdigit()) or (all_too and part == "all") for part in parts):
        more = " or all" if all_too else ""
        raise UserError(f"{flag} is {text}; it must be numbers{more}, separated by commas.")
    return [part if part == "all" else int(part) for part in parts]


def _check_new(labelled: Path | None, model: str | None, out: Path) -> None:
    """Raise UserError where a new run cannot begin."""
    if labelled is None or model is None:
        raise UserError(
            "Name labelled videos and an encoder (cacl finetune LABELLED --model RUN), or a run to continue "
            "(--resume RUN)."
        )
    if model != "untrained":
        if not Path(model).exists() and (hint := did_you_mean(model, ["untrained"], cutoff=0.7)):
            raise UserError(f"{model} does not exist.{hint}")
        check_there(Path(model))
    if not several.started_by_another():
        check_free(out)


def _check_resume(context: typer.Context, run: Path) -> None:
    """Raise UserError for what is given beside --resume and would not be heeded."""
    if wrong := given(context, _NOT_WITH_RESUME):
        raise UserError(f"--resume takes everything from the run folder {run}; leave out {', '.join(wrong)}.")
