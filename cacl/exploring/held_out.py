"""What held-out labels say of classes: cross-validation over videos, so that no video is on both sides.

Stretches of one video are alike whatever their label; a probe that has seen one of them knows the others. So whole
videos are held out, up to five times, and each time everything is fitted anew, the penalty too.

Shapes: N samples, D features, E labels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cacl.errors import counted
from cacl.evaluation.probes import LogisticModel, fit_logistic, fit_probe
from cacl.exploring.examples import Examples

FOLDS = 5
FEW_VIDEOS = 10  # below that, a share says little
PENALTY = 0.1  # where there are too few videos to choose one
_TOLERANCE = 1e-6  # of the gradient: a class is never decided by the digits behind it, and people wait

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class HeldOut:
    """How often labels of videos that were held out are told right.

    Attributes:
        right: labels that were told right.
        labels: labels that were told.
        videos: that these are of.
        guess: the share that naming the most frequent class each time would have right.
        untested: classes that are in one video only, and so were never held out.
    """

    right: int
    labels: int
    videos: int
    guess: float
    untested: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For a JSON file."""
        return {**asdict(self), "untested": list(self.untested), "words": self.words()}

    def words(self) -> str:
        """The same, said."""
        untested = ""
        if self.untested:
            untested = f" Not tested, as they are labelled in one video only: {', '.join(self.untested)}."
        if not self.labels:
            return f"Too few labels to say how good this is: label each kind in two videos or more.{untested}"
        said = (
            f"Of {counted(self.labels, 'label')} in {counted(self.videos, 'video')} that were held out, {self.right} "
            f"were told right ({100 * self.right / self.labels:.0f} %); the most frequent class alone would have "
            f"{100 * self.guess:.0f} %."
        )
        few = " So few videos say little: label more of them." if self.videos < FEW_VIDEOS else ""
        return said + few + untested


def fit(x_ND: Vectors, y_N: NDArray[np.int64], video_N: NDArray[np.int64], *, classes: int) -> LogisticModel:
    """The linear probe of ``cacl.evaluation.probes``, of fewer than three videos with a fixed penalty; classes alike.

    How many labels a kind has says how diligent somebody was, not how frequent it is. So the logarithm of a class's
    share of the samples is taken from its bias (logit adjustment, Menon et al. 2021). Without it the class of a video
    that is held out, which is then rarer than the others, would be told wrong for that alone.
    """
    if len(np.unique(video_N)) < 3:
        model = fit_logistic(x_ND, y_N, classes=classes, penalty=PENALTY, tolerance=_TOLERANCE)
    else:
        model = fit_probe(x_ND, y_N, video_N, classes=classes, tolerance=_TOLERANCE)
    share = np.maximum(np.bincount(y_N, minlength=classes), 1) / len(y_N)
    return replace(model, bias=model.bias - torch.from_numpy(np.log(share)))


def held_out(x_ND: Vectors, examples: Examples) -> HeldOut:
    """Tell each label by what is learnt from the labels of other videos.

    A label is told by the mean of its vectors' logits. One whose class is in no other video cannot be told, and does
    not count.

    Args:
        x_ND: vectors of ``examples.rows``.
        examples: what they are.
    """
    label, video, entry = examples.label, examples.video, examples.entry
    fold = folds(label, video)
    told, right = np.zeros(len(label), np.bool_), np.zeros(len(label), np.bool_)
    for number in range(int(fold.max()) + 1):
        held = fold == number
        train = ~held[entry]
        known = np.unique(label[~held])
        testable = np.flatnonzero(held & np.isin(label, known))
        if len(known) < 2 or not len(testable):
            continue
        model = fit(x_ND[train], label[entry[train]], video[entry[train]], classes=len(examples.classes))
        for one in testable.tolist():
            logits = model.scores(x_ND[entry == one]).mean(dim=0).numpy()
            told[one], right[one] = True, known[logits[known].argmax()] == label[one]
    several = [np.unique(video[label == k]).size > 1 for k in range(len(examples.classes))]
    counts = np.bincount(label[told], minlength=1)
    return HeldOut(
        right=int(right.sum()),
        labels=int(told.sum()),
        videos=int(np.unique(video[told]).size),
        guess=float(counts.max() / max(told.sum(), 1)),
        untested=tuple(name for name, has in zip(examples.classes, several, strict=True) if not has),
    )


def folds(label_E: NDArray[np.int64], video_E: NDArray[np.int64]) -> NDArray[np.int64]:
    """A fold for each label, 0 … 4, the same for all labels of a video.

    Classes with the fewest videos are dealt out first, each video to the fold that has fewest of its class (then the
    fewest videos), so that two videos of a class are never together while a fold is without one.
    """
    videos = np.unique(video_E)
    count = min(FOLDS, len(videos))
    fold = dict[int, int]()
    classes = np.unique(label_E).tolist()
    of_class = {k: np.unique(video_E[label_E == k]).tolist() for k in classes}
    for k in sorted(classes, key=lambda k: (len(of_class[k]), k)):
        for video in of_class[k]:
            if video in fold:
                continue
            own = [sum(fold.get(other) == f for other in of_class[k]) for f in range(count)]
            all_of = [sum(f == g for g in fold.values()) for f in range(count)]
            fold[video] = min(range(count), key=lambda f: (own[f], all_of[f], f))
    return np.array([fold[video] for video in video_E.tolist()], np.int64)
