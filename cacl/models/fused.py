"""One encoder of two: what a run learned of its own videos, beside a frozen look at single frames.

Both parts see the same frames, decoded once. Each part's vector is centred on the mean over the videos of the run,
whitened where that was found to pay, and divided by the length that such vectors have (root mean square); the own part
then counts ``weight`` times. So a clip in which a part sees nothing unusual has a short vector there, and the other
part decides; and it is the same whether clips are averaged before or after.

Shapes: B batch, C=3 colours, T frames, H W pixels, D features of a part, K of them kept by whitening.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cacl.errors import UserError
from cacl.models.clip_encoder import ClipEncoder, ClipSpec, release
from cacl.models.encoder import Encoder, restore_encoder
from cacl.models.encoder_folder import encoder_files, read_encoder_folder
from cacl.models.image.encoder import ImageEncoder, restore_image_encoder
from cacl.run_folder import how_to_mend

PARTS: tuple[Literal["own"], Literal["image"]] = ("own", "image")


@dataclass(frozen=True, eq=False)
class Mapped:
    """What becomes of a part's vector.

    Attributes:
        centre: float32 ``[D]``, subtracted.
        whitening: float32 ``[D, K]``, multiplied with then; ``None`` leaves the centred vector as it is.
        length: float32 ``[]``, above 0: what such vectors are long, they are divided by it.
    """

    centre: Tensor
    whitening: Tensor | None = None
    length: Tensor = field(default_factory=lambda: torch.ones(()))

    @property
    def features(self) -> int:
        """How many numbers are left."""
        return int((self.centre if self.whitening is None else self.whitening).shape[-1])

    def __call__(self, vectors_BD: Tensor) -> Tensor:
        """``[B, D]`` to ``[B, D or K]``, of length 1 on average."""
        vectors_BD = vectors_BD - self.centre.to(vectors_BD.device)
        if self.whitening is not None:
            vectors_BD = vectors_BD @ self.whitening.to(vectors_BD.device)
        return vectors_BD / self.length.to(vectors_BD.device)


class FusedEncoder(ClipEncoder):
    """A run's encoder and a frozen image encoder: ``[weight * own, image]``, each part of length 1 on average.

    Args:
        own: of a run.
        image: frozen.
        mapped: of each part, in the order of ``PARTS``.
        weight: of the own part, 0 or more.
        chosen: how weight, centring and whitening were chosen, plain JSON; travels with it.

    Raises:
        ValueError: the maps are not of the parts' size, or the weight is below 0.
    """

    def __init__(
        self,
        own: Encoder,
        image: ImageEncoder,
        *,
        mapped: tuple[Mapped, Mapped],
        weight: float,
        chosen: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.own, self.image, self.weight, self.chosen = own, image, float(weight), dict(chosen or {})
        for part, encoder, found in zip(PARTS, (own, image), mapped, strict=True):
            if found.centre.shape != (encoder.num_features,):
                raise ValueError(
                    f"the centre of {part} has {list(found.centre.shape)} numbers, not {encoder.num_features}"
                )
            if found.whitening is not None and found.whitening.shape[0] != encoder.num_features:
                raise ValueError(f"the whitening of {part} is {list(found.whitening.shape)}")
            self.register_buffer(f"{part}_centre", found.centre.float())
            if found.length.shape != () or not 0 < float(found.length) < float("inf"):
                raise ValueError(f"the length of {part} must be one number above 0, found {found.length.tolist()}")
            self.register_buffer(f"{part}_length", found.length.float())
            self.register_buffer(f"{part}_whitening", None if found.whitening is None else found.whitening.float())
        if not 0 <= weight < float("inf"):
            raise ValueError(f"weight must be 0 or more, found {weight}")
        self.clip = fused_clip(own.clip, image.clip)
        self.looked_at = looked_at(own.clip.frames, image.clip.frames)
        self.num_features = sum(found.features for found in mapped)

    def forward(self, clips: Tensor | NDArray[np.uint8]) -> Tensor:
        """``[B, D]``; see ``ClipEncoder.forward``. Float clips are whole frames at ``clip.resize``."""
        return self.fuse(*self.parts(clips))

    def parts(self, clips: Tensor | NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        """What each part says of the clips by itself, ``[B, D_own]`` and ``[B, D_image]``."""
        clips = torch.as_tensor(clips).to(self.device)
        picked = list(self.looked_at)
        if clips.dtype == torch.uint8:
            return self.own(clips), self.image(clips[:, picked])
        self.clip.check_pixels(clips)
        own = _cut(_stretch_pixels(clips, self.own.clip.resize), self.own.clip.size)
        image = _cut(_stretch_pixels(clips[:, :, picked], self.image.clip.resize), self.image.clip.size)
        return self.own(own), self.image(image)

    def fuse(self, own_BD: Tensor, image_BD: Tensor) -> Tensor:
        """Vectors of the parts to vectors of both."""
        own, image = self.mapped
        return torch.cat([self.weight * own(own_BD), image(image_BD)], dim=1)

    @property
    def input_size(self) -> tuple[int, int]:
        """Whole frames: each part cuts its own middle."""
        return self.clip.resize

    @property
    def mapped(self) -> tuple[Mapped, Mapped]:
        """What becomes of the parts' vectors."""
        own, image = (
            Mapped(*(getattr(self, f"{part}_{name}") for name in ("centre", "whitening", "length"))) for part in PARTS
        )
        return own, image

    def tensors(self) -> dict[str, Tensor]:
        """The means, lengths and whitenings; the parts' weights lie in the folders ``own`` and ``image``."""
        return dict(self.named_buffers(recurse=False))

    def files(self) -> dict[str, bytes]:
        """Both parts, an encoder folder each."""
        return {
            f"{part}/{name}": content
            for part, encoder in zip(PARTS, (self.own, self.image), strict=True)
            for name, content in encoder_files(
                encoder.config, encoder.tensors(), encoder.card, files=encoder.files()
            ).items()
        }

    @property
    def config(self) -> dict[str, Any]:
        """What ``config.json`` holds."""
        return {
            "cacl": release(),
            "kind": "fused",
            "weight": self.weight,
            "chosen": self.chosen,
            "own": self.own.config,
            "image": self.image.config,
            "clip": asdict(self.clip),
            "num_features": self.num_features,
        }

    @property
    def card(self) -> str:
        """What it is made of, and how to use it."""
        own, image, clip = self.own, self.image, self.clip
        return (
            "---\nlibrary_name: cacl\npipeline_tag: feature-extraction\ntags:\n- video\n- self-supervised\n---\n\n"
            f"# {own.name} (width {own.width}) beside {image.origin.network['name']}\n\n"
            f"Two encoders that see the same {clip.frames} frames: one that was trained without labels on its user's "
            f"own videos with cacl, and a frozen image network from {image.origin.source} that looks at "
            f"{image.clip.frames} of them. Each part is centred and divided by its usual length; the own part counts "
            f"{self.weight:g} times. "
            f"Licence of the frozen part: {image.origin.licence}.\n\n"
            "## Use\n\n```python\nimport cacl\n\nencoder = cacl.load('PATH/OF/THIS/FOLDER')\n"
            f"segments = encoder.embed_video('video.mp4')   # .vector: [segments, {self.num_features}]\n```\n\n"
            f"## Input\n\n{clip.frames} frames, one in {clip.stride} of the video's, stretched to "
            f"{clip.resize[0]}x{clip.resize[1]} pixels (height x width), RGB in [0, 1].\n\n"
            f"Written by cacl {release()}. Method of the own part: "
            "Guo et al., *Cross-Architecture Self-supervised Video Representation Learning*, CVPR 2022.\n"
        )

    def __repr__(self) -> str:
        return f"FusedEncoder({self.weight:g} x {self.own!r}, {self.image!r}, {self.num_features} features)"


