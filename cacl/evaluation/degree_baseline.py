"""The degree baseline: how far do plain frame differences get in telling shuffle degrees?

Fourteen numbers a pair of clip and shuffled twin (fewer below five frames), and a small classifier. A network that
reaches no more has learned no more than that neighbouring frames look alike. The pairs are drawn once and serve network
and baseline alike.

Shapes: P pairs, B batch, C channels, T frames, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
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
from cacl.models.encoder import ClipSpec

LAGS = (1, 2, 3, 4)
HIDDEN = 64


@dataclass(frozen=True)
class DegreeResult:
    """How well shuffle degrees are told on unseen pairs.

    Attributes:
        accuracy: percent.
        cross_entropy: nats a pair; the logarithm of the number of degrees (ln 16 = 2.77) is knowing nothing.
        mean_error: mean absolute difference of the most probable and the true degree.
        pairs: how many pairs.
    """

    accuracy: float
    cross_entropy: float
    mean_error: float
    pairs: int


@dataclass(frozen=True)
class DegreePairs:
    """Pairs drawn from videos: what the classifier needs of each, and the network's scores if a network was asked.

    Attributes:
        features: float64 ``[P, 14]`` for five frames and more, see :func:`difference_features`.
        classes: int64 ``[P]``, the degree classes.
        logits: float32 ``[P, classes]``, or None.
        skipped: videos that could not be read.
    """

    features: NDArray[np.float64]
    classes: NDArray[np.int64]
    logits: NDArray[np.float32] | None
    skipped: tuple[Skipped, ...]

    def network_result(self) -> DegreeResult:
        """The network's own result on these pairs."""
        if self.logits is None:
            raise ValueError("the pairs were drawn without a network")
        return score(torch.from_numpy(self.logits), torch.from_numpy(self.classes))


def difference_features(clip_CTHW: Tensor, permutation: NDArray[np.int64]) -> NDArray[np.float64]:
    """Fourteen numbers of a pair: seven of the clip, seven of its twin ``clip_CTHW[:, permutation]``.

    The seven, each the log of a mean absolute pixel difference: the mean over all frames at lags 1 to 4 (1 to T - 1 in
    clips of fewer than five frames, whose numbers are fewer), and the
    largest, median and smallest of neighbouring frames. A tenth of a grey level is added so that still frames have a
    logarithm.

    Args:
        clip_CTHW: float32 in [0, 1], T at least 2.
        permutation: the twin's frames, ``[T]``.
    """
    frames_TP = clip_CTHW.transpose(0, 1).flatten(1)
    difference_TT = (torch.cdist(frames_TP, frames_TP, p=1) / frames_TP.shape[1]).double().numpy()
    twin_TT = difference_TT[np.ix_(permutation, permutation)]
    return np.array([*_seven(difference_TT), *_seven(twin_TT)])


def _seven(difference_TT: NDArray[np.float64]) -> list[float]:
    neighbours = np.diagonal(difference_TT, 1)
    means = [float(np.diagonal(difference_TT, lag).mean()) for lag in LAGS if lag < len(difference_TT)]
    values = [*means, float(neighbours.max()), float(np.median(neighbours)), float(neighbours.min())]
    return [math.log(value + 0.1 / 255) for value in values]


class _Drawn(NamedTuple):
    """The pairs of one video, as a reading thread hands them over."""

    clips: Tensor
    permutations: NDArray[np.int64]
    classes: list[int]
    features: list[NDArray[np.float64]]


