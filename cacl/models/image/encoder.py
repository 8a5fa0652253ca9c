"""A frozen image network as an encoder: it looks at some frames of a clip, one by one, and averages what it sees.

What its pixels are, where it comes from and under which licence travel with it in one folder, as with every encoder.

Shapes: B batch, C=3 colours, T frames, N=B*T frames, H W pixels, D features.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cacl.errors import UserError
from cacl.models.clip_encoder import ClipEncoder, ClipSpec, clip_from_config, release
from cacl.models.frame_encoder import build_frame_encoder
from cacl.models.image.exported_graph import GraphNetwork, graph_bytes
from cacl.models.image.inverted_residuals import InvertedResiduals
from cacl.models.image.onnx_file import OnnxNetwork
from cacl.models.image.vit import VisionTransformer
from cacl.run_folder import how_to_mend

Pooling = Literal["mean", "class", "none"]
GRAPH, ONNX = "graph.json", "model.onnx"
MOST_FEATURES = 65_536


@dataclass(frozen=True)
class Origin:
    """Where a frozen network comes from.

    Attributes:
        source: file, package or hub id, with its version.
        licence: under which it may be used.
        network: its kind, and what builds it: ``{"name": "efficientnet-lite0"}``.
        pooling: ``"mean"`` over a map ``[N, D, h, w]`` or over tokens ``[N, K, D]`` (all of them), ``"class"`` the
            first token, ``"none"`` for a network that gives ``[N, D]`` itself.
    """

    source: str
    licence: str
    network: Mapping[str, Any]
    pooling: Pooling


class ImageEncoder(ClipEncoder):
    """A frozen image network: the mean over a clip's frames of the network's feature of each.

    Args:
        network: frames ``[N, 3, S, S]``, normalised as ``clip`` says, to ``[N, D]``, a map or tokens.
        origin: where it comes from.
        clip: its frames.

    Raises:
        UserError: the network does not take frames of that size, or gives something else than features.
    """

    def __init__(self, network: nn.Module, *, origin: Origin, clip: ClipSpec) -> None:
        super().__init__()
        self.network, self.origin, self.clip = network.eval().requires_grad_(False), origin, clip
        sides: tuple[int | None, ...] = getattr(network, "sides", (None, None, None))
        for side in sides[1:]:
            if side not in (None, clip.size):
                raise UserError(
                    f"{origin.source} takes frames of {sides[1]}x{sides[2]} pixels, not of {clip.size}x{clip.size}: "
                    f"give --size {side}, or leave it out."
                )
        if sides[0] not in (None, 1):
            raise UserError(f"{origin.source} takes {sides[0]} frames at once: export it for any number of frames.")
        self._one_by_one = sides[0] == 1
        self.num_features = self._try()

    def forward(self, clips: Tensor | NDArray[np.uint8]) -> Tensor:
        """Features of clips, see ``ClipEncoder.forward``; float clips are taken at ``clip.size``."""
        x_BCTHW = self.clip.network_input(torch.as_tensor(clips).to(self.device))
        B, _, T = x_BCTHW.shape[:3]
        features_ND = self._features(x_BCTHW.transpose(1, 2).flatten(0, 1))
        return features_ND.view(B, T, -1).mean(dim=1)

    def train(self, mode: bool = True) -> Self:
        """It is frozen: always in evaluation mode."""
        super().train(mode)
        self.network.train(False)
        return self

    def tensors(self) -> dict[str, Tensor]:
        """The network's weights; none where they are in ``model.onnx``."""
        if isinstance(self.network, GraphNetwork):
            return self.network.weights()
        return self.network.state_dict()

    def files(self) -> dict[str, bytes]:
        """``graph.json`` of an exported graph, ``model.onnx`` of an ONNX file."""
        if isinstance(self.network, GraphNetwork):
            return {GRAPH: graph_bytes(self.network.graph)}
        return {ONNX: self.network.content} if isinstance(self.network, OnnxNetwork) else {}

    @property
    def config(self) -> dict[str, Any]:
        """What ``config.json`` holds."""
        return {
            "cacl": release(),
            "kind": "image",
            "network": dict(self.origin.network),
            "source": self.origin.source,
            "licence": self.origin.licence,
            "pooling": self.origin.pooling,
            "clip": asdict(self.clip),
            "num_features": self.num_features,
        }

    @property
    def card(self) -> str:
        """Where it comes from, what it sees, and how to use it."""
        clip, origin = self.clip, self.origin
        mean = "as they are" if clip.pixel_mean is None else f"minus {list(clip.pixel_mean)}"
        std = "" if clip.pixel_std is None else f", divided by {list(clip.pixel_std)}"
        return (
            f"---\nlibrary_name: cacl\npipeline_tag: feature-extraction\ntags:\n- image\n---\n\n"
            f"# {origin.network['name']}, frozen\n\nAn image network from {origin.source}, used as it was trained by "
            f"others. Licence: {origin.licence}. Weights trained on other people's pictures may carry those pictures' "
            "terms too.\n\n"
            "## Use\n\n```python\nimport cacl\n\nencoder = cacl.load('PATH/OF/THIS/FOLDER')\n"
            f"segments = encoder.embed_video('video.mp4')   # .vector: [segments, {self.num_features}]\n```\n\n"
            f"## Input\n\n{clip.frames} frame(s) of a clip, {clip.stride} video frames apart, stretched to "
            f"{clip.resize[0]}x{clip.resize[1]} pixels (height x width), their middle {clip.size}x{clip.size}, RGB "
            f"in [0, 1] {mean}{std}. The frames' features ({origin.pooling} pooling) are averaged.\n\n"
            f"Written by cacl {release()}.\n"
        )

    def same_as(self, other: ImageEncoder) -> bool:
        """Whether both give the same: of the same source, with the same weights, clips and pooling."""
        if self.origin != other.origin or self.clip != other.clip or self.files() != other.files():
            return False
        mine, theirs = self.tensors(), other.tensors()
        return mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)

    def _features(self, x_NCHW: Tensor) -> Tensor:
        if self._one_by_one:
            return torch.cat([self._pool(self.network(x)) for x in x_NCHW[:, None]])
        return self._pool(self.network(x_NCHW))

    def _pool(self, out: Tensor) -> Tensor:
        if out.ndim == 4:
            return out.mean(dim=(2, 3)).float()
        if out.ndim == 3:
            return (out[:, 0] if self.origin.pooling == "class" else out.mean(dim=1)).float()
        return out.float()

    @torch.no_grad()
    def _try(self) -> int:
        """D, after a look at two black frames."""
        source, size, wanted = self.origin.source, self.clip.size, {2: ("none",), 3: ("class", "mean"), 4: ("mean",)}
        try:
            out = self.network(torch.zeros(1 if self._one_by_one else 2, 3, size, size))
        except Exception as error:  # whatever an operator says of sizes that do not fit
            reason = (str(error).splitlines() or [""])[0][:160]
            raise UserError(
                f"{source} does not take frames of {size}x{size} pixels ({reason}): give the --size that it takes."
            ) from error
        if not isinstance(out, Tensor) or out.ndim not in wanted or not out.is_floating_point():
            found = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise UserError(
                f"{source} gives {found}, which are no features: it must give [N, D], tokens [N, K, D] or a map "
                "[N, D, h, w]."
            )
        if self.origin.pooling not in wanted[out.ndim]:
            names = " or ".join(wanted[out.ndim])
            raise UserError(f"{source} gives {list(out.shape)}: take --pooling {names}.")
        features = self._pool(out)
        if features.shape[1] > MOST_FEATURES or not bool(torch.isfinite(features).all()):
            raise UserError(f"{source} gives {features.shape[1]} numbers a frame, or numbers that are not finite.")
        return int(features.shape[1])

    def __repr__(self) -> str:
        size = self.clip.size
        return f"ImageEncoder({self.origin.source}: {size}x{size} pixels, {self.num_features} features)"


