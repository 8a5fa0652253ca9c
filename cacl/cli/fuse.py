"""The verb that puts a run beside a frozen image encoder: fuse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cacl.cli.app import app, holds_something, say_replaced, there
from cacl.errors import UserError


@app.command()
def fuse(
    run: Annotated[Path, typer.Argument(help="A finished run.", callback=there)],
    image_encoder: Annotated[
        Path, typer.Argument(help="A folder made by cacl import --image-encoder.", callback=there)
    ],
    out: Annotated[Path, typer.Option(help="The encoder folder to make.")],
    weight: Annotated[str, typer.Option(help="How often the own part counts: auto, or a number from 0.")] = "auto",
) -> None:
    """Put a run's encoder and a frozen image encoder into one, weighed without labels: both see the same frames.

    Example: cacl fuse runs/gulls encoders/lite0 --out encoders/gulls-and-lite0
    """
    number = weight if weight == "auto" else _number(weight)
    from cacl.experiments.fuse import fuse as run_fuse
    from cacl.training.progress import VideoProgress

    there_before = holds_something(out)
    with VideoProgress() as progress:
        made = run_fuse(run, image_encoder, out=out, weight=number, progress=progress)  # type: ignore[arg-type]
    say_replaced(out, there_before)
    encoder = made.encoder
    print(f"{out}: {encoder.weight:g} x the own part beside the frozen one, {encoder.num_features} numbers a clip.")
    if made.fusion is not None:
        for line in fusion_words(made.fusion.numbers, len(made.numbers)):
            print(line)


def fusion_words(chosen: dict[str, object], videos: int) -> list[str]:
    """What was chosen, in sentences."""
    found = chosen["found, percent, by weight"]
    assert isinstance(found, dict)
    shown = ", ".join(f"{weight}: {value:.1f}" for weight, value in found.items())
    lines = [
        f"Own part {chosen['own']}, frozen part {chosen['image']}, chosen {chosen['how']} ({videos} training videos).",
        f"How well they are found, percent, by weight: {shown}.",
    ]
    labels = chosen.get("labels would have chosen")
    if isinstance(labels, dict):
        lines.append(
            f"Labels would have chosen weight {labels['weight']:g}: R@1 {labels['R@1 there']:.1f} among the training "
            f"videos, here {labels['R@1 here']:.1f}, the frozen part alone {labels['R@1 of image alone']:.1f}."
        )
    return lines


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"--weight is {text}; it must be auto, or a number of 0 or more.") from None
