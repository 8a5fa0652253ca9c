"""The encoder: what remains of a training, and all that a user needs of it.

A 3D CNN together with the description of the clips it was trained on, so that its weights never meet the wrong pixels:
frame count, stride, size, pixel range and the layer that gives the feature travel with the weights in one folder.

Shapes: B batch, C=3 colours, T frames, H W pixels, D features of a clip, S segments of a video.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cacl.data.clips.augment import centre_crop
from cacl.data.clips.normalise import Standardise, normalise_
from cacl.data.clips.sampling import Window
from cacl.data.media.colours import Colours, PixelRules
from cacl.data.media.cut import Box, Cut
from cacl.data.videos.resample import file_spans, nearest_frames, resampled_count
from cacl.errors import UserError
from cacl.models.cnn3d import CNN3D, CNN3DName, build_cnn3d
from cacl.models.encoder_card import encoder_card
from cacl.models.encoder_folder import read_encoder_folder, write_encoder_folder
from cacl.models.segments import Segments, segment_windows
from cacl.run_folder import how_to_mend

if TYPE_CHECKING:
    from cacl.data.media.any_video import AnyVideo

Layer = Literal["max", "mean"]


@dataclass(frozen=True)
class ClipSpec:
    """What a clip is to an encoder. The defaults are the paper's (section 4.1).

    Attributes:
        frames: T, frames a clip.
        stride: video frames from one clip frame to the next.
        resize: height and width in pixels that whole frames are stretched to.
        size: side of the square cut out of the middle, pixels.
        pixel_mean, pixel_std: a number a colour, applied to pixels in [0, 1]; ``None`` for [0, 1] as it is.
        standardise: each clip to mean 0 and deviation near 1 after that, see ``cacl.data.clips.augment.normalise_``.
        layer: which feature: ``"max"``, the last convolution max-pooled over 2x2 pixels and flattened (the paper's
            retrieval feature), or ``"mean"``, its global average (what the losses see).
        colours, levels: how stored pixels became RGB, see ``cacl.data.media.colours.PixelRules``.
        blank: boxes that are black in every frame, ``(x, y, width, height)`` in pixels of the video as shown.
        frame_rate: video frames a second that ``stride`` counts in, whatever a file's rate is (the nearest frames by
            its timestamps); ``None``: each file's own.
        window: how evaluation places clips in a video, see ``cacl.data.clips.sampling.evaluation_clips``.
    """

    frames: int = 16
    stride: int = 2
    resize: tuple[int, int] = (128, 171)
    size: int = 112
    pixel_mean: tuple[float, float, float] | None = None
    pixel_std: tuple[float, float, float] | None = None
    standardise: Standardise = "none"
    layer: Layer = "max"
    colours: Colours = "coded"
    levels: tuple[float, float] = (0.0, 1.0)
    blank: tuple[Box, ...] = ()
    window: Window = "fitted"
    frame_rate: float | None = None

    def __post_init__(self) -> None:
        numbers = (self.frames, self.stride, *self.resize, self.size)
        if len(self.resize) != 2 or not all(type(n) is int and n >= 1 for n in numbers):
            raise ValueError("frames, stride, resize (height, width) and size must be whole numbers above 0")
        if self.size > min(self.resize):
            raise ValueError(f"size {self.size} does not fit into frames of {self.resize[0]}x{self.resize[1]}")
        if self.layer not in get_args(Layer):
            raise ValueError(f"layer must be 'max' or 'mean', found {self.layer!r}")
        if self.frame_rate is not None and not 0 < self.frame_rate < math.inf:
            raise ValueError(f"frame_rate must be a number above 0, or None (found {self.frame_rate!r})")
        if self.window not in get_args(Window):
            raise ValueError(f"window must be 'fitted' or 'padded', found {self.window!r}")
        for values in (self.pixel_mean, self.pixel_std):
            if values is not None and (len(values) != 3 or not all(math.isfinite(v) for v in values)):
                raise ValueError("pixel_mean and pixel_std are three finite numbers each")
        if (self.pixel_mean is None) != (self.pixel_std is None) or (self.pixel_std and min(self.pixel_std) <= 0):
            raise ValueError("pixel_mean and pixel_std go together, and pixel_std is above 0")
        if self.colours not in get_args(Colours):
            raise ValueError(f"colours must be 'shown' or 'coded', found {self.colours!r}")
        if len(self.levels) != 2 or not 0 <= self.levels[0] < self.levels[1] <= 1:
            raise ValueError(f"levels must be two numbers from 0 to 1, found {self.levels}")
        if not all(len(b) == 4 and all(type(n) is int and n >= 0 for n in b) for b in self.blank):
            raise ValueError("blank are boxes of four whole numbers each: x, y, width, height")
        if self.standardise not in get_args(Standardise):
            raise ValueError(f"standardise must be 'none', 'clip' or 'motion', found {self.standardise!r}")

    @property
    def rules(self) -> PixelRules:
        """How stored pixels become RGB."""
        return PixelRules(self.colours, self.levels)

    def pixels(self, frames_BTHWC: Tensor) -> Tensor:
        """uint8 frames ``[B, T, H, W, 3]`` at ``resize`` to what the network sees, ``[B, 3, T, S, S]``."""
        return centre_crop(
            frames_BTHWC, self.size, mean=self.pixel_mean, std=self.pixel_std, standardise=self.standardise
        )


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


class Encoder(nn.Module):
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
        clips = torch.as_tensor(clips).to(next(self.network.parameters()).device)
        x_BCTHW = self._from_frames(clips) if clips.dtype == torch.uint8 else self._from_pixels(clips)
        return pool_map(self.network.forward_features(x_BCTHW), self.clip.layer)

    def embed_video(self, path: str | Path, *, step: int | None = None, batch_size: int = 8) -> Segments:
        """Features of a whole video of any length, in consecutive windows, without holding it in memory.

        Args:
            path: a video file.
            step: frames from one window to the next; ``None``: one window after the other (``frames * stride``).
            batch_size: windows computed together; changes speed and memory alone.

        Raises:
            VideoError: the file cannot be decoded.
        """
        from cacl.data.media.any_video import (
            open_video,  # here, because decoding is not needed to use clips from elsewhere
        )

        height, width = self.clip.resize
        was_training = self.training
        self.eval()
        vectors = []
        try:
            with open_video(path, rules=self.clip.rules) as decoder, torch.inference_mode():
                seconds, numbers, clip = decoder.seconds, self._frames_of(decoder), self.clip
                frames_ST, start_S, stop_S = segment_windows(
                    len(numbers), frames=clip.frames, stride=clip.stride, step=step
                )
                for first in range(0, len(frames_ST), batch_size):
                    wanted_BT = numbers[frames_ST[first : first + batch_size]]
                    frames = decoder.read(wanted_BT.reshape(-1), height=height, width=width, cut=Cut(None, clip.blank))
                    vectors.append(self(frames.reshape(*wanted_BT.shape, height, width, 3)).cpu().numpy())
        finally:
            self.train(was_training)
        first_S, end_S = file_spans(numbers, decoder.frames, np.stack([start_S, stop_S], axis=1)).T
        paths = [str(path)] * len(start_S)
        return Segments(paths, seconds[first_S], seconds[end_S], first_S, end_S - first_S, np.concatenate(vectors))

    def _frames_of(self, decoder: AnyVideo) -> NDArray[np.int64]:
        """The frames of a video that clips are made of, int64 ``[M]``: all, or those at ``clip.frame_rate``."""
        rate, count = self.clip.frame_rate, decoder.frames
        if rate is None:
            return np.arange(count)
        return nearest_frames(decoder.seconds, resampled_count(count, decoder.rate(0, count), rate), rate)

    def save(self, folder: str | Path, *, card: str | None = None, imported_from: str = "") -> None:
        """Write ``config.json``, ``model.safetensors`` and ``README.md``; an encoder that is there stays until then.

        Args:
            folder: where; made when missing.
            card: the model card; ``None`` writes what is known from the encoder alone (``encoder_card``).
            imported_from: the file that holds these weights, where they were trained elsewhere.

        Raises:
            UserError: the folder holds something else, or cannot be written.
        """
        text = encoder_card(self.config, imported_from=imported_from) if card is None else card
        origin = {"imported_from": imported_from} if imported_from else {}
        write_encoder_folder(folder, self.config | origin, self.network.state_dict(), text)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The encoder in an encoder folder or in a run folder, on the CPU, in eval mode. Runs no code from it.

        Raises:
            UserError: no encoder there, a damaged file, or a version that is not known.
        """
        folder, config, state = read_encoder_folder(path)
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
            encoder = cls(**network, clip=clip)
        except (ValueError, RuntimeError) as error:
            raise UserError(_no_description(folder, error)) from error
        encoder.network.load_state_dict(state)
        return encoder.eval()

    def __repr__(self) -> str:
        clip = self.clip
        return (
            f"Encoder({self.name} of width {self.width}: {clip.frames} frames at stride {clip.stride}, "
            f"{clip.size}x{clip.size} pixels, {self.num_features} features)"
        )

    def _from_frames(self, frames_BTHWC: Tensor) -> Tensor:
        if frames_BTHWC.ndim != 5 or frames_BTHWC.shape[-1] != 3 or frames_BTHWC.shape[1] != self.clip.frames:
            raise ValueError(f"uint8 clips must be [B, {self.clip.frames}, H, W, 3], found {list(frames_BTHWC.shape)}")
        if tuple(frames_BTHWC.shape[2:4]) != self.clip.resize:
            frames_BTHWC = _stretch(frames_BTHWC, self.clip.resize)
        return self.clip.pixels(frames_BTHWC)

    def _from_pixels(self, x_BCTHW: Tensor) -> Tensor:
        if not x_BCTHW.is_floating_point() or x_BCTHW.ndim != 5 or x_BCTHW.shape[1:3] != (3, self.clip.frames):
            raise ValueError(
                f"clips must be uint8 [B, {self.clip.frames}, H, W, 3] or float [B, 3, {self.clip.frames}, h, w], "
                f"found {x_BCTHW.dtype} {list(x_BCTHW.shape)}"
            )
        clip = self.clip
        return normalise_(x_BCTHW.clone(), mean=clip.pixel_mean, std=clip.pixel_std, standardise=clip.standardise)

    @property
    def config(self) -> dict[str, Any]:
        """What ``config.json`` holds: version, network, clip and number of features."""
        try:
            release = version("cacl")
        except PackageNotFoundError:
            release = "unknown"
        return {
            "cacl": release,
            "network": {"name": self.name, "width": self.width},
            "clip": asdict(self.clip),
            "num_features": self.num_features,
        }


def clip_from_config(config: Mapping[str, Any]) -> ClipSpec:
    """The clips that a ``config.json`` describes. Raises KeyError, TypeError, ValueError or AttributeError."""
    clip: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in config["clip"].items()
    }
    clip["blank"] = tuple(tuple(box) for box in clip.get("blank", ()))
    return ClipSpec(**clip)


def _no_description(folder: Path, error: Exception) -> str:
    reason = (str(error).splitlines() or [""])[0][:200]
    return (
        f"{folder / 'config.json'} does not describe an encoder ({type(error).__name__}: {reason}): "
        f"{how_to_mend(folder)}."
    )


def _stretch(frames_BTHWC: Tensor, resize: tuple[int, int]) -> Tensor:
    """uint8 frames of any size to uint8 frames of another, bilinear, averaging where they shrink."""
    B, T = frames_BTHWC.shape[:2]
    x_NCHW = frames_BTHWC.flatten(0, 1).permute(0, 3, 1, 2).float()
    x_NCHW = F.interpolate(x_NCHW, size=resize, mode="bilinear", antialias=True).round_().clamp_(0, 255)
    return x_NCHW.to(torch.uint8).permute(0, 2, 3, 1).reshape(B, T, *resize, 3)


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}
