"""How well is a temporal task predicted on unseen clips, how far do plain frame differences get in it, and which of its
classes are confused?

Shapes: P examples, C channels, T frames, S pixels, M classes, F numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cacl.data.clips.augment import centre_crop
from cacl.data.clips.sampling import TooShort
from cacl.data.randomness import generator
from cacl.data.videos.catalog import Skipped
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.sources import FrameSource
from cacl.errors import VideoError
from cacl.evaluation.reading import read_clips, read_videos
from cacl.methods.task import Task
from cacl.models.encoder import ClipSpec

HIDDEN = 64


@dataclass(frozen=True)
class TaskResult:
    """How well the classes of unseen examples are predicted.

    Attributes:
        accuracy: percent.
        cross_entropy: nats an example; the logarithm of M is knowing nothing.
        mean_error: mean absolute difference of the most probable and the true class's value, None where classes have
            no order.
        examples: how many.
    """

    accuracy: float
    cross_entropy: float
    mean_error: float | None
    examples: int


@dataclass(frozen=True)
class TaskExamples:
    """Examples drawn from videos: what the small classifier needs of each, and the head's scores if it was asked.

    Attributes:
        differences: float64 ``[P, F]``, see :meth:`cacl.methods.task.Task.differences`.
        classes: int64 ``[P]``.
        logits: float32 ``[P, M]``, or None.
        skipped: videos that could not be read, or are too short.
    """

    differences: NDArray[np.float64]
    classes: NDArray[np.int64]
    logits: NDArray[np.float32] | None
    skipped: tuple[Skipped, ...]

    def network_result(self, task: Task) -> TaskResult:
        """The head's own result on these examples."""
        if self.logits is None:
            raise ValueError("the examples were drawn without a network")
        return score(task, torch.from_numpy(self.logits), torch.from_numpy(self.classes))


class _Drawn(NamedTuple):
    """The examples of one video, as a reading thread hands them over."""

    clips: tuple[Tensor, ...]  # uint8 [draws, T, H, W, 3] each
    targets: Mapping[str, NDArray[np.int64]]
    differences: list[NDArray[np.float64]]


def draw_examples(
    task: Task,
    data: Dataset,
    clip: ClipSpec,
    *,
    purpose: str,
    draws: int,
    seed: int,
    encoder: nn.Module | None = None,
    device: torch.device | str = "cpu",
    threads: int = 2,
) -> TaskExamples:
    """Draw examples at random places of every video, as evaluation sees them (centre crop).

    Seed, purpose, number of the video and draw decide, so that two networks, and the baseline, meet the same ones.

    Args:
        data: the videos.
        clip: what a clip is to the encoder.
        purpose: examples for training and for testing are drawn apart.
        draws: examples a video; 4 for training and 3 for testing are usual.
        encoder: whose features the task's head is shown, in evaluation mode; None scores nothing.

    Raises:
        UserError: if no video could be read.
    """

    def read(own_source: FrameSource, number: int) -> _Drawn:
        video = data.catalog.videos[number]
        try:
            plans = [
                task.draw(video.frames, generator(seed, f"{task.name} pairs {purpose}", number, draw))
                for draw in range(draws)
            ]
        except TooShort as error:
            raise VideoError(video.path, f"too short for this task ({video.frames} frames)") from error
        clips = tuple(
            torch.from_numpy(read_clips(own_source, number, np.stack(own)))
            for own in zip(*(plan.clips for plan in plans), strict=True)
        )
        shown = [centre_crop(own, clip.size) for own in clips]
        differences = [task.differences([own[d] for own in shown], plan.targets) for d, plan in enumerate(plans)]
        targets = {name: np.stack([plan.targets[name] for plan in plans]) for name in plans[0].targets}
        return _Drawn(clips, targets, differences)

    differences, classes, logits, skipped = [], [], [], list[Skipped]()
    for _, drawn in read_videos(data, read, skipped=skipped, threads=threads):
        differences.extend(drawn.differences)
        classes.append(drawn.targets[task.name])
        if encoder is not None:
            logits.append(_scores(task, encoder, drawn, clip, device))
    logits_PM = np.concatenate(logits) if logits else None
    return TaskExamples(np.stack(differences), np.concatenate(classes), logits_PM, tuple(skipped))


