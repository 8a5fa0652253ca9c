"""What every encoder is: clips of a known kind in, one vector each out, in a folder of its own.

Three kinds there are: the 3D CNN that a run learns (``Encoder``), a frozen network that looks at single frames
(``ImageEncoder``), and both beside each other (``FusedEncoder``). What takes one of them takes the others.

Shapes: B batch, C=3 colours, T frames, H W pixels, D features of a clip, S segments of a video.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

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
from cacl.models.encoder_folder import write_encoder_folder
from cacl.models.segments import Segments, segment_windows

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
        pixel_mean: a number a colour, subtracted from pixels in [0, 1]; ``None`` for [0, 1] as it is.
        pixel_std: a number a colour that they are divided by after that.
        standardise: each clip to mean 0 and deviation near 1 after that, see ``cacl.data.clips.normalise.normalise_``.
        layer: which feature: ``"max"``, the last convolution max-pooled over 2x2 pixels and flattened (the paper's
            retrieval feature), or ``"mean"``, its global average (what the losses see).
        colours: how stored pixels became RGB, see ``cacl.data.media.colours.PixelRules``.
        levels: what became black and white, see there.
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

    def network_input(self, clips: Tensor) -> Tensor:
        """Clips as an encoder is given them to what its network sees, float32 ``[B, 3, T, h, w]``.

        Args:
            clips: uint8 ``[B, T, H, W, 3]``, stretched where it is not at ``resize``, and centre-cropped; or float
                ``[B, 3, T, h, w]`` in [0, 1], neither stretched nor cropped.

        Raises:
            ValueError: another shape, type or number of frames.
        """
        if clips.dtype == torch.uint8:
            if clips.ndim != 5 or clips.shape[-1] != 3 or clips.shape[1] != self.frames:
                raise ValueError(f"uint8 clips must be [B, {self.frames}, H, W, 3], found {list(clips.shape)}")
            return self.pixels(clips if tuple(clips.shape[2:4]) == self.resize else stretch(clips, self.resize))
        self.check_pixels(clips)
        return normalise_(clips.clone(), mean=self.pixel_mean, std=self.pixel_std, standardise=self.standardise)

    def check_pixels(self, x_BCTHW: Tensor) -> None:
        """Raise ValueError for what is no clip of numbers in [0, 1]."""
        if not x_BCTHW.is_floating_point() or x_BCTHW.ndim != 5 or x_BCTHW.shape[1:3] != (3, self.frames):
            raise ValueError(
                f"clips must be uint8 [B, {self.frames}, H, W, 3] or float [B, 3, {self.frames}, h, w], "
                f"found {x_BCTHW.dtype} {list(x_BCTHW.shape)}"
            )


def clip_from_config(config: Mapping[str, Any]) -> ClipSpec:
    """The clips that a ``config.json`` describes. Raises KeyError, TypeError, ValueError or AttributeError."""
    clip: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in config["clip"].items()
    }
    clip["blank"] = tuple(tuple(box) for box in clip.get("blank", ()))
    return ClipSpec(**clip)


class ClipEncoder(nn.Module, ABC):
    """Clips in, one vector each out.

    Attributes:
        clip: the clips that it knows.
        num_features: D.
    """

    clip: ClipSpec
    num_features: int

    @abstractmethod
    def forward(self, clips: Tensor | NDArray[np.uint8]) -> Tensor:
        """Features of clips. Call ``eval()`` first for anything but training (loading does).

        Args:
            clips: uint8 ``[B, T, H, W, 3]`` (RGB frames of any size, or already at ``clip.resize``): stretched and
                centre-cropped here, exactly as in evaluation; or float ``[B, 3, T, h, w]`` in [0, 1].

        Returns:
            float32 ``[B, D]``, not normalised.

        Raises:
            ValueError: another shape, type or number of frames.
        """

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """What ``config.json`` holds: version, network, clip and number of features."""

    @property
    @abstractmethod
    def card(self) -> str:
        """Text of the folder's ``README.md``."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What ``model.safetensors`` holds."""

    def files(self) -> dict[str, bytes]:
        """What else lies in the folder, by its name there."""
        return {}

    def digest(self) -> str:
        """SHA-256 of all that is in its folder beside the description, 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for name, value in sorted(self.tensors().items()):
            digest.update(name.encode())
            digest.update(value.cpu().numpy().tobytes())
        for name, content in sorted(self.files().items()):
            digest.update(name.encode())
            digest.update(content)
        return digest.hexdigest()

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of float clips, pixels."""
        return self.clip.size, self.clip.size

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next((p.device for p in (*self.parameters(), *self.buffers())), torch.device("cpu"))

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
            card: the model card; ``None`` writes what is known from the encoder alone.
            imported_from: the file that holds these weights, where they were trained elsewhere.

        Raises:
            UserError: the folder holds something else, or cannot be written.
        """
        origin = {"imported_from": imported_from} if imported_from else {}
        text = self.card if card is None else card
        write_encoder_folder(folder, self.config | origin, self.tensors(), text, files=self.files())


def release() -> str:
    """The version of cacl that writes a folder."""
    try:
        return version("cacl")
    except PackageNotFoundError:
        return "unknown"


def stretch(frames_BTHWC: Tensor, resize: tuple[int, int]) -> Tensor:
    """uint8 frames of any size to uint8 frames of another, bilinear, averaging where they shrink."""
    B, T = frames_BTHWC.shape[:2]
    x_NCHW = frames_BTHWC.flatten(0, 1).permute(0, 3, 1, 2).float()
    x_NCHW = F.interpolate(x_NCHW, size=resize, mode="bilinear", antialias=True).round_().clamp_(0, 255)
    return x_NCHW.to(torch.uint8).permute(0, 2, 3, 1).reshape(B, T, *resize, 3)