def restore_image_encoder(folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> ImageEncoder:
    """The image encoder that a folder's ``config.json`` and weights describe.

    Raises:
        UserError: they do not belong together, or a file is missing or damaged.
    """
    try:
        clip, pooling = clip_from_config(config), config["pooling"]
        if pooling not in get_args(Pooling):
            raise ValueError(f"pooling {pooling!r}")
        if not (isinstance(config["licence"], str) and config["licence"].strip()):
            raise ValueError("no licence")
        if clip.pixel_mean is None:
            raise ValueError("no pixel range")
        origin = Origin(str(config["source"]), config["licence"], dict(config["network"]), pooling)
        return ImageEncoder(_network(folder, origin.network, state), origin=origin, clip=clip)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OSError) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise UserError(
            f"{folder} does not hold the image encoder that its config.json describes ({type(error).__name__}: "
            f"{reason}): {how_to_mend(folder)}."
        ) from error


def _network(folder: Path, network: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
    """The network with its weights."""
    arguments = {key: value for key, value in network.items() if key != "name"}
    name = network["name"]
    if name == "onnx":
        return OnnxNetwork((folder / ONNX).read_bytes(), name=str(folder / ONNX))
    if name == "exported":
        return GraphNetwork(json.loads((folder / GRAPH).read_text(encoding="utf-8")), state)
    with torch.device("meta"):  # before memory is asked for: a damaged width may be any number
        built: nn.Module
        if name in ("efficientnet-lite0", "mobilenet-v2"):
            built = InvertedResiduals(name)
        elif name == "vit":
            built = VisionTransformer(**arguments)
        else:
            built = build_frame_encoder(name, **arguments)
    built.load_state_dict(dict(state), strict=True, assign=True)
    return built
