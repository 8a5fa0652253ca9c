"""``evaluate``: the paper's retrieval protocol on a run, always beside chance and what needs no learning.

Section 4.3: ten clips a video, the last convolution max-pooled, averaged over the clips; each test video queries the
training videos by cosine similarity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
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
from cacl.evaluation.reference_rows import ReferenceRows, kept_rows
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
    keep: bool = True,
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
        keep: take the rows that need no training from an earlier run on the same videos, see ``reference_rows``.

    Raises:
        UserError: no labels, or no test part.
    """
    train, test = retrieval_parts(data, say=say)
    protocol = _Protocol(data, train, test, clips, device, autocast_dtype, ks, say)
    without_training = partial(protocol.references, untrained, seed=seed, plain=references)
    known = kept_rows(
        without_training,
        data,
        [*test, *train],
        untrained,
        plain=references,
        seed=seed,
        clips=clips,
        ks=ks,
        device=device,
        autocast_dtype=autocast_dtype,
        say=say,
    ) if keep else without_training()  # fmt: skip
    rows = {name: protocol.row(name, encoder) for name, encoder in encoders.items()}
    return Retrieval(
        {**known.recalls, **{name: row.recalls for name, row in rows.items()}},
        next((row.neighbours() for row in reversed(rows.values())), []),
        len(test),
        len(train),
        data.test_part,
        next((row.skipped for row in reversed(rows.values())), []),
        {**known.right, **{name: row.right for name, row in rows.items()}},
    )


@dataclass(frozen=True, eq=False)
class _Row:
    """One encoder's features of the test videos and of the training videos, and what they find."""

    data: Dataset
    recalls: dict[str, float]
    right: dict[int, bool]
    query: NDArray[np.float32]
    gallery: NDArray[np.float32]
    asked: NDArray[np.int64]
    there: NDArray[np.int64]
    skipped: list[str]

    def neighbours(self) -> list[Neighbours]:
        """Of some queries of as many classes as can be."""
        picked = pick_queries([next(iter(video.labels), None) for video in self.data.videos(self.asked.tolist())])
        return _neighbours(self.query[picked], self.gallery, self.asked[picked], self.there)


@dataclass(frozen=True, eq=False)
class _Protocol:
    """Everything that is the same for every row."""

    data: Dataset
    train: list[int]
    test: list[int]
    clips: int
    device: str
    autocast_dtype: torch.dtype | None
    ks: Sequence[int]
    say: Callable[[str], None]

    @property
    def several(self) -> bool:
        """Whether a video has several labels."""
        return any(self.data.catalog.videos[i].several for i in (*self.train, *self.test))

    def recall(self, query: NDArray[np.float32], gallery: NDArray[np.float32], q: Any, g: Any) -> dict[str, float]:
        """Recall@k of features of the videos with these numbers."""
        if self.several:
            return related_at_k(query, gallery, related(self.data, q, g), ks=self.ks)
        return recall_at_k(query, gallery, self._labels(q), self._labels(g), ks=self.ks)

    def _labels(self, numbers: Any) -> NDArray[np.str_]:
        return np.array([self.data.catalog.videos[number].label or "" for number in numbers])

    def references(self, untrained: Encoder | None, *, seed: int, plain: bool) -> ReferenceRows:
        """The rows that need no training; ``plain``: those that need no network, too."""
        recalls, right, whole = dict[str, dict[str, float]](), dict[str, dict[int, bool]](), True
        if plain:
            if self.several:
                recalls["chance"] = related_chance(related(self.data, self.test, self.train), ks=self.ks)
            else:
                recalls["chance"] = chance(self._labels(self.test), self._labels(self.train), ks=self.ks)
            query, gallery = (video_baselines(self.data.subset(part)) for part in (self.test, self.train))
            q_kept, g_kept = np.array(self.test)[query.kept], np.array(self.train)[gallery.kept]
            recalls["colour histogram"] = self.recall(query.histogram, gallery.histogram, q_kept, g_kept)
            recalls["thumbnail"] = self.recall(query.thumbnail, gallery.thumbnail, q_kept, g_kept)
            whole = not query.skipped and not gallery.skipped
        if untrained is not None:
            ready = with_statistics(untrained, self.data, self.train, seed, self.device)
            for name, encoder in (("untrained", untrained), ("untrained, batch statistics", ready)):
                row = self.row(name, encoder)
                recalls[name], right[name], whole = row.recalls, row.right, whole and not row.skipped
        return ReferenceRows(recalls, right, whole)

    def row(self, name: str, encoder: Encoder) -> _Row:
        """What an encoder finds."""
        self.say(f"Features of {counted(len(self.train) + len(self.test), 'video')}, {name} …")
        (q, asked, q_bad), (g, there, g_bad) = (
            _features(encoder, self.data, part, self.clips, self.device, self.autocast_dtype)
            for part in (self.test, self.train)
        )
        right = first_right(q, g, related(self.data, asked.tolist(), there.tolist()), asked)
        return _Row(self.data, self.recall(q, g, asked, there), right, q, g, asked, there, q_bad + g_bad)


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
