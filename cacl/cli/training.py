"""The verb that learns: pretrain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cacl.cli.app import LISTS, Blank, Moved, Sets, Split, app, boxes, disk_or_store, given, there
from cacl.data.remote.place import place
from cacl.distributed import launch as several
from cacl.errors import UserError, quoted
from cacl.run_folder import check_free

_NOT_WITH_RESUME = ("videos", "out", "preset", "method", "lists", "split", "with_frozen", "config")


@app.command()
def pretrain(
    context: typer.Context,
    videos: Annotated[
        Path | None,
        typer.Argument(
            help="A folder of videos, a list file, videos.csv, or a store (or its address, s3://….store).",
            metavar="VIDEOS",
            parser=place,
            callback=disk_or_store,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder, new or empty, by default runs/NAME.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Continue this run; everything comes from its folder.", callback=there)
    ] = None,
    preset: Annotated[str, typer.Option(help="small, paper, released, published.")] = "small",
    method: Annotated[str | None, typer.Option(help="By default the preset's; docs/methods.md has all.")] = None,
    lists: Annotated[Path | None, typer.Option(help=f"{LISTS}; trains on the train list.", callback=there)] = None,
    split: Split = 1,
    moved: Moved = None,
    blank: Blank = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the videos.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Clips a step.")] = None,
    network: Annotated[str | None, typer.Option(help="c3d, r3d10, r3d18, r3d34, r2plus1d10, r2plus1d18, …")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    processes: Annotated[int | None, typer.Option(help="Processes that share a batch.")] = None,
    gpus: Annotated[int | None, typer.Option(help="The same, each with a GPU.")] = None,
    with_frozen: Annotated[
        Path | None,
        typer.Option(help="A frozen image encoder; ends with both fused and a verdict.", callback=there),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file of settings.")] = None,
    sets: Sets = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Tell where the time of a step goes; trace in RUN/profile/.")
    ] = False,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print all settings and stop.")] = False,
) -> None:
    """Learn an encoder from a folder of videos.

    Examples: cacl pretrain videos/ --out runs/gulls

    cacl pretrain --resume runs/gulls
    """
    from cacl.training.resolve import resolve_settings, resume_settings

    out = out or Path("runs") / ((videos.resolve().name if videos else "") or "run")
    if resume is None and (out / "config.yaml").exists() and several.restarted(out):
        resume = out  # what is given beside it is in the run already
    elif resume is not None:
        _check_resume(context, resume)
    flags: dict[str, Any] = {
        "run.device": None if gpus is None or resume is not None else "cuda",
        "optim.epochs": epochs,
        "optim.batch_size": batch_size,
        "model.network": network,
        "run.seed": seed,
        "data.blank": [list(box) for box in boxes(blank)] or None,
    }
    flags = {key: value for key, value in flags.items() if value is not None}
    assignments = tuple(sets or ())
    resolved = (  # before the seconds that PyTorch takes
        resolve_settings(preset=preset, method=method, config=config, assignments=assignments, flags=flags)
        if resume is None
        else resume_settings(resume, settings=flags, assignments=assignments)
    )
    if print_config:
        print(resolved.to_yaml(), end="")
        return
    if resume is None and moved is not None:
        raise UserError("--videos is for a run that goes on (--resume RUN); name the videos without it.")
    if resume is None and videos is None:
        raise UserError("Name a folder of videos (cacl pretrain VIDEOS), or a run to continue (--resume RUN).")
    if resume is None and not several.started_by_another():
        check_free(out)
    if (count := several.check_count(processes, gpus)) > 1:
        raise typer.Exit(several.run_processes(count, run=resume or out))

    from cacl.training import pretrain as training

    with several.one_of_them(go_on=f"cacl pretrain --resume {quoted(resume or out)}"):
        if resume is not None:
            run = training.resume(resume, videos=moved, settings=flags, assignments=assignments, profile=profile)
        else:
            assert videos is not None
            run = training.pretrain(
                videos,
                out=out,
                preset=preset,
                method=method,
                lists=lists,
                split=split,
                config=config,
                settings=flags,
                assignments=assignments,
                with_frozen=with_frozen,
                profile=profile,
            )
    if several.is_first():
        print(run.path)


def _check_resume(context: typer.Context, run: Path) -> None:
    """Raise UserError for what is given beside --resume and would not be heeded."""
    if wrong := given(context, _NOT_WITH_RESUME):
        raise UserError(f"--resume takes everything from the run folder {run}; leave out {', '.join(wrong)}.")
