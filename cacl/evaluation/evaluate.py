"""``evaluate``: the paper's retrieval protocol on a run, always beside chance and what needs no learning.

Section 4.3: ten clips a video, the last convolution max-pooled, averaged over the clips; each test video queries the
training videos by cosine similarity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.swa_utils import update_bn

from cacl.data.clips.sampling import training_clip
from cacl.data.randomness import generator
from cacl.data.videos.dataset import Dataset
from cacl.errors import UserError, VideoError, counted
from cacl.evaluation.baselines import video_baselines
from cacl.evaluation.choice.frozen_rows import first_right
from cacl.evaluation.embed import encoder_features
from cacl.evaluation.multilabel import related
from cacl.evaluation.retrieval import chance, nearest, recall_at_k, related_at_k, related_chance
from cacl.models.cnn3d import channels_last_
from cacl.models.encoder import Encoder

STATISTICS_CLIPS = 256  # training clips for the untrained network's BatchNorm statistics


@dataclass(frozen=True)
class Neighbours:
    """A query and the videos nearest to it, by their numbers in the data set, best first, with their cosines."""

    query: int
    found: tuple[int, ...]
    similarity: tuple[float, ...]


@dataclass(frozen=True)
class Retrieval:
    """Recall@k in percent of each row, the neighbours of some queries, and what could not be read.

    Attributes:
        recalls: row name -> {"R@1": …}.
        neighbours: some queries of the last network with their nearest training videos.
        queries, gallery: how many videos.
        part: what the queries' part is called, ``test`` or ``val``.
        right: of each encoder, number of a query -> whether its nearest video is of its class.
    """

    recalls: dict[str, dict[str, float]]
    neighbours: list[Neighbours]
    queries: int
    gallery: int
    part: str = "test"
    skipped: list[str] = field(default_factory=list)
    right: dict[str, dict[int, bool]] = field(default_factory=dict)


def evaluate_retrieval(
    encoders: dict[str, Encoder],
    untrained: Encoder | None,
    data: Dataset,
    *,
    seed: int = 0,
    clips: int = 10,
    device: str = "cpu",
    autocast_dtype: torch.dtype | None = None,
    ks: Sequence[int] = (1, 5, 10, 20, 50),
    references: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> Retrieval:
    """Recall@k of chance, colour histogram, thumbnail, the untrained network (twice) and of each encoder.

    Args:
        encoders: name -> trained encoder; the last one's neighbours are kept.
        untrained: the same network with its initial weights: once with BatchNorm as initialised, once with the
            statistics of training clips.
        data: videos with labels and a train and a test part; ``val`` where nothing is called ``test``. Videos without
            a label are left out.
        seed: chooses the clips for the statistics.
        clips: clips a video.
        autocast_dtype: mixed precision of the forward passes.
        references: chance and what needs no network, too; False where they are known already.

    Raises:
        UserError: no labels, or no test part.
    """
    train, test = retrieval_parts(data, say=say)
    recalls: dict[str, dict[str, float]] = {}
    labels = np.array([video.label or "" for video in data.catalog.videos])
    several = any(data.catalog.videos[i].several for i in (*train, *test))

    def recall(query: NDArray[np.float32], gallery: NDArray[np.float32], q: Any, g: Any) -> dict[str, float]:
        if several:
            return related_at_k(query, gallery, related(data, q, g), ks=ks)
        return recall_at_k(query, gallery, labels[q], labels[g], ks=ks)

    if references:
        if several:
            recalls["chance"] = related_chance(related(data, test, train), ks=ks)
        else:
            recalls["chance"] = chance(labels[test], labels[train], ks=ks)
        query, gallery = (video_baselines(data.subset(part)) for part in (test, train))
        q_kept, g_kept = np.array(test)[query.kept], np.array(train)[gallery.kept]
        recalls["colour histogram"] = recall(query.histogram, gallery.histogram, q_kept, g_kept)
        recalls["thumbnail"] = recall(query.thumbnail, gallery.thumbnail, q_kept, g_kept)
    rows: list[tuple[str, Encoder]] = []
    if untrained is not None:
        rows.append(("untrained", untrained))
        rows.append(("untrained, batch statistics", with_statistics(untrained, data, train, seed, device)))
    rows += list(encoders.items())
    skipped: list[str] = []
    neighbours: list[Neighbours] = []
    right: dict[str, dict[int, bool]] = {}
    for name, encoder in rows:
        say(f"Features of {counted(len(train) + len(test), 'video')}, {name} …")
        features = [_features(encoder, data, part, clips, device, autocast_dtype) for part in (test, train)]
        (q, q_numbers, q_bad), (g, g_numbers, g_bad) = features
        recalls[name] = recall(q, g, q_numbers, g_numbers)
        right[name] = first_right(q, g, related(data, q_numbers.tolist(), g_numbers.tolist()), q_numbers)
        skipped = q_bad + g_bad
        if name == rows[-1][0]:
            picked = pick_queries([next(iter(video.labels), None) for video in data.videos(q_numbers.tolist())])
            neighbours = _neighbours(q[picked], g, q_numbers[picked], g_numbers)
    return Retrieval(recalls, neighbours, len(test), len(train), data.test_part, skipped, right)


def retrieval_parts(data: Dataset, *, say: Callable[[str], None] = lambda text: None) -> tuple[list[int], list[int]]:
    """Numbers of the labelled training and test videos. Raises UserError where one of the parts has none."""
    parts = {part: data.numbers(part) for part in ("train", data.test_part)} if data.has_test else {}
    labelled = {part: [i for i in found if data.catalog.videos[i].labels] for part, found in parts.items()}
    if not labelled or not all(labelled.values()):
        raise UserError(
            f"{data.catalog.root}: retrieval needs labelled videos with a train and a test part "
            "(train/CLASS and test/CLASS folders, videos.csv with label and split, or --lists DIR --split N)."
        )
    if left_out := sum(map(len, parts.values())) - sum(map(len, labelled.values())):
        say(f"Left out: {counted(left_out, 'video')} without a label.")
    train, test = labelled.values()
    instead = "" if data.test_part == "test" else " (there is no part called test)"
    queries = counted(len(test), "test video" if data.test_part == "test" else "validation video")
    say(f"Retrieval: {queries}{instead} against {counted(len(train), 'training video')}.")
    return train, test


def _features(
    encoder: Encoder, data: Dataset, numbers: list[int], clips: int, device: str, autocast_dtype: torch.dtype | None
) -> tuple[NDArray[np.float32], NDArray[np.int64], list[str]]:
    """(features, the videos' numbers, what was skipped)."""
    if autocast_dtype is not None:  # 16-bit convolutions are twice as fast so
        channels_last_(encoder.network.to(device))
    part = data.subset(numbers)
    found = encoder_features(encoder, part, clips=clips, device=device, autocast_dtype=autocast_dtype)
    bad = [f"{skipped.path}: {skipped.reason}" for skipped in found.skipped]
    return found.features, np.array(numbers)[found.kept], bad


def with_statistics(untrained: Encoder, data: Dataset, train: list[int], seed: int, device: str) -> Encoder:
    """A copy whose BatchNorm has the statistics of centre-cropped training clips."""
    import copy

    encoder, spec = copy.deepcopy(untrained), untrained.clip
    rng = generator(seed, "statistics")
    numbers = rng.choice(train, size=min(STATISTICS_CLIPS, len(train)), replace=False).tolist()

    def batches() -> Any:
        for start in range(0, len(numbers), 32):
            clips = []
            for number in numbers[start : start + 32]:
                plan = training_clip(data.catalog.videos[number].frames, rng, frames=spec.frames, stride=spec.stride)
                with suppress(VideoError):  # reported where features are made
                    clips.append(data.source.read(number, plan[0]))
            if clips:
                yield spec.pixels(torch.from_numpy(np.stack(clips)).to(device))

    update_bn(batches(), encoder.network.to(device).eval())  # in training mode while it runs; nothing in it is random
    return encoder


def _neighbours(
    query_QD: NDArray[np.float32],
    gallery_GD: NDArray[np.float32],
    query_numbers: NDArray[np.int64],
    gallery_numbers: NDArray[np.int64],
) -> list[Neighbours]:
    indices_QK, similarities_QK = nearest(query_QD, gallery_GD, 5)
    return [
        Neighbours(int(number), tuple(gallery_numbers[found].tolist()), tuple(similarity.tolist()))
        for number, found, similarity in zip(query_numbers, indices_QK, similarities_QK, strict=True)
    ]


def pick_queries(labels: Sequence[str | None], count: int = 8) -> list[int]:
    """Positions of ``count`` queries that show as many classes as can be, class by class in sorted order.

    Within a class the queries are taken evenly from the first to the last, so that the choice is the same every time
    and does not look at the result.
    """
    members: dict[str, list[int]] = {}
    for position, label in enumerate(labels):
        members.setdefault(label or "", []).append(position)
    classes = sorted(members)
    if len(classes) > count:
        classes = [classes[i] for i in np.linspace(0, len(classes) - 1, count).round().astype(int)]
    turns = -(-count // max(1, len(classes)))
    queues = {name: _evenly(members[name], turns) for name in classes}
    picked = [queues[name][turn] for turn in range(turns) for name in classes if turn < len(queues[name])]
    return picked[:count]


def _evenly(items: list[int], count: int) -> list[int]:
    count = min(count, len(items))
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]  # the middle of each part