@torch.no_grad()
def _scores(
    task: Task, encoder: nn.Module, drawn: _Drawn, clip: ClipSpec, device: torch.device | str
) -> NDArray[np.float32]:
    pixels: dict[str, Any] = {"mean": clip.pixel_mean, "std": clip.pixel_std, "standardise": clip.standardise}
    seen = [centre_crop(own.to(device), clip.size, **pixels) for own in drawn.clips]
    targets = {name: torch.from_numpy(value).to(device) for name, value in drawn.targets.items()}
    logits: NDArray[np.float32] = task.logits(encoder, seen, targets).float().cpu().numpy()
    return logits


def difference_baseline(
    task: Task, train: TaskExamples, test: TaskExamples, *, seed: int = 0, steps: int = 4000, batch_size: int = 256
) -> TaskResult:
    """Train a small classifier of frame differences on one set of examples and score it on the other.

    The standardised numbers, 64 hidden units, ReLU; Adam in mini-batches for a fixed number of steps, learning rate
    1e-2 with cosine decay, weight decay 1e-4. Seeded; leaves the global random state alone.
    """
    centre, scale = train.differences.mean(axis=0), train.differences.std(axis=0) + 1e-8
    x_PF = torch.from_numpy((train.differences - centre) / scale).float()
    y_P = torch.from_numpy(train.classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(x_PF.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, len(task.values)))
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
        logits = model(torch.from_numpy((test.differences - centre) / scale).float())
    return score(task, logits, torch.from_numpy(test.classes))


def score(task: Task, logits_PM: Tensor, classes_P: Tensor) -> TaskResult:
    """Accuracy, cross entropy and, of ordered classes, the mean error in their values."""
    predicted_P, values_M = logits_PM.argmax(dim=1), torch.tensor(task.values)
    away_P = (values_M[predicted_P] - values_M[classes_P]).abs().float()
    return TaskResult(
        accuracy=100.0 * float((predicted_P == classes_P).float().mean()),
        cross_entropy=float(F.cross_entropy(logits_PM.float(), classes_P)),
        mean_error=float(away_P.mean()) if task.ordered else None,
        examples=len(classes_P),
    )


@dataclass(frozen=True, eq=False)
class TaskConfusion:
    """True against predicted classes.

    Attributes:
        counts: int64 ``[M, M]``, row = true class, column = predicted.
        values: of each class, as ``(0, 2, 3, …)``.
        ordered: whether the distance of two values means anything.
    """

    counts: NDArray[np.int64]
    values: tuple[int, ...]
    ordered: bool = True

    def numbers(self) -> dict[str, Any]:
        """For ``results.json``: percent; errors in values, ``error of one answer`` is that of the best constant."""
        values, pairs = np.array(self.values), int(self.counts.sum())
        found: dict[str, Any] = {
            "accuracy": 100.0 * float(np.trace(self.counts)) / pairs,
            "chance": 100.0 / len(values),
            "pairs": pairs,
            "values": list(self.values),
            "counts": self.counts.tolist(),
        }
        if not self.ordered:
            return found
        away_MM = np.abs(values[:, None] - values[None, :])
        constant_M = self.counts.sum(axis=1) @ away_MM / pairs
        return {
            **found,
            "within one": 100.0 * float(self.counts[away_MM <= 1].sum()) / pairs,
            "mean error": float((self.counts * away_MM).sum() / pairs),
            "error of one answer": float(constant_M.min()),
        }


def task_confusion(
    true_P: NDArray[np.int64], predicted_P: NDArray[np.int64], values: Sequence[int], *, ordered: bool = True
) -> TaskConfusion:
    """Count examples by true and predicted class.

    Args:
        true_P: classes 0 … M - 1, at least one example.
        predicted_P: likewise.
        values: of each class.

    Raises:
        ValueError: other lengths, no example, or a class that is none.
    """
    size = len(values)
    if len(true_P) != len(predicted_P) or len(true_P) == 0:
        raise ValueError(f"{len(true_P)} true and {len(predicted_P)} predicted classes")
    classes = np.concatenate([true_P, predicted_P])
    if classes.min() < 0 or classes.max() >= size:
        raise ValueError(f"classes are 0 to {size - 1}, found {classes.min()} to {classes.max()}")
    counts = np.bincount(true_P * size + predicted_P, minlength=size * size).reshape(size, size)
    return TaskConfusion(counts.astype(np.int64), tuple(values), ordered)
