"""The command line: parse, call, print. Results go to stdout, progress and notes to stderr; UserError exits with 2."""

from __future__ import annotations

import io
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.table import Table

from cacl.errors import UserError, did_you_mean

# Some versions of typer use click, others carry a copy of it, whose errors are other classes.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

_NOT_WITH_RESUME = ("videos", "out", "preset", "method", "lists", "split", "config")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Learn from unlabelled video: self-supervised video representations after CACL (CVPR 2022).",
)

Videos = Annotated[Path, typer.Argument(help="A folder of videos (any tree), a list file, videos.csv, or a store.")]
_LISTS = "Folder with the data set's split lists, or one list file"
Lists = Annotated[Path | None, typer.Option(help=f"{_LISTS}; files that they do not name are left out.")]
Split = Annotated[int, typer.Option(help="Which split of the lists.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", help="Any setting: --set method.temperature=0.1 (repeatable).")
]


def _version(asked: bool) -> None:
    if asked:
        from cacl import __version__

        print(f"cacl {__version__}")
        raise typer.Exit


@app.callback()
def _cacl(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Only for what is asked of no verb; the help is the app's."""


@app.command()
def check(
    videos: Videos,
    lists: Lists = None,
    split: Split = 1,
    deep: Annotated[bool, typer.Option("--deep", help="Decode every video to its end.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the list of all files here.")] = None,
) -> None:
    """Read every header and say which videos are usable, and why the others are not. Trains nothing.

    Example: cacl check videos/ --deep
    """
    from cacl.data.advice import suggestions
    from cacl.data.catalog import scan
    from cacl.data.store import FrameStore, is_store
    from cacl.training.progress import VideoProgress

    if is_store(videos):
        catalog = FrameStore(videos).catalog
    else:
        with VideoProgress() as progress:
            catalog = scan(videos, lists=lists, split=split, deep=deep, progress=progress.of("files looked at"))
    for skipped in catalog.skipped:
        print(f"skipped  {skipped.path}: {skipped.reason}")
    for video in catalog.videos:
        if video.note:
            print(f"note     {video.path}: {video.note}")
    frames = sum(video.frames for video in catalog.videos)
    print(f"{catalog.summary()}; {frames} frames, {len(catalog.labels)} labels.")
    if csv is not None:
        catalog.write_csv(csv)
    if advice := suggestions(catalog):
        print(advice)


@app.command()
def prepare(
    videos: Videos,
    out: Annotated[Path, typer.Option(help="The store to make.")],
    lists: Lists = None,
    split: Split = 1,
    preset: Annotated[str, typer.Option(help="Takes the frame size of this preset.")] = "small",
    size: Annotated[tuple[int, int] | None, typer.Option(help="Height and width in pixels instead.")] = None,
    kind: Annotated[str, typer.Option(help="jpeg (quality 90) or raw.")] = "jpeg",
    workers: Annotated[int, typer.Option(help="Processes that decode.")] = 2,
) -> None:
    """Decode all frames once into a store that trains fast, and where no video decoder is installed. Resumable.

    Example: cacl prepare videos/ --out videos.store
    """
    from cacl.data.catalog import scan
    from cacl.data.store import build_store, is_store
    from cacl.training.pretrain import resolve_settings
    from cacl.training.progress import VideoProgress

    if kind not in ("jpeg", "raw"):
        raise UserError(f"--kind is {kind}; it can be jpeg or raw.{did_you_mean(kind, ['jpeg', 'raw'])}")
    height, width = size or resolve_settings(preset=preset).settings.data.resize
    if is_store(videos):
        raise UserError(f"{videos} is a store already; name the folder of videos that it was made of.")
    if min(height, width) < 1:
        raise UserError(f"--size is {height} {width}; height and width are 1 pixel or more.")
    with VideoProgress() as progress:
        catalog = scan(videos, lists=lists, split=split, progress=progress.of("files looked at"))
        store = build_store(
            catalog,
            out,
            height=height,
            width=width,
            kind=kind,  # type: ignore[arg-type]
            workers=workers,
            progress=progress.of("videos decoded"),
        )
    print(f"{store.catalog.summary()}. {out} holds frames of {height}x{width}; train on it: cacl pretrain {out}")


@app.command()
def pretrain(
    context: typer.Context,
    videos: Annotated[
        Path | None, typer.Argument(help="A folder of videos, a list file, videos.csv, or a store.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder, new or empty.  [default: runs/NAME]")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue this run; everything comes from its folder.")] = None,
    preset: Annotated[str, typer.Option(help="small, paper or released.")] = "small",
    method: Annotated[
        str | None, typer.Option(help="cacl, sdp, sdp*, v-moco, sdp+v-moco, v-moco+t, pairs2, pairs3.")
    ] = None,
    lists: Annotated[Path | None, typer.Option(help=f"{_LISTS}; trains on the train list.")] = None,
    split: Split = 1,
    epochs: Annotated[int | None, typer.Option(help="Passes over the videos.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Clips a step.")] = None,
    network: Annotated[str | None, typer.Option(help="c3d, r3d10, r3d18, r3d34, r2plus1d10, r2plus1d18.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file of settings.")] = None,
    sets: Sets = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print all settings and stop.")] = False,
) -> None:
    """Learn an encoder from a folder of videos.

    Examples: cacl pretrain videos/ --out runs/gulls

    cacl pretrain --resume runs/gulls
    """
    from cacl.training import pretrain as training

    flags: dict[str, Any] = {
        "optim.epochs": epochs,
        "optim.batch_size": batch_size,
        "model.network": network,
        "run.seed": seed,
    }
    flags = {key: value for key, value in flags.items() if value is not None}
    assignments = tuple(sets or ())
    if resume is not None:
        _check_resume(context, resume)
    if print_config:
        resolved = (
            training.resolve_settings(preset=preset, method=method, config=config, assignments=assignments, flags=flags)
            if resume is None
            else training.resume_settings(resume, settings=flags, assignments=assignments)
        )
        print(resolved.to_yaml(), end="")
        return
    if resume is not None:
        run = training.resume(resume, settings=flags, assignments=assignments)
    elif videos is None:
        raise UserError("Name a folder of videos (cacl pretrain VIDEOS), or a run to continue (--resume RUN).")
    else:
        run = training.pretrain(
            videos,
            out=out or Path("runs") / (videos.resolve().name or "run"),
            preset=preset,
            method=method,
            lists=lists,
            split=split,
            config=config,
            settings=flags,
            assignments=assignments,
        )
    print(run.path)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    videos: Annotated[
        Path | None, typer.Argument(help="Labelled videos with a train and a test part.  [default: the run's own]")
    ] = None,
    protocol: Annotated[str, typer.Option(help="retrieval.")] = "retrieval",
    lists: Annotated[Path | None, typer.Option(help=f"{_LISTS}, for VIDEOS.")] = None,
    split: Split = 1,
    beside: Annotated[list[Path] | None, typer.Option(help="Another run for the same table (repeatable).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Evaluate a run as the paper does, beside chance, two baselines and the untrained network.

    Example: cacl evaluate runs/ucf --protocol retrieval
    """
    from cacl.experiments.evaluate import evaluate as run_evaluation

    if protocol != "retrieval":
        raise UserError(f"--protocol is {protocol}; it can be retrieval.")
    results = run_evaluation(run, videos, protocol="retrieval", lists=lists, split=split, beside=beside or [])
    if as_json:
        print(json.dumps(results, indent=2))
        return
    show_results(results)
    print(f"Report: {run / 'report.html'}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where everything goes, new or empty.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Makes the videos, too.")] = 0,
    seeds: Annotated[int, typer.Option(help="So many demos, seed after seed, with mean and standard deviation.")] = 1,
) -> None:
    """Generate videos, learn from them, see that it worked: everything in some minutes, nothing to download.

    Example: cacl demo --out runs/demo
    """
    from cacl.experiments.demo import demo as run_demo

    show_results(run_demo(out, first_seed=seed, seeds=seeds))
    print(f"Report: {out / 'report.html'}")


def show_results(results: dict[str, Any]) -> None:
    """The tables of an evaluation on stdout."""
    console = Console(width=None if sys.stdout.isatty() else 110)
    spread = results.get("standard deviation", {})
    recalls = results["retrieval"]
    table = Table("retrieval, %", *next(iter(recalls.values())))
    for name, row in recalls.items():
        deviation = spread.get("retrieval", {}).get(name, {})
        table.add_row(
            name, *(f"{v:.1f}" + (f" ± {deviation[k]:.1f}" if k in deviation else "") for k, v in row.items())
        )
    console.print(table)
    if "degree" in results:
        degree = results["degree"]
        print(
            f"Shuffle degree on {degree.get('tested on', 'unseen videos')}: {degree['accuracy']:.1f} % right "
            f"(chance {degree['chance']:.1f} %, frame differences {degree['frame-difference baseline']:.1f} %)"
        )


def _check_resume(context: typer.Context, run: Path) -> None:
    """Raise UserError for what is given beside --resume and would not be heeded."""
    sources = {name: context.get_parameter_source(name) for name in _NOT_WITH_RESUME}
    wrong = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if wrong:
        names = ", ".join("VIDEOS" if name == "videos" else f"--{name}" for name in wrong)
        raise UserError(f"--resume takes everything from the run folder {run}; leave out {names}.")


def main() -> None:
    """Entry point: UserError is a sentence and status 2; a stop asked for is saved and says how to go on."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    command = typer.main.get_command(app)
    try:
        status = command(prog_name="cacl", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except _UsageError as error:
        _show_usage_error(cast(typer.BadParameter, error), list(getattr(command, "commands", [])))
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        from cacl.training.stop import Stopped

        if not isinstance(error, Stopped):
            raise
        command_line = f"cacl pretrain --resume {shlex.quote(str(error.run or 'RUN'))}"
        print(f"Stopped, everything is saved. Go on: {command_line}", file=sys.stderr)
        sys.exit(error.code)


def _show_usage_error(error: typer.BadParameter, verbs: list[str]) -> None:
    """What is wrong with the command line, with the nearest right word and where to read on."""
    message = error.format_message().strip()
    if not message or "\n" in message:  # no word at all was given: this is the help
        print(message, end="\n" * bool(message), file=sys.stderr)
        return
    verb = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    hint = "" if verb in verbs or "Did you mean" in message else did_you_mean(verb, verbs)
    path = "cacl" if error.ctx is None else error.ctx.command_path
    message = message.rstrip(".")
    stop = "" if message.endswith(("?", "!")) else "."
    print(f"{message}{stop}{hint} See: {path} --help", file=sys.stderr)


if __name__ == "__main__":
    main()
