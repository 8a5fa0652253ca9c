"""Table 3: how similar are the pairs that training draws together, and how similar are clips of different videos.

A high cosine alone says little: embeddings that have collapsed agree everywhere. So each pair's mean stands beside the
mean of the same two embeddings taken from different videos.

Shapes: N clips, E = 128 embedding, U pairs of clips of different videos.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cacl.methods.contract import Method, MethodBatch
from cacl.methods.pairs import PAIR_NAMES


@dataclass(frozen=True, eq=False)
class PairCosines:
    """Cosines of one pair of embeddings.

    Attributes:
        positive: float32 ``[N]``, both of the same clip.
        unrelated: float32 ``[U]``, of every two clips of different videos.
    """

    positive: NDArray[np.float32]
    unrelated: NDArray[np.float32]

    def numbers(self) -> dict[str, float]:
        """Mean and standard deviation, for ``results.json``; of unrelated clips only where there are any."""
        found = {"mean": float(self.positive.mean()), "deviation": float(self.positive.std())}
        if len(self.unrelated):
            found |= {
                "unrelated mean": float(self.unrelated.mean()),
                "unrelated deviation": float(self.unrelated.std()),
            }
        return found


@dataclass(frozen=True, eq=False)
class Similarity:
    """Table 3 of one method.

    Attributes:
        pairs: ``gq_gk`` … as of ``PAIR_NAMES`` -> cosines; those that the method has no embeddings for are missing.
        clips: N.
        videos: from how many videos.
    """

    pairs: Mapping[str, PairCosines]
    clips: int
    videos: int

    def numbers(self) -> dict[str, Any]:
        """For ``results.json``: cosines, not percent."""
        rows = {name: cosines.numbers() for name, cosines in self.pairs.items()}
        return {"pairs": rows, "clips": self.clips, "videos": self.videos}


def pair_similarity(method: Method, batches: Iterable[MethodBatch]) -> Similarity:
    """Cosines of the positive pairs (of CACL the four of Table 3) and of unrelated clips, over batches of test clips.

    Args:
        method: with embeddings that it draws together; put into evaluation mode here.
        batches: two views a clip, from :func:`cacl.evaluation.method_views.drawn_views`.
    """
    method.eval()
    parts: dict[str, list[Tensor]] = {}
    videos = []
    for batch in batches:
        videos.append(batch.video.cpu())
        for name, vectors_BE in method.embeddings(batch).items():
            parts.setdefault(name, []).append(vectors_BE.float().cpu())
    found = {name: torch.cat(vectors) for name, vectors in parts.items()}
    video_N = torch.cat(videos)
    pairs: dict[str, PairCosines] = {}
    for pair in PAIR_NAMES:
        a, b = pair.split("_")
        if a in found and b in found:
            pairs[pair] = pair_cosines(found[a], found[b], video_N)
    return Similarity(pairs, len(video_N), len(set(video_N.tolist())))


def pair_cosines(a_NE: Tensor, b_NE: Tensor, video_N: Tensor) -> PairCosines:
    """Cosines of unit rows: a with b of the same clip, and a with b of every clip of another video.

    Args:
        a_NE: unit rows, float32.
        b_NE: unit rows, of the same clips.
        video_N: int64, the video of each clip.
    """
    cosine_NN = a_NE @ b_NE.T
    other_NN = video_N[:, None] != video_N[None, :]
    return PairCosines(cosine_NN.diagonal().numpy().copy(), cosine_NN[other_NN].numpy())