def fused_clip(own: ClipSpec, image: ClipSpec) -> ClipSpec:
    """The clips that both parts can be shown: the own part's frames, as large as either needs them."""
    height, width = map(max, own.resize, image.resize)  # whole frames: each part stretches them to its own shape
    whole = ClipSpec(own.frames, own.stride, (height, width), min(height, width))
    return replace(  # which frames there are and how they became RGB is the own part's, too
        whole,
        colours=own.colours,
        levels=own.levels,
        blank=own.blank,
        window=own.window,
        frame_rate=own.frame_rate,
    )


def looked_at(frames: int, count: int) -> tuple[int, ...]:
    """Which frames of a clip the image encoder looks at: the middles of ``count`` equal stretches of it."""
    return tuple((2 * i + 1) * frames // (2 * count) for i in range(count))


def restore_fused(folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> FusedEncoder:
    """The fused encoder that a folder's files describe, in eval mode.

    Raises:
        UserError: a part is missing or damaged, or they do not belong together.
    """
    for part in PARTS:
        if not (folder / part / "config.json").is_file():
            raise UserError(f"{folder} is a fused encoder, but its part {folder / part} is missing: fuse it again.")
    own = restore_encoder(*read_encoder_folder(folder / "own"))
    image = restore_image_encoder(*read_encoder_folder(folder / "image"))
    try:
        mapped = tuple(
            Mapped(state[f"{part}_centre"], state.get(f"{part}_whitening"), state[f"{part}_length"]) for part in PARTS
        )
        fused = FusedEncoder(
            own, image, mapped=(mapped[0], mapped[1]), weight=config["weight"], chosen=config["chosen"]
        )
    except (KeyError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise UserError(
            f"{folder} does not fit its parts ({type(error).__name__}: {reason}): {how_to_mend(folder)}."
        ) from error
    return fused.eval()


def _stretch_pixels(x_BCTHW: Tensor, resize: tuple[int, int]) -> Tensor:
    """Clips of numbers to another size, bilinear, averaging where they shrink."""
    if tuple(x_BCTHW.shape[3:]) == resize:
        return x_BCTHW
    H, W = x_BCTHW.shape[3:]
    # a frame's rows and columns are sums of the old ones with fixed weights: two products, in every export the same
    down, across = (_weights(old, new).to(x_BCTHW) for old, new in zip((H, W), resize, strict=True))
    return down @ x_BCTHW @ across.T


def _weights(old: int, new: int) -> Tensor:
    """float32 ``[new, old]``: what ``F.interpolate(mode="bilinear", antialias=True)`` does to one side."""
    return F.interpolate(torch.eye(old)[None, None], size=(new, old), mode="bilinear", antialias=True)[0, 0]


def _cut(x_BCTHW: Tensor, size: int) -> Tensor:
    """The middle of frames, as ``cacl.data.clips.augment.centre_crop`` cuts it."""
    top, left = (round((side - size) / 2) for side in x_BCTHW.shape[3:])
    return x_BCTHW[..., top : top + size, left : left + size]
