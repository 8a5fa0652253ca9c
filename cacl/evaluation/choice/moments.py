"""Some moments of every video, each as it is and with other framing and colours: what label-free measures stand on.

Shapes: V videos, M moments, T frames, H W pixels, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cacl.data.clips.sampling import evaluation_clips
from cacl.data.randomness import generator
from cacl.data.videos.catalog import Skipped
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.sources import FrameSource
from cacl.evaluation.reading import read_clips, shared_videos
from cacl.models.clip_encoder import ClipSpec, stretch

MOMENTS = 4
AREA, SHAPE = (0.4, 0.8), (3 / 4, 4 / 3)  # of what is cut out: share of the frame, width to height
CONTRAST, BRIGHTNESS, GAIN, GREY = (0.6, 1.4), 40.0, (0.7, 1.3), 0.2


@dataclass(frozen=True, eq=False)
class Moments:
    """Vectors of moments.

    Attributes:
        plain: float32 ``[V, M, D]``, moments in the order of time.
        changed: float32 ``[V, M, D]``, of the same frames with other framing and colours.
        kept: number of each row's video in the data set, int64 ``[V]``.
        skipped: the videos that cannot be read.
    """

    plain: NDArray[np.float32]
    changed: NDArray[np.float32]
    kept: NDArray[np.int64]
    skipped: tuple[Skipped, ...] = ()


def video_moments(
    compute: Mapping[str, Callable[[NDArray[np.uint8]], Tensor]],
    clip: ClipSpec,
    data: Dataset,
    *,
    moments: int = MOMENTS,
    seed: int = 0,
    threads: int = 2,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Moments]:
    """Moments of every video that can be read, by several encoders at once: decoded once, changed once.

    Args:
        compute: name -> uint8 clips ``[n, T, H, W, 3]`` to vectors ``[n, D]``.
        clip: ``frames``, ``stride`` and ``window`` of the moments.
        data: the videos, by their whole frames.
        moments: M, evenly spaced over the video.
        seed: of the changes, which are the same for every encoder.
        threads: decoding threads.
        progress: called with the number of videos finished.

    Raises:
        UserError: no video could be read.
    """

    def read(own: FrameSource, number: int) -> NDArray[np.uint8]:
        plan_MT = evaluation_clips(
            data.catalog.videos[number].frames,
            frames=clip.frames,
            stride=clip.stride,
            clips=moments,
            window=clip.window,
        )
        clips_MTHWC = read_clips(own, number, plan_MT)
        changed = [change(c, generator(seed, "changed", number, m)) for m, c in enumerate(clips_MTHWC)]
        return np.concatenate([clips_MTHWC, np.stack(changed)])

    def vectors(pixels: Sequence[NDArray[np.uint8]]) -> list[dict[str, NDArray[np.float32]]]:
        return [{name: made(c).float().cpu().numpy() for name, made in compute.items()} for c in pixels]

    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in compute}
    kept, skipped = list[int](), list[Skipped]()
    for number, row in shared_videos(
        data,
        read,
        lambda pixels: iter(vectors(list(pixels))),
        group=4,
        skipped=skipped,
        threads=threads,
        progress=progress,
    ):
        kept.append(number)
        for name, vectors_ND in row.items():
            found[name].append(vectors_ND)
    both = {name: np.stack(rows) for name, rows in found.items()}
    order = np.array(kept, np.int64)
    return {n: Moments(x[:, :moments], x[:, moments:], order, tuple(skipped)) for n, x in both.items()}


def change(clip_THWC: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A clip under another framing and light, the same for all its frames: what it shows and how it moves stays.

    Args:
        clip_THWC: uint8 ``[T, H, W, 3]``.
        rng: where the draws come from: a box of ``AREA`` of the frame, contrast, brightness, a gain a colour, grey.
    """
    height, width = clip_THWC.shape[1:3]
    area, shape = rng.uniform(*AREA), np.exp(rng.uniform(*np.log(SHAPE)))
    rows = int(np.clip(round(height * np.sqrt(area / shape)), 1, height))
    columns = int(np.clip(round(width * np.sqrt(area * shape)), 1, width))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    contrast, brightness = rng.uniform(*CONTRAST), rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    gain_C, grey = rng.uniform(*GAIN, size=3), rng.random() < GREY
    box = torch.from_numpy(np.ascontiguousarray(clip_THWC[:, top : top + rows, left : left + columns]))
    pixels = stretch(box[None], (height, width))[0].numpy().astype(np.float32)
    if grey:
        pixels = np.repeat(pixels @ np.array([[0.299], [0.587], [0.114]], np.float32), 3, axis=-1)
    pixels = ((pixels - 128) * contrast + 128 + brightness) * gain_C.astype(np.float32)
    return np.asarray(np.clip(np.round(pixels), 0, 255), np.uint8)
