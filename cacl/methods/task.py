"""A temporal task: classes of a clip's time that a head on the encoder predicts, and how anybody can test that.

One object serves the loss of its method, the test at the end of a run, the analysis and the report. The test draws
examples of its own from any videos, as evaluation sees them, and sets the head beside a small classifier of plain frame
differences (``cacl/evaluation/task_test.py``): a task that is no better than that has taught the encoder nothing.

Shapes: B examples, C channels, T frames, S pixels, M classes, F numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from cacl.data.clips.sampling import ClipPlan


class Task(Protocol):
    """What a method says of each of its tasks.

    Attributes:
        name: a word, the key of its results; ``draw`` gives the class of an example under this name.
        title: for readers, as ``Clip order``.
        values: of each class, M numbers. Where they are ordered, an error of 1 is nearly right.
        ordered: whether they are.
        advice: what to set where the head knows no more than frame differences do.
    """

    name: str
    title: str
    values: tuple[int, ...]
    ordered: bool
    advice: str

    def draw(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """Clips of one example from a video of ``n_frames``, its class, and what else ``logits`` wants to know.

        Raises:
            TooShort: the video is too short for an example.
        """

    def logits(self, encoder: nn.Module, clips: Sequence[Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """``[B, M]`` of examples in evaluation; each of ``clips`` is float32 ``[B, 3, T, S, S]``, as the encoder's."""

    def differences(self, clips: Sequence[Tensor], targets: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float64]:
        """Numbers ``[F]`` of one example's frame differences; ``clips`` are float32 ``[3, T, S, S]`` in [0, 1]."""
