"""The verb that puts an encoder on a model hub: push."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cacl.cli.app import app, there


@app.command()
def push(
    model: Annotated[Path, typer.Argument(help="A run, or an encoder folder.", callback=there)],
    repository: Annotated[str, typer.Argument(help="USER/NAME on the model hub; made when missing.")],
    licence: Annotated[str | None, typer.Option(help="For the model card, for example apache-2.0.")] = None,
    private: Annotated[bool, typer.Option("--private", help="A repository that is made is yours alone.")] = False,
) -> None:
    """Put an encoder on a model hub, with a model card of what was measured. No video goes with it.

    Example: cacl push runs/gulls mia/gulls --licence apache-2.0
    """
    from cacl.experiments.push import push as run_push

    pushed = run_push(model, repository, licence=licence, private=private)
    print(f"{pushed.repository}, commit {pushed.commit}: {', '.join(pushed.files)}.")
    print(f"To load it: cacl.load({pushed.repository!r}, revision={pushed.commit!r})")
