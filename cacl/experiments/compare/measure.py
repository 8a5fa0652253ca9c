"""What the frozen features of a cell know: retrieval, k-NN, a linear probe, and that with few labels.

Shapes: Q test videos, G training videos, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cacl.data.videos.dataset import Dataset
from cacl.evaluation.choice.frozen_rows import first_right
from cacl.evaluation.embed import VideoFeatures, evaluating
from cacl.evaluation.evaluate import pick_queries
from cacl.evaluation.health import feature_health
from cacl.evaluation.multilabel import related
from cacl.evaluation.probes import fit_linear, neighbour_scores
from cacl.evaluation.recognition import ranking
from cacl.evaluation.retrieval import class_recall, nearest
from cacl.evaluation.temporal.probe import FEWEST_VIDEOS, probe_networks
from cacl.experiments.recognition.labelled import draw_labels
from cacl.models.encoder import Encoder

FEW = (1, 5, 10)  # labels a class
DRAWS = 5
SHOWN, FOUND = 3, 3  # queries whose neighbours are kept, and how many
PROBED = 200  # videos of each side that temporal probes are fitted on and scored on
HITS = ("R@1", "k-NN", "linear probe")  # measures that keep whether each test video was right
_MISSING = "-"


@dataclass(frozen=True, eq=False)
class Sides:
    """Features of the test and the training videos that could be read, with their numbers in ``data``."""

    data: Dataset
    query: NDArray[np.float32]
    gallery: NDArray[np.float32]
    asked: list[int]
    there: list[int]

    @classmethod
    def of(cls, found: VideoFeatures, data: Dataset, test: Sequence[int], train: Sequence[int]) -> Sides:
        """From the features of ``[*test, *train]`` in this order."""
        numbers = np.array([*test, *train])[found.kept]
        asks = found.kept < len(test)
        query, gallery = found.features[asks], found.features[~asks]
        return cls(data, query, gallery, numbers[asks].tolist(), numbers[~asks].tolist())

    def first_hits(self) -> dict[int, bool]:
        """Number of a test video -> whether the nearest training video is of its class."""
        return first_right(self.query, self.gallery, related(self.data, self.asked, self.there), np.array(self.asked))


def knowledge(sides: Sides, test: Sequence[int], *, seed: int, strength: float, split: int) -> dict[str, Any]:
    """All numbers in percent, and ``hits``: measure -> a sign a test video, ``1``, ``0``, or ``-`` if it has none.

    Args:
        test: all test videos, in the order of the signs.
        seed: draws the few labels; the same for all methods of a seed.
        strength: of the linear probe (``fit_linear``).
        split: of the lists; draws other labels.
    """
    data = sides.data
    classes = sorted({label for video in data.videos(sides.there) for label in video.labels})
    place = {name: k for k, name in enumerate(classes)}
    truth, labels = (
        [tuple(place[name] for name in video.labels if name in place) for video in data.videos(numbers)]
        for numbers in (sides.asked, sides.there)
    )
    votes_QK = neighbour_scores(sides.query, sides.gallery, labels, classes=len(classes))
    right = _probe(sides, range(len(sides.there)), labels, truth, len(classes), strength)
    found = {
        "R@1": sides.first_hits(),
        "k-NN": dict(zip(sides.asked, _right(votes_QK, truth), strict=True)),
        "linear probe": dict(zip(sides.asked, right, strict=True)),
    }
    few: dict[str, float] = {}
    least = min(sum(k in own for own in labels) for k in range(len(classes)))
    for count in FEW:
        if count <= least:
            few[str(count)] = _few(sides, labels, truth, len(classes), count, seed=seed, strength=strength, split=split)
    linear = percent(found["linear probe"])
    return {
        "retrieval": rounded(class_recall(sides.query, sides.gallery, data, sides.asked, sides.there)),
        "k-NN": round(percent(found["k-NN"]), 3),
        "linear probe": round(linear, 3),
        "few labels": rounded({**few, "all": linear}),
        "effective rank": round(feature_health(sides.query)["effective_rank"], 2),
        "hits": {name: signs(found[name], test) for name in HITS},
    }


def shown_neighbours(sides: Sides, test: Sequence[int], train: Sequence[int]) -> list[dict[str, Any]]:
    """What is nearest to some test videos, the same ones of every cell: places in ``test`` and in ``train``.

    A query that could not be read is left out.
    """
    picked = pick_queries([next(iter(video.labels), None) for video in sides.data.videos(list(test))], SHOWN)
    row, place = ({number: n for n, number in enumerate(numbers)} for numbers in (sides.asked, train))
    kept = [n for n in picked if test[n] in row]
    near_QK, cosine_QK = nearest(sides.query[[row[test[n]] for n in kept]], sides.gallery, FOUND)
    return [
        {"query": n, "found": [place[sides.there[g]] for g in near], "cosine": [round(float(c), 3) for c in cosine]}
        for n, near, cosine in zip(kept, near_QK, cosine_QK, strict=True)
    ]


def knows_time(
    encoder: Encoder, data: Dataset, test: Sequence[int], train: Sequence[int], *, seed: int, device: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Temporal probe -> percent right, and -> percent right by chance; nothing where there are too few videos."""
    if len(train) < FEWEST_VIDEOS:
        return {}, {}
    with evaluating(encoder):
        found = probe_networks(
            {"it": encoder.network.to(device)},
            data,
            train,
            test,
            encoder.clip,
            most=PROBED,
            seed=seed,
            skipped=[],
            device=device,
        )
    right = {task: round(one["rows"]["it"]["accuracy"], 3) for task, one in found.items()}
    return right, {task: round(one["chance"], 3) for task, one in found.items()}


def signs(right: dict[int, bool], test: Sequence[int]) -> str:
    """A sign a test video."""
    return "".join(str(int(right[number])) if number in right else _MISSING for number in test)


def _few(
    sides: Sides,
    labels: list[tuple[int, ...]],
    truth: list[tuple[int, ...]],
    classes: int,
    count: int,
    *,
    seed: int,
    strength: float,
    split: int,
) -> float:
    """Percent right of a linear probe of ``count`` labels a class, the mean over draws."""
    videos, each = sides.data.videos(sides.there), []
    for draw in range(DRAWS):
        drawn = {(v.path, v.first_frame) for v in draw_labels(videos, count, seed=seed, draw=draw, split=split)}
        rows = [row for row, video in enumerate(videos) if (video.path, video.first_frame) in drawn]
        each.append(float(np.mean(_probe(sides, rows, labels, truth, classes, strength))))
    return 100 * float(np.mean(each))


def _probe(
    sides: Sides,
    rows: Sequence[int],
    labels: list[tuple[int, ...]],
    truth: list[tuple[int, ...]],
    classes: int,
    strength: float,
) -> list[bool]:
    chosen = list(rows)
    linear = fit_linear(sides.gallery[chosen], [labels[row] for row in chosen], classes=classes, strength=strength)
    with torch.no_grad():
        scores_QK = linear(torch.from_numpy(sides.query)).double().numpy()
    return _right(scores_QK, truth)


def _right(scores_QK: NDArray[np.float64], truth: list[tuple[int, ...]]) -> list[bool]:
    return [int(best) in own for best, own in zip(ranking(scores_QK)[:, 0], truth, strict=True)]


def percent(right: Mapping[int, bool]) -> float:
    """Share of those that are right."""
    return 100 * sum(right.values()) / len(right)


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """As ``results.json`` has them: three decimals."""
    return {key: round(value, 3) for key, value in values.items()}
