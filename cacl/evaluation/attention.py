"""Figure 3: where the first layer of the video transformer looks, averaged over heads and 50 random clips.

Tokens are [CLS], the frames of the clip, then those of its shuffled twin: 33 x 33 for 16 frames.

Shapes: L = 1 + clips * T tokens, T frames.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from cacl.evaluation.method_views import tokens
from cacl.files import write_whole
from cacl.methods.batch import ViewBatch
from cacl.methods.cacl import CACL
from cacl.reports.curves import COLOURS
from cacl.reports.figures import FAINT, INK, new_figure, plain, save_figure, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLIPS = 50  # as in the figure


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """First-layer attention of T.

    Attributes:
        weights: float64 ``[L, L]``, row = the token that looks, rows sum to 1; [CLS], clip, twin.
        frames: T.
        clips: how many clips it is the mean of.
    """

    weights: NDArray[np.float64]
    frames: int
    clips: int

    @property
    def names(self) -> list[str]:
        """``CLS``, ``clip 1`` … ``clip T``, ``twin 1`` …, one a token."""
        parts = ("clip", "twin")[: (len(self.weights) - 1) // self.frames]
        return ["CLS", *(f"{part} {t}" for part in parts for t in range(1, self.frames + 1))]

    def numbers(self) -> dict[str, Any]:
        """For ``results.json``.

        ``distance``: mean number of positions that a frame token looks away, within its own sequence (clip and twin
        averaged), beside that of uniform attention. ``ends``: attention that frame tokens pay to the first and the last
        position, over what they pay to a position in the mean; 1 is no preference. ``quadrants``: share of a frame
        token's attention that goes to [CLS], its own sequence and the other one.
        """
        T, parts = self.frames, (len(self.weights) - 1) // self.frames
        blocks = [self.weights[1 + p * T : 1 + (p + 1) * T, 1 + p * T : 1 + (p + 1) * T] for p in range(parts)]
        shares = {"CLS": float(self.weights[1:, 0].mean()), "own": float(np.mean([b.sum(1).mean() for b in blocks]))}
        if parts == 2:
            shares["other"] = 1.0 - shares["CLS"] - shares["own"]
        received_PT = self.weights[1:, 1:].mean(axis=0).reshape(parts, T)
        return {
            "clips": self.clips,
            "distance": float(np.mean([mean_distance(block) for block in blocks])),
            "distance, uniform": mean_distance(np.ones((T, T))),
            "ends": float((received_PT[:, [0, -1]].mean(axis=1) / received_PT.mean(axis=1)).mean()),
            "quadrants": shares,
        }


def mean_distance(weights_TT: NDArray[np.float64]) -> float:
    """Mean of |i - j| under the attention of row i, rows brought to sum 1, the mean over rows; in positions."""
    places = np.arange(len(weights_TT))
    away_TT = np.abs(places[:, None] - places[None, :])
    rows_T = (weights_TT * away_TT).sum(axis=1) / weights_TT.sum(axis=1)
    return float(rows_T.mean())


@torch.no_grad()
def mean_attention(method: CACL, batches: Iterable[ViewBatch], *, clips: int = CLIPS) -> AttentionMap:
    """Mean over heads and over the first ``clips`` clips of the batches (paper section 4.5).

    Args:
        method: with T; put into evaluation mode here.
        batches: view q is shown to T, from :func:`cacl.evaluation.method_views.drawn_views`.

    Raises:
        ValueError: the method has no T.
    """
    if method.transformer is None:
        raise ValueError("the method has no video transformer")
    method.eval()
    total = torch.zeros(method.transformer.tokens + 1, method.transformer.tokens + 1, dtype=torch.float64)
    count = 0
    for batch in batches:
        weights_BHLL = method.transformer.attention(tokens(method, method.transformer, batch, view=0))
        taken = weights_BHLL[: clips - count].mean(dim=1).cpu().double()
        total += taken.sum(dim=0)
        count += len(taken)
        if count == clips:
            break
    return AttentionMap((total / count).numpy(), method.frames, count)


def choose_clips(videos: int, rng: np.random.Generator, *, clips: int = CLIPS) -> tuple[Sequence[int], int]:
    """Positions of the videos that random clips come from, and how many clips of each: no video twice if possible."""
    chosen: list[int] = np.sort(rng.choice(videos, size=min(clips, videos), replace=False)).tolist()
    return chosen, -(-clips // len(chosen))


def write_attention(attention: AttentionMap, folder: Path) -> None:
    """Write ``attention.csv`` (names and numbers), ``attention.npy`` (float64) and ``attention.png``."""
    names = attention.names
    lines = [",".join(["looks at", *names])]
    lines += [",".join([name, *(f"{v:.8g}" for v in row)]) for name, row in zip(names, attention.weights, strict=True)]
    write_whole(folder / "attention.csv", "\n".join(lines) + "\n")
    numbers = io.BytesIO()
    np.save(numbers, attention.weights)
    write_whole(folder / "attention.npy", numbers.getvalue())
    draw_attention(attention, folder / "attention.png")


def draw_attention(attention: AttentionMap, path: Path) -> None:
    """Write the picture: the map, in multiples of uniform attention, and below it the row of [CLS]."""
    from matplotlib.colors import LogNorm

    T, size = attention.frames, len(attention.weights)
    relative_LL = attention.weights * size
    strong = np.abs(np.log(np.maximum(relative_LL[1:], 1e-6)))  # [CLS] looking at itself may be nearly nothing
    reach = max(1.5, float(np.exp(np.quantile(strong, 0.97))))
    figure = new_figure(7.6, 8.4)
    upper, lower = figure.subplots(2, 1, height_ratios=[6.2, 1.2], sharex=True)
    image = upper.imshow(
        relative_LL, cmap="RdBu", norm=LogNorm(1 / reach, reach), aspect="auto", interpolation="nearest"
    )
    _mark_parts(upper, T, size)
    title(upper, f"First-layer attention of T, mean of all heads and {attention.clips} clips")
    bar = figure.colorbar(image, ax=[upper, lower], shrink=0.6, pad=0.02, extend="both")
    bar.set_label("attention, in multiples of looking everywhere alike", fontsize=9, color=INK)
    bar.set_ticks([tick for tick in (0.25, 0.5, 0.7, 1, 1.4, 2, 4) if 1 / reach <= tick <= reach], minor=False)
    bar.ax.minorticks_off()
    bar.ax.yaxis.set_major_formatter("{x:g}")
    bar.ax.tick_params(labelsize=8, labelcolor=INK)
    bar.outline.set_visible(False)
    colours = [FAINT] + [COLOURS[0]] * T + [COLOURS[1]] * (size - 1 - T)
    lower.bar(np.arange(size), relative_LL[0], color=colours, width=0.8)
    lower.axhline(1.0, color=INK, linewidth=0.9, linestyle="--")
    plain(lower)
    title(lower, "Where [CLS] looks (dashed: everywhere alike)")
    numbers = attention.numbers()
    text = (
        f"Frame tokens look {numbers['distance']:.2f} positions away in their own sequence "
        f"(uniform attention: {numbers['distance, uniform']:.2f});\n"
        f"at first and last positions they look {numbers['ends']:.2f} times as much as at a position in the mean."
    )
    lower.set_xlabel(text, fontsize=9, color=INK, labelpad=8)
    save_figure(figure, path)


def _mark_parts(axes: Axes, frames: int, size: int) -> None:
    """Dark rules between [CLS], clip and twin; their names and some frame numbers along both sides."""
    for edge in (0.5, frames + 0.5):
        if edge < size - 1:
            axes.axhline(edge, color=INK, linewidth=1.3)
            axes.axvline(edge, color=INK, linewidth=1.3)
    shown = sorted({1, frames, *range(4, frames - 1, 4)})
    places = [0] + [offset + t for offset in range(0, size - 1, frames) for t in shown]
    labels = ["CLS"] + [str(t) for _ in range(0, size - 1, frames) for t in shown]
    axes.set_xticks(places, labels)
    axes.set_yticks(places, labels)
    axes.tick_params(labelsize=8, length=2, colors="#555555", labelcolor=INK, labelbottom=True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    look: dict[str, Any] = {"fontsize": 9, "fontweight": "bold", "ha": "center", "va": "center"}
    for number, part in enumerate(("clip", "twin")[: (size - 1) // frames]):
        middle = frames * number + (frames + 1) / 2
        axes.text(middle, -0.05, part, transform=axes.get_xaxis_transform(), color=COLOURS[number], **look)
        axes.text(-0.06, middle, part, transform=axes.get_yaxis_transform(), color=COLOURS[number], rotation=90, **look)
    axes.set_xlabel("looked at", fontsize=9, color=INK, labelpad=14)
    axes.set_ylabel("token that looks", fontsize=9, color=INK, labelpad=14)
