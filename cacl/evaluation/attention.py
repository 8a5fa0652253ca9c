"""Figure 3: where the first layer of the video transformer looks, averaged over heads and 50 random clips.

Tokens are [CLS], the frames of the clip, then those of its shuffled twin: 33 x 33 for 16 frames.

Shapes: L = 1 + clips * T tokens, T frames.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cacl.files import write_whole
from cacl.methods.contract import Method, MethodBatch

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
def mean_attention(method: Method, batches: Iterable[MethodBatch], *, clips: int = CLIPS) -> AttentionMap:
    """Mean over heads and over the first ``clips`` clips of the batches (paper section 4.5).

    Args:
        method: with T; put into evaluation mode here.
        batches: view q is shown to T, from :func:`cacl.evaluation.method_views.drawn_views`.

    Raises:
        ValueError: the method has no T.
    """
    method.eval()
    total, count, frames = torch.zeros((), dtype=torch.float64), 0, 0
    for batch in batches:
        weights_BLL = method.attention(batch)
        if weights_BLL is None:
            raise ValueError("the method has no video transformer")
        taken, frames = weights_BLL[: clips - count], batch.views[0].shape[2]
        total = total + taken.sum(dim=0)
        count += len(taken)
        if count == clips:
            break
    return AttentionMap((total / count).numpy(), frames, count)


def choose_clips(videos: int, rng: np.random.Generator, *, clips: int = CLIPS) -> tuple[Sequence[int], int]:
    """Positions of the videos that random clips come from, and how many clips of each: no video twice if possible."""
    chosen: list[int] = np.sort(rng.choice(videos, size=min(clips, videos), replace=False)).tolist()
    return chosen, -(-clips // len(chosen))


def write_attention(attention: AttentionMap, folder: Path) -> None:
    """Write ``attention.csv`` (names and numbers) and ``attention.npy`` (float64)."""
    names = attention.names
    lines = [",".join(["looks at", *names])]
    lines += [",".join([name, *(f"{v:.8g}" for v in row)]) for name, row in zip(names, attention.weights, strict=True)]
    write_whole(folder / "attention.csv", "\n".join(lines) + "\n")
    numbers = io.BytesIO()
    np.save(numbers, attention.weights)
    write_whole(folder / "attention.npy", numbers.getvalue())
