"""The verbs for weights that others have, or want: import, export, info."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from cacl.cli.app import app, disk_or_store, holds_something, say_replaced, there
from cacl.data.remote.place import place
from cacl.errors import UserError, counted, did_you_mean, quoted

Colour = tuple[float, float, float]


@app.command("import")
def import_weights(
    out: Annotated[Path, typer.Option(help="The encoder folder to make.")],
    file: Annotated[
        Path | None, typer.Argument(help="A checkpoint of CACL, or a backbone as VCOP saves it.", callback=there)
    ] = None,
    image_encoder: Annotated[
        str | None,
        typer.Option(help="Instead of FILE: efficientnet-lite0, mobilenet-v2, an .onnx or .pt2 file, or a hub id."),
    ] = None,
    network: Annotated[str | None, typer.Option(help="What it has to be (default: what the file holds).")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames in a clip of its training (default 16).")] = None,
    stride: Annotated[int | None, typer.Option(help="Video frames from one to the next (default 2).")] = None,
    frame_rate: Annotated[
        float | None, typer.Option(help="Frames a second that the stride counts in (default: each file's own).")
    ] = None,
    resize: Annotated[
        tuple[int, int] | None, typer.Option(help="Height and width of whole frames, pixels (default 128 171).")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of the square cut out, pixels (default 112).")] = None,
    mean: Annotated[Colour | None, typer.Option(help="Subtracted from pixels in [0, 1] (default: nothing).")] = None,
    std: Annotated[Colour | None, typer.Option(help="What they are divided by then (default: nothing).")] = None,
    pixel_range: Annotated[
        tuple[float, float] | None, typer.Option("--range", help="Image encoder: what black and white are: 0 1, 0 255.")
    ] = None,
    pooling: Annotated[str | None, typer.Option(help="Image encoder: mean, class or none.")] = None,
    licence: Annotated[str | None, typer.Option(help="Image encoder: its licence, where its source says none.")] = None,
) -> None:
    """Make an encoder folder of a network that others trained: a 3D CNN, or a frozen image encoder. Runs no code of it.

    Examples: cacl import checkpoint.pth.tar --out encoders/authors

    cacl import vcop_c3d.pt --out encoders/vcop --stride 1

    cacl import --image-encoder efficientnet-lite0 --out encoders/lite0
    """
    if image_encoder is not None:
        if file is not None or network is not None or resize is not None:
            raise UserError("--image-encoder takes the place of FILE, --network and --resize; leave them out.")
        asked = {"frames": frames, "stride": stride, "size": size, "pooling": pooling, "licence": licence}
        _import_image(image_encoder, out, pixel_range, mean, std, asked)
        return
    if file is None:
        raise UserError("Name a checkpoint (cacl import FILE --out DIR), or an image encoder (--image-encoder SOURCE).")
    if pixel_range is not None or pooling is not None or licence is not None:
        raise UserError("--range, --pooling and --licence belong to an image encoder; leave them out.")
    from typing import get_args

    from cacl.models.cnn3d import CNN3DName
    from cacl.models.encoder import ClipSpec
    from cacl.models.foreign import check_import_place, import_encoder, stored_clip

    if network is not None and network not in get_args(CNN3DName):
        names = get_args(CNN3DName)
        raise UserError(f"--network is {network}; it can be {', '.join(names)}.{did_you_mean(network, names)}")
    given: dict[str, Any] = {"frames": frames, "stride": stride, "resize": resize, "size": size}
    given |= {"pixel_mean": mean, "pixel_std": std, "frame_rate": frame_rate}
    try:
        clip = replace(
            stored_clip(file) or ClipSpec(), **{key: value for key, value in given.items() if value is not None}
        )
    except ValueError as error:
        raise UserError(f"The clips cannot be such: {error}.") from error
    there_before = holds_something(out)
    check_import_place(out)
    encoder, found = import_encoder(file, network=network, clip=clip)  # type: ignore[arg-type]
    encoder.save(out, imported_from=file.name)
    say_replaced(out, there_before)
    where = f"below '{found.place}'" if found.place else "without a prefix"
    print(f"{out}: {encoder.name} of width {encoder.width}, {len(found.state)} tensors found {where}.")
    print(f"Left out: {_summary(found.left_out)}.")
    print(
        f"Its clips: {counted(clip.frames, 'frame')} at stride {clip.stride}, {clip.size}x{clip.size} of "
        f"{clip.resize[0]}x{clip.resize[1]} pixels; if it was trained on others, say so: cacl import --help"
    )


def _import_image(
    source: str,
    out: Path,
    pixel_range: tuple[float, float] | None,
    mean: Colour | None,
    std: Colour | None,
    given: dict[str, Any],
) -> None:
    """``cacl import --image-encoder``; ``given`` are options by their names, None where not given."""
    from typing import get_args

    from cacl.models.foreign import check_import_place
    from cacl.models.image.encoder import Pooling
    from cacl.models.image.sources import Pixels, import_image_encoder

    if given["pooling"] not in (None, *get_args(Pooling)):
        raise UserError(f"--pooling is {given['pooling']}; it can be {', '.join(get_args(Pooling))}.")
    if (mean is None) != (std is None):
        raise UserError("--mean and --std go together: give both or neither.")
    if mean is not None and pixel_range is None:
        raise UserError("--mean and --std are numbers on the pixels' range: say it, --range 0 1 or --range 0 255.")
    pixels = None
    if pixel_range is not None:
        pixels = Pixels(*pixel_range, *((mean, std) if mean is not None and std is not None else ()))
    there_before = holds_something(out)
    check_import_place(out)
    given = {name: value for name, value in given.items() if value is not None}
    encoder = import_image_encoder(source, pixels=pixels, **given)
    encoder.save(out, imported_from=encoder.origin.source)
    say_replaced(out, there_before)
    clip, origin = encoder.clip, encoder.origin
    print(f"{out}: {origin.network['name']} from {origin.source}, licence {origin.licence}.")
    print(
        f"It looks at {counted(clip.frames, 'frame')} of a clip, {clip.size}x{clip.size} pixels, and gives "
        f"{encoder.num_features} numbers. Beside a run: cacl evaluate RUN --beside {quoted(out)}; "
        f"as one: cacl fuse RUN {quoted(out)}"
    )


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A run, or an encoder folder.", callback=there)],
    out: Annotated[Path, typer.Option(help="The file to write: .pt2, .onnx or .safetensors.")],
    to: Annotated[str, typer.Option(help="torch, onnx or safetensors.")],
) -> None:
    """Write an encoder as a file for programs without cacl, and check it against the encoder.

    Example: cacl export runs/gulls --to onnx --out gulls.onnx
    """
    from cacl.models.export import export_encoder
    from cacl.models.load import load_encoder

    there_before = holds_something(out)
    written = export_encoder(load_encoder(model), out, to=to)  # type: ignore[arg-type]
    say_replaced(out, there_before)
    print(f"{written.path}: largest difference {written.difference:.2g} (largest feature {written.largest:.2g}).")
    if to == "safetensors":
        print("It holds the weights of the 3D CNN alone; what its pixels are is in its metadata, cacl.config.")
        return
    shape = ", ".join(map(str, written.clip))
    print(f"In: clips, float32 [B, {shape}] in [0, 1]. Out: features, float32 [B, {written.features}].")


@app.command()
def info(
    path: Annotated[
        Path,
        typer.Argument(
            help="Any folder or file of cacl, or weights to import.",
            metavar="PATH",
            parser=place,
            callback=disk_or_store,
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say what a folder or file is: a run and how far it is, an encoder, a store, a checkpoint, an export …

    Example: cacl info runs/gulls
    """
    from cacl.experiments.info import info as look
    from cacl.experiments.info import text

    facts = look(path)
    print(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else text(facts))


def _summary(names: tuple[str, ...]) -> str:
    """How many tensors, by the first word of their names."""
    words = dict.fromkeys(name.removeprefix("module.").split(".")[0] for name in names)
    return f"{len(names)} other tensors ({', '.join(words)})" if names else "nothing"
