"""An encoder as a file for programs that know nothing of cacl: ``torch.export``, ONNX, or plain weights.

The exported graph is the encoder as it is called here: pixel normalisation and standardisation, 3D CNN and feature
layer. What was written is read again and run beside the original before it gets its name, so that a file that is there
is right.

Shapes: B batch, T frames, S pixels, D features.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor

from cacl.errors import UserError, did_you_mean
from cacl.extras import install_extra
from cacl.files import check_replaceable, write_synced
from cacl.models.clip_encoder import ClipEncoder
from cacl.models.encoder import Encoder
from cacl.models.exported import CONFIG_FILE, was_exported
from cacl.models.image.onnx_file import OnnxNetwork
from cacl.models.state_file import with_config

Target = Literal["torch", "onnx", "safetensors"]
SUFFIXES: dict[Target, str] = {"torch": ".pt2", "onnx": ".onnx", "safetensors": ".safetensors"}
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Exported:
    """What was written, and how exact it is.

    Attributes:
        path: the file.
        to: what it is.
        difference: largest difference of any feature to the encoder's own, over random clips.
        largest: largest feature of the same clips, for comparison.
        clip: shape of one clip that goes in, ``(3, T, S, S)``: float32 in [0, 1]; ``[B, *clip]`` with any B.
        features: D, ``[B, D]`` comes out.
    """

    path: Path
    to: Target
    difference: float
    largest: float
    clip: tuple[int, int, int, int]
    features: int


def export_encoder(encoder: ClipEncoder, file: str | Path, *, to: Target) -> Exported:
    """Write an encoder for use without cacl; an export that is there is replaced once the new one has proved right.

    ``torch`` and ``onnx`` take float32 clips ``[B, 3, T, S, S]`` in [0, 1], called ``clips``, and give float32
    ``[B, D]``, called ``features``; B is free. Pixel mean, deviation and standardisation are in the graph. Resizing and
    cropping are not. ``safetensors`` holds the state dict of the 3D CNN alone. Each carries the encoder's
    ``config.json``: the ``.pt2`` as extra file ``cacl.json``, the ``.onnx`` as property ``cacl.json``, the
    ``.safetensors`` as metadata ``cacl.config``.

    Args:
        encoder: on any device; it is left as it is.
        file: ends in ``.pt2``, ``.onnx`` or ``.safetensors``; its folder is made when missing.
        to: which of them.

    Raises:
        UserError: another suffix, a file there that is no export, ``onnx`` and what it needs is not installed, the file
            cannot be written, or its features differ from the encoder's by more than 1e-4 (of the largest feature,
            where that is above 1: float32 has no more digits).
    """
    path = Path(file)
    if to not in SUFFIXES:
        raise UserError(f"--to is {to}; it can be {', '.join(get_args(Target))}.{did_you_mean(to, SUFFIXES)}")
    if path.suffix != SUFFIXES[to] or path.is_dir():
        raise UserError(f"{path} must be a file whose name ends in {SUFFIXES[to]}, for --to {to}.")
    if to == "onnx":
        _need_onnx()
    _check_can(encoder, path, to)
    check_replaceable(path, was_exported, by="cacl export")
    encoder = copy.deepcopy(encoder).cpu().eval()
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_synced(part, _content(encoder, to))
        difference, largest = _compare(encoder, _reader(part, to, encoder))
        if not difference <= TOLERANCE * max(1, largest):  # not a number is no success
            raise UserError(
                f"{path} was not written: its features differ from the encoder's by {difference:.2g} (largest feature "
                f"{largest:.2g}), more than rounding does. Export --to safetensors instead, and report this."
            )
        part.replace(path)
    except OSError as error:
        raise UserError(
            f"{path} could not be written ({error.strerror or error}): make room, or choose another --out."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # it is gone, or could not be made
            part.unlink()
    shape = (3, encoder.clip.frames, *encoder.input_size)
    return Exported(path, to, difference, largest, shape, encoder.num_features)


def random_clips(encoder: ClipEncoder) -> Iterator[Tensor]:
    """Clips to compare with, always the same: one alone, then four. Coarse noise, smooth like video, contrast 1 to .1.

    Noise without neighbours that are alike is averaged away by the first layers of a trained network, and what is left
    is rounding.
    """
    generator = torch.Generator().manual_seed(0)
    size = (encoder.clip.frames, *encoder.input_size)
    for contrasts in ([1.0], [1.0, 0.5, 0.25, 0.1]):
        coarse_B3THW = torch.rand(len(contrasts), 3, -(-size[0] // 2), 8, 8, generator=generator)
        coarse_B3THW *= torch.tensor(contrasts).view(-1, 1, 1, 1, 1)
        yield F.interpolate(coarse_B3THW, size=size, mode="trilinear")


def _content(encoder: ClipEncoder, to: Target) -> bytes:
    if to == "safetensors":
        state = {name: value.detach().contiguous() for name, value in encoder.tensors().items()}
        return save(state, metadata=with_config(encoder.config))
    example = (torch.rand(2, 3, encoder.clip.frames, *encoder.input_size),)  # 2: what is 1 would be taken for fixed
    free = ({0: torch.export.Dim("batch")},)
    buffer = BytesIO()
    with _quiet():
        if to == "torch":
            program = torch.export.export(encoder, example, dynamic_shapes=free)
            torch.export.save(program, buffer, extra_files={CONFIG_FILE: json.dumps(encoder.config)})
            return buffer.getvalue()
        onnx_program = torch.onnx.export(
            encoder,
            example,
            dynamo=True,
            dynamic_shapes=free,
            input_names=["clips"],
            output_names=["features"],
            verbose=False,
        )
        assert onnx_program is not None
        onnx_program.model.metadata_props[CONFIG_FILE] = json.dumps(encoder.config)
        return bytes(onnx_program.model_proto.SerializeToString())


def _reader(file: Path, to: Target, encoder: ClipEncoder) -> Callable[[Tensor], Tensor]:
    """What a user would do with the file: clips to features."""
    if to == "torch":
        with _quiet():
            program: Callable[[Tensor], Tensor] = torch.export.load(file).module()
        return program
    if to == "onnx":
        onnxruntime: Any = importlib.import_module("onnxruntime")
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        return lambda clips: torch.from_numpy(session.run(["features"], {"clips": clips.numpy()})[0])
    assert isinstance(encoder, Encoder)
    again = Encoder(encoder.name, width=encoder.width, clip=encoder.clip)
    again.network.load_state_dict(load_file(file))
    return again.eval()


@torch.no_grad()
def _compare(encoder: ClipEncoder, exported: Callable[[Tensor], Tensor]) -> tuple[float, float]:
    """Largest difference over the random clips, and the largest feature."""
    differences, sizes = [], []
    for clips in random_clips(encoder):
        own = encoder(clips)
        differences.append((exported(clips) - own).abs().max())
        sizes.append(own.abs().max())
    return float(torch.stack(differences).max()), float(torch.stack(sizes).max())


def _check_can(encoder: ClipEncoder, path: Path, to: Target) -> None:
    """Raise UserError for what an encoder with a frozen image network in it cannot be written as."""
    if to == "safetensors" and not isinstance(encoder, Encoder):
        raise UserError(f"{path} would hold a 3D CNN alone, and this is {encoder!r}; export --to torch or onnx.")
    if any(isinstance(module, OnnxNetwork) for module in encoder.modules()):
        raise UserError(
            f"{path} cannot be written: the image encoder in it is an ONNX file, which onnxruntime alone computes; "
            "import the same network as a .pt2 of torch.export (cacl import --image-encoder FILE.pt2)."
        )


def _need_onnx() -> None:
    missing = []
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise UserError(f"--to onnx needs {' and '.join(missing)}: {install_extra('onnx')}, or export --to torch.")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without PyTorch's remarks on its own deprecations and on packages that are not needed."""
    logger = logging.getLogger("torch.onnx._internal.exporter")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
