"""The encoder: what remains of a training, and all that a user needs of it.

A 3D CNN together with the description of the clips it was trained on, so that its weights never meet the wrong pixels:
frame count, stride, size, pixel range and the layer that gives the feature travel with the weights in one folder.

Shapes: B batch, C=3 colours, T frames, H W pixels, D features of a clip, S segments of a video.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cacl.errors import UserError
from cacl.models.clip_encoder import ClipEncoder, ClipSpec, Layer, clip_from_config, release
from cacl.models.cnn3d import CNN3D, CNN3DName, build_cnn3d
from cacl.models.encoder_card import encoder_card
from cacl.models.encoder_folder import read_encoder_folder
from cacl.run_folder import how_to_mend

__all__ = ["ClipSpec", "Encoder", "Layer", "clip_from_config", "pool_map"]


def pool_map(map_BDTHW: Tensor, layer: Layer) -> Tensor:
    """One vector a clip from the last convolution's map, float32.

    Args:
        map_BDTHW: ``[B, D, T', H', W']`` from ``CNN3D.forward_features``.
        layer: ``"max"``: max-pool (1, 2, 2) and flatten, 512 * 2 * 3 * 3 = 9216 at 16x112x112 (section 4.3); a side of
            one pixel is left as it is. ``"mean"``: global average, ``[B, D]``.
    """
    map_BDTHW = map_BDTHW.float()
    if layer == "mean":
        return map_BDTHW.mean(dim=(2, 3, 4))
    window = (1, min(2, map_BDTHW.shape[3]), min(2, map_BDTHW.shape[4]))
    return F.max_pool3d(map_BDTHW, window).flatten(1)


class Encoder(ClipEncoder):
    """A 3D CNN and the clips it knows: clips in, one vector each out.

    Args:
        name: architecture, see ``build_cnn3d``.
        width: its number of channels in the first stage.
        clip: the clips it was, or is to be, trained on.
        network: the trained network; ``None`` builds one with fresh weights.

    Raises:
        ValueError: ``network`` is no ``name`` of width ``width``.
    """

    def __init__(
        self, name: CNN3DName, *, width: int = 64, clip: ClipSpec | None = None, network: CNN3D | None = None
    ) -> None:
        super().__init__()
        self.name: CNN3DName = name
        self.width = width
        self.clip = ClipSpec() if clip is None else clip
        with torch.device("meta"):  # shapes without memory
            blueprint = build_cnn3d(name, width=width).eval()
            x_BCTHW = torch.empty(1, 3, self.clip.frames, self.clip.size, self.clip.size)
            self.num_features = pool_map(blueprint.forward_features(x_BCTHW), self.clip.layer).shape[1]
        self.network = build_cnn3d(name, width=width) if network is None else network
        if _shapes(self.network.state_dict()) != _shapes(blueprint.state_dict()):
            raise ValueError(f"the network given is no {name} of width {width}")

    def forward(self, clips: Tensor | NDArray[np.uint8]) -> Tensor:
        """Features of clips, differentiable. Call ``eval()`` first for anything but training (``load`` does).

        Args:
            clips: uint8 ``[B, T, H, W, 3]`` (RGB frames of any size, or already at ``clip.resize``): stretched and
                centre-cropped here, exactly as in evaluation; or float ``[B, 3, T, h, w]`` in [0, 1], used as they are.
                In both cases ``clip.pixel_mean`` and ``pixel_std`` are applied here.

        Returns:
            float32 ``[B, D]``, not normalised; D is ``num_features`` at ``clip.size``.

        Raises:
            ValueError: another shape, type or number of frames.
        """
        x_BCTHW = self.clip.network_input(torch.as_tensor(clips).to(self.device))
        return pool_map(self.network.forward_features(x_BCTHW), self.clip.layer)

    def tensors(self) -> dict[str, Tensor]:
        """The weights of the 3D CNN."""
        return self.network.state_dict()

    def save(self, folder: str | Path, *, card: str | None = None, imported_from: str = "") -> None:
        """See ``ClipEncoder.save``."""
        text = encoder_card(self.config, imported_from=imported_from) if card is None else card
        super().save(folder, card=text, imported_from=imported_from)

    @property
    def card(self) -> str:
        """What is known from the encoder alone."""
        return encoder_card(self.config)

    @classmethod
    def load(cls, path: str | Path) -> Encoder:
        """The encoder in an encoder folder or in a run folder, on the CPU, in eval mode. Runs no code from it.

        Raises:
            UserError: no encoder there, a damaged file, or a version that is not known.
        """
        folder, config, state = read_encoder_folder(path)
        if (kind := config.get("kind")) is not None:
            raise UserError(
                f"{folder} holds an encoder of kind {kind!r}; what needs a 3D CNN takes a run, or its encoder."
            )
        return restore_encoder(folder, config, state)

    def __repr__(self) -> str:
        clip = self.clip
        return (
            f"Encoder({self.name} of width {self.width}: {clip.frames} frames at stride {clip.stride}, "
            f"{clip.size}x{clip.size} pixels, {self.num_features} features)"
        )

    @property
    def config(self) -> dict[str, Any]:
        """What ``config.json`` holds: version, network, clip and number of features."""
        return {
            "cacl": release(),
            "network": {"name": self.name, "width": self.width},
            "clip": asdict(self.clip),
            "num_features": self.num_features,
        }


def restore_encoder(folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> Encoder:
    """The 3D CNN that a ``config.json`` and weights describe, in eval mode.

    Raises:
        UserError: they do not belong together.
    """
    try:
        network, clip = {"width": 64, **config["network"]}, clip_from_config(config)
        with torch.device("meta"):  # before memory is asked for: a damaged width may be any number
            blueprint = build_cnn3d(**network)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(_no_description(folder, error)) from error
    if _shapes(state) != _shapes(blueprint.state_dict()):
        raise UserError(
            f"{folder / 'model.safetensors'} does not fit its config.json, which says {network['name']} of width "
            f"{network['width']}: {how_to_mend(folder)}."
        )
    try:
        encoder = Encoder(**network, clip=clip)
    except (ValueError, RuntimeError) as error:
        raise UserError(_no_description(folder, error)) from error
    encoder.network.load_state_dict(state)
    return encoder.eval()


def _no_description(folder: Path, error: Exception) -> str:
    reason = (str(error).splitlines() or [""])[0][:200]
    return (
        f"{folder / 'config.json'} does not describe an encoder ({type(error).__name__}: {reason}): "
        f"{how_to_mend(folder)}."
    )


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}
