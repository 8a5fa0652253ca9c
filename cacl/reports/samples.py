"""The first batch of a training, drawn: clips, the twin where there is one, and the views that the network gets.

Wrong colours, a wrong stride or a shuffle that is none are visible here in seconds.

Shapes: B clips, T frames, H W pixels of the frames, S of the views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cacl.reports.figures import new_figure, save_figure, words
from cacl.reports.tiles import film_strip, shrink


@dataclass(frozen=True, eq=False)
class Sample:
    """One clip of the first batch as film strips.

    Attributes:
        title: the video and its shuffle in words.
        strips: name and image (uint8 ``[H, W, 3]``) of each row: the clip, its twin, the views.
    """

    title: str
    strips: tuple[tuple[str, NDArray[np.uint8]], ...]


def samples_from(
    clips: Mapping[str, NDArray[np.uint8] | Tensor],
    views: Mapping[str, Tensor],
    *,
    permutations_BT: NDArray[np.int64] | Tensor | None = None,
    notes: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    count: int = 4,
    height: int = 64,
) -> list[Sample]:
    """The first ``count`` clips of a batch as strips.

    Args:
        clips: name -> uint8 ``[B, T, H, W, 3]``, as read; the first is the one that is shuffled.
        views: name -> float32 ``[B, 3, T, S, S]`` in [0, 1], before mean and standard deviation, e.g. ``"view q"``.
        permutations_BT: the twins' frame orders; None for a method without twins.
        notes: what is to be known of each sample, in words.
        names: the videos.
        count: how many clips.
        height: of a frame in the strip, pixels.
    """
    read = {name: np.asarray(clip) for name, clip in clips.items()}
    first = next(iter(read.values()))
    permutations = None if permutations_BT is None else np.asarray(permutations_BT)
    samples = []
    for b in range(min(count, len(first))):
        strips = [(name, film_strip(shrink(clip[b], height))) for name, clip in read.items()]
        title = names[b] if names is not None else f"clip {b}"
        note = "" if notes is None else notes[b]
        if permutations is not None:
            order = permutations[b].tolist()
            strips.insert(1, ("twin", film_strip(shrink(first[b], height)[order])))
            note = f"{note + ', ' if note else ''}twin's frames in the order {' '.join(map(str, order))}"
        title += f": {note}" if note else ""
        for name, view_B3THW in views.items():
            pixels_THWC = view_B3THW[b].detach().float().clamp(0, 1).mul(255).round().byte().permute(1, 2, 3, 0)
            strips.append((name, film_strip(shrink(pixels_THWC.cpu().numpy(), height))))
        samples.append(Sample(title, tuple(strips)))
    return samples


def draw_samples(samples: Sequence[Sample], path: Path) -> bool:
    """Write one PNG of all samples, one below the other; returns False, and writes nothing, where there are none."""
    if not samples:
        return False
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows = sum(len(sample.strips) for sample in samples)
    heights = [strip.shape[0] / strip.shape[1] for sample in samples for _, strip in sample.strips]
    height = 12.3 * sum(heights) + 0.08 * rows + 0.26 * len(samples)
    figure = new_figure(13, height)
    figure.set_layout_engine(ConstrainedLayoutEngine(h_pad=0.02, hspace=0.0))
    grid = figure.subplots(rows, 1, squeeze=False, height_ratios=heights)[:, 0]
    place = 0
    for sample in samples:
        for number, (name, strip) in enumerate(sample.strips):
            axes = grid[place]
            place += 1
            axes.imshow(strip)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
            for spine in axes.spines.values():
                spine.set_visible(False)
            if number == 0:
                axes.set_title(words(sample.title), loc="left", fontsize=9, fontweight="bold")
    save_figure(figure, path)
    return True
