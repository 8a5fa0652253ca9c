"""Clips that differ in time alone, and frozen features of them: shuffled, played faster, played backwards.

Every video gives every class, so that what a video looks like says nothing about the answer.

Shapes: B clips, C channels, T frames, H W pixels, D features of G, P samples of a task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cacl.data.clips.augment import centre_crop
from cacl.data.clips.sampling import training_clip
from cacl.data.clips.shuffle import DegreeSampler, degree_class
from cacl.data.randomness import generator
from cacl.data.videos.catalog import Skipped
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.sources import FrameSource
from cacl.evaluation.reading import read_clips, read_videos
from cacl.methods.differences import pair_differences
from cacl.models.encoder import ClipSpec

Task = Literal["shuffle degree", "playback speed", "arrow of time"]
TASKS: tuple[Task, ...] = ("shuffle degree", "playback speed", "arrow of time")
SPEEDS = (1, 2, 4, 8)
DIFFERENCES = "frame differences"


@dataclass(frozen=True, eq=False)
class TaskSamples:
    """Samples of one task.

    Attributes:
        features: row name -> float32 ``[P, ·]``.
        classes: int64 ``[P]``.
        video: int64 ``[P]``, position of the video of each sample.
    """

    features: Mapping[str, NDArray[np.float32]]
    classes: NDArray[np.int64]
    video: NDArray[np.int64]


class _Drawn(NamedTuple):
    """The clips of one video, as a reading thread hands them over."""

    frames: Tensor  # uint8 [n, T, H, W, 3]: of each draw the clip, its twin, the clip reversed, then the speeds
    degrees: list[int]
    speeds: int  # clips of other speeds a draw: all speeds, or none where the video is too short
    plain: dict[Task, list[NDArray[np.float64]]]  # frame differences


def speeds_that_fit(frames: Sequence[int], *, clip: int) -> tuple[int, ...]:
    """The playback speeds that at least half of the videos are long enough for, of 1x 2x 4x 8x.

    Args:
        frames: of each video.
        clip: frames a clip.
    """
    lengths = np.array(frames)
    return tuple(s for s in SPEEDS if ((clip - 1) * s + 1 <= lengths).mean() >= 0.5)


@torch.no_grad()
def temporal_samples(
    networks: Mapping[str, nn.Module],
    data: Dataset,
    clip: ClipSpec,
    *,
    purpose: Literal["train", "test"],
    draws: int,
    seed: int,
    speeds: tuple[int, ...],
    skipped: list[Skipped],
    device: torch.device | str = "cpu",
    threads: int = 2,
) -> dict[Task, TaskSamples]:
    """Draw clips of every video and embed them with each network, beside plain frame differences.

    - *Shuffle degree*: a clip and its shuffled twin, degree uniform (section 3.3): G(x) and G(x~) - G(x).
    - *Playback speed*: every frame, every 2nd, 4th, 8th, from a random start each: G(x). Videos that are too short for
      the fastest are left out of this task, so that length gives nothing away.
    - *Arrow of time*: a clip and the same clip backwards: G(x).

    Args:
        networks: name -> ``[B, 3, T, H, W]`` to ``[B, D]``, in evaluation mode and on ``device``.
        data: the videos.
        clip: what the networks see.
        purpose: training and test clips are drawn apart.
        draws: clips a video and task.
        speeds: frames from one to the next, the class is the place in this tuple; fewer than two leave the task out.
        skipped: takes the videos that cannot be read.

    Raises:
        UserError: no video could be read.
    """
    sampler = DegreeSampler(clip.frames)
    longest = (clip.frames - 1) * max(speeds, default=1) + 1

    def read(own: FrameSource, number: int) -> _Drawn:
        count = data.catalog.videos[number].frames
        fast = speeds if len(speeds) > 1 and count >= longest else ()
        plans, orders, degrees = [], [], []
        for draw in range(draws):
            rng = generator(seed, f"temporal probe {purpose}", number, draw)
            original = training_clip(count, rng, frames=clip.frames, stride=clip.stride)[0]
            permutation, degree = sampler.draw(rng)
            plans += [original, original[permutation], original[::-1]]
            plans += [training_clip(count, rng, frames=clip.frames, stride=speed)[0] for speed in fast]
            orders.append(permutation)
            degrees.append(degree_class(degree))
        clips = torch.from_numpy(read_clips(own, number, np.stack(plans)))
        return _Drawn(clips, degrees, len(fast), _differences(clips, orders, len(fast), clip.size))

    parts: dict[Task, list[tuple[dict[str, NDArray[np.float32]], list[int], int]]] = {task: [] for task in TASKS}
    for position, drawn in read_videos(data, read, skipped=skipped, threads=threads):
        x_BCTHW = clip.pixels(drawn.frames.to(device))
        rows: dict[Task, dict[str, NDArray[np.float32]]] = {
            task: {DIFFERENCES: np.array(values, np.float32)} for task, values in drawn.plain.items()
        }
        for name, network in networks.items():
            g_BD: Tensor = network(x_BCTHW).float().cpu()
            g_KnD = g_BD.view(draws, -1, g_BD.shape[1])
            pair = torch.cat([g_KnD[:, 0], g_KnD[:, 1] - g_KnD[:, 0]], dim=1)
            rows["shuffle degree"][name] = pair.numpy()
            rows["arrow of time"][name] = g_KnD[:, [0, 2]].flatten(0, 1).numpy()
            if drawn.speeds:
                rows["playback speed"][name] = g_KnD[:, 3:].flatten(0, 1).numpy()
        parts["shuffle degree"].append((rows["shuffle degree"], drawn.degrees, position))
        parts["arrow of time"].append((rows["arrow of time"], [0, 1] * draws, position))
        if drawn.speeds:
            parts["playback speed"].append((rows["playback speed"], list(range(drawn.speeds)) * draws, position))
    return {task: _together(found) for task, found in parts.items() if found}


def _differences(
    clips_BTHWC: Tensor, orders: Sequence[NDArray[np.int64]], speeds: int, size: int
) -> dict[Task, list[NDArray[np.float64]]]:
    """What frame differences say: fourteen numbers a pair, seven a clip (the same backwards)."""
    x_BCTHW = centre_crop(clips_BTHWC, size)
    x_KnCTHW = x_BCTHW.view(len(orders), -1, *x_BCTHW.shape[1:])
    pairs = [pair_differences(x_nCTHW[0], order) for x_nCTHW, order in zip(x_KnCTHW, orders, strict=True)]
    own = len(pairs[0]) // 2
    still = np.arange(clips_BTHWC.shape[1])
    found: dict[Task, list[NDArray[np.float64]]] = {
        "shuffle degree": pairs,
        "arrow of time": [pair[:own] for pair in pairs for _ in range(2)],
    }
    if speeds:
        found["playback speed"] = [pair_differences(x, still)[:own] for n in x_KnCTHW for x in n[3:]]
    return found


def _together(found: Sequence[tuple[dict[str, NDArray[np.float32]], list[int], int]]) -> TaskSamples:
    features = {name: np.concatenate([rows[name] for rows, _, _ in found]) for name in found[0][0]}
    classes = np.concatenate([np.array(classes, np.int64) for _, classes, _ in found])
    video = np.repeat([position for _, _, position in found], [len(classes) for _, classes, _ in found])
    return TaskSamples(features, classes, video.astype(np.int64))