def draw_pairs(
    data: Dataset,
    clip: ClipSpec,
    *,
    purpose: Literal["train", "test"],
    draws: int,
    seed: int,
    network: Callable[[Tensor, Tensor], Tensor] | None = None,
    device: torch.device | str = "cpu",
    threads: int = 2,
) -> DegreePairs:
    """Draw clips at random places of every video with a twin of random degree, as evaluation sees them (centre crop).

    Degree uniform, then permutation (paper section 3.3). Seed, purpose, number of the video and draw decide, so
    that two networks, and the baseline, meet the same pairs.

    Args:
        data: the videos.
        clip: what the network sees; the frame differences are those of its centre crop in [0, 1].
        purpose: training and test pairs are drawn apart.
        draws: pairs a video; 4 for training and 3 for testing are usual.
        network: ``(clip_BCTHW, twin_BCTHW) -> logits [B, classes]`` of ``clip.pixels``; the caller puts it into eval
            mode.

    Raises:
        UserError: if no video could be read.
    """
    sampler = DegreeSampler(clip.frames)

    def read(own: FrameSource, number: int) -> _Drawn:
        clips, permutations, classes = [], [], []
        for draw in range(draws):
            rng = generator(seed, f"degree pairs {purpose}", number, draw)
            count = data.catalog.videos[number].frames
            clips.append(training_clip(count, rng, frames=clip.frames, stride=clip.stride)[0])
            permutation, degree = sampler.draw(rng)
            permutations.append(permutation)
            classes.append(degree_class(degree))
        clips_BTHWC = torch.from_numpy(read_clips(own, number, np.stack(clips)))
        pairs = zip(centre_crop(clips_BTHWC, clip.size), permutations, strict=True)
        features = [difference_features(clip_CTHW, permutation) for clip_CTHW, permutation in pairs]
        return _Drawn(clips_BTHWC, np.stack(permutations), classes, features)

    features, classes, logits, skipped = [], [], [], list[Skipped]()
    for _, drawn in read_videos(data, read, skipped=skipped, threads=threads):
        features.extend(drawn.features)
        classes.extend(drawn.classes)
        if network is not None:
            clip_BCTHW = clip.pixels(drawn.clips.to(device))
            with torch.no_grad():
                scores = network(clip_BCTHW, _twins(clip_BCTHW, drawn.permutations))
            logits.append(scores.float().cpu().numpy())
    logits_PK = np.concatenate(logits) if logits else None
    return DegreePairs(np.stack(features), np.array(classes, np.int64), logits_PK, tuple(skipped))


def _twins(clip_BCTHW: Tensor, permutations_BT: NDArray[np.int64]) -> Tensor:
    order = torch.from_numpy(permutations_BT).to(clip_BCTHW.device)
    return torch.stack([clip[:, permutation] for clip, permutation in zip(clip_BCTHW, order, strict=True)])


def degree_baseline(
    train: DegreePairs, test: DegreePairs, *, classes: int = 16, seed: int = 0, steps: int = 4000, batch_size: int = 256
) -> DegreeResult:
    """Train the small classifier on one set of pairs and score it on the other.

    The standardised features, 64 hidden units, ReLU; Adam in mini-batches for a fixed number of steps, learning
    rate 1e-2 with cosine decay, weight decay 1e-4. Seeded; leaves the global random state alone.

    Args:
        classes: how many degrees there are, ``len(possible_degrees(frames))``.
    """
    centre, scale = train.features.mean(axis=0), train.features.std(axis=0) + 1e-8
    x_PF = torch.from_numpy((train.features - centre) / scale).float()
    y_P = torch.from_numpy(train.classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(x_PF.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes))
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            rows = torch.randint(len(x_PF), (min(batch_size, len(x_PF)),))
            loss = F.cross_entropy(model(x_PF[rows]), y_P[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        logits = model(torch.from_numpy((test.features - centre) / scale).float())
    return score(logits, torch.from_numpy(test.classes))


def score(logits_PK: Tensor, classes_P: Tensor) -> DegreeResult:
    """Accuracy, cross entropy and mean error in degrees (class 0 is degree 0, class c above is degree c + 1)."""
    predicted = logits_PK.argmax(dim=1)
    degree, true = (c + (c > 0).long() for c in (predicted, classes_P))
    return DegreeResult(
        accuracy=100.0 * float((predicted == classes_P).float().mean()),
        cross_entropy=float(F.cross_entropy(logits_PK.float(), classes_P)),
        mean_error=float((degree - true).abs().float().mean()),
        pairs=len(classes_P),
    )
