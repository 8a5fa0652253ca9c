"""The Typer app and the options that several verbs share."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from cacl.data.remote.place import RemotePath, names_store, place
from cacl.data.remote.servers import SCHEMES, is_url
from cacl.errors import UserError, printable
from cacl.files import check_there

_ADDRESS = re.compile(rf"({'|'.join(SCHEMES)}):/[^/]")  # as a path has it


def disk_or_store(path: Path | None) -> Path | None:
    """What is there on a disk, or a store at an address. Raises UserError: another address, or nothing is there."""
    if not isinstance(path, RemotePath):
        return there(path)  # type: ignore[no-any-return]
    from cacl.data.videos import dataset

    return dataset.videos_at(path)


def there(value: Any) -> Any:
    """The path or paths of an option, if there is something: said before anything large is imported."""
    for path in value if isinstance(value, list) else [value]:
        if path is not None and not _is_remote_store(path):
            if _ADDRESS.match(str(path)) and not path.exists():
                address = str(path).replace(":/", "://", 1)
                raise UserError(f"{address} is an address: name a file or folder of this machine.")
            check_there(Path(path) if isinstance(path, str) else path)
    return value


def _is_remote_store(path: Any) -> bool:
    if not names_store(path):
        return False
    from cacl.data.videos.sources import is_store

    return is_store(path)


def on_disk(text: str) -> Path:
    """Where something is written. Raises UserError: an address, for nothing is written there."""
    if is_url(text):
        raise UserError(f"{text} is an address: name a file or folder of this machine.")
    return Path(text)


app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Learn from unlabelled video: self-supervised video representations after CACL (CVPR 2022).",
)

Videos = Annotated[
    Path,
    typer.Argument(
        help="A folder of videos (any tree), a list file, videos.csv, or a store (or its address, s3://….store).",
        metavar="VIDEOS",
        parser=place,
        callback=disk_or_store,
    ),
]
AnyVideos = Annotated[
    Path,
    typer.Argument(
        help="A folder of videos (any tree), a list file, videos.csv, a store, or s3://…, gs://…, https://….",
        metavar="VIDEOS",
        parser=place,
        callback=there,
    ),
]
LISTS = "The data set's split lists"
Lists = Annotated[Path | None, typer.Option(help=f"{LISTS}; files that they do not name are left out.", callback=there)]
Moved = Annotated[
    Path | None,
    typer.Option(
        "--videos",
        help="The folder that the run's videos were moved to.",
        metavar="PATH",
        parser=place,
        callback=disk_or_store,
    ),
]
Split = Annotated[int, typer.Option(help="Which split of the lists.", min=1)]
Blank = Annotated[list[str] | None, typer.Option(help="X,Y,WIDTH,HEIGHT (pixels): a box that is black (repeatable).")]
EngineName = Annotated[str, typer.Option("--engine", help="here, or ray: by the tasks of a Ray cluster.")]
ClusterAddress = Annotated[
    str | None, typer.Option("--address", help="Of the Ray cluster (default: one is started on this machine).")
]
PictureRate = Annotated[float, typer.Option("--rate", help="Frames a second of pictures in folders.", min=0)]
Sets = Annotated[list[str] | None, typer.Option("--set", help="Any setting: --set optim.lr=1e-3 (repeatable).")]


def boxes(texts: list[str] | None) -> tuple[tuple[int, int, int, int], ...]:
    """The boxes of ``--blank``. Raises UserError."""
    from cacl.data.media.cut import box_of

    found = [(text, box_of(text)) for text in texts or ()]
    if wrong := [text for text, box in found if box is None]:
        raise UserError(
            f"--blank is {wrong[0]}; it must be four whole numbers of pixels with commas between: x and y of the upper "
            "left corner, width and height, for example 0,0,320,24."
        )
    return tuple(box for _, box in found if box is not None)


def holds_something(path: Path) -> bool:
    """Whether there is a file or folder at ``path`` that is not empty."""
    return path.exists() and (any(path.iterdir()) if path.is_dir() else path.stat().st_size > 0)


def given(context: typer.Context, names: Collection[str]) -> list[str]:
    """Of some parameters those that were typed, as they are typed: ``--set``, ``VIDEOS``."""
    found = []
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            found.append(parameter.opts[0] if parameter.opts[0].startswith("-") else str(parameter.metavar))
    return found


def say_used(catalog: Path) -> None:
    """How many files were used and skipped, and where the list of them is."""
    from cacl.data.videos.catalog import Catalog

    if catalog.is_file():
        summary = Catalog.read_csv(catalog, root=".").summary()
        print(printable(f"{summary}: see {catalog}."), file=sys.stderr)


def say_replaced(path: Path, before: bool) -> None:
    """After something was written: whether an older one of the same command was there before."""
    if before:
        print(printable(f"{path} was there, and has been replaced."), file=sys.stderr)


def _version(wanted: bool) -> None:
    if wanted:
        from cacl import __version__

        print(f"cacl {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _cacl(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """The options of no verb, and what to do next where nothing else is given; the help is the app's."""
    if context.invoked_subcommand is None:
        from cacl.cli.next_step import next_steps

        print(next_steps(Path()))
