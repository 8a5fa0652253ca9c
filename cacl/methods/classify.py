"""Supervised fine-tuning as a method: the 3D CNN with a linear classifier on its pooled feature (paper section 4.4).

It fits the same loop as the self-supervised methods, so that resuming, mixed precision and logging are theirs.

Shapes: B batch, C channels, T frames, H W pixels, D features of G, K classes, V training videos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cacl.data.clips.normalise import Standardise, standardised
from cacl.data.clips.sampling import ClipPlan, training_clip
from cacl.methods.contract import MAIN, Group, Method, MethodBatch, StepOutput
from cacl.methods.curves import Curve
from cacl.models.cnn3d import CNN3D

LATE = ("conv4", "conv5", "linear")  # released code: these names keep the small rate


class Classify(Method):
    """Cross entropy of a linear layer on G(x), all of G trained.

    Attributes:
        network: G; the authors' fine-tuning has the layer ``linear`` beside its stages, and so has this.
        linear: logits of the classes.
        norm: of the features before it, or None.
    """

    curves = (Curve("Accuracy", {"accuracy": "training clips"}, percent=True, shown={"accuracy": "right"}),)
    labels: Tensor

    def __init__(
        self,
        network: CNN3D,
        *,
        classes: int,
        labels: Sequence[int],
        frames: int = 16,
        stride: int = 2,
        standardise: Standardise = "none",
        norm: Literal["none", "batch"] = "none",
        dropout: float = 0.0,
        late_lr: float | None = None,
    ) -> None:
        """Put the parts together; the linear layer has PyTorch's default initialisation.

        Args:
            network: G, pretrained or not.
            classes: K.
            labels: class of each training video, 0 … K-1, by the number that ``batch.video`` names.
            frames: T, frames a clip.
            stride: video frames from one clip frame to the next.
            standardise: of each clip, as the encoder was trained.
            norm: ``batch`` brings every feature to mean 0 and deviation 1 before the linear layer (as linear probes do
                since He et al. 2022): features of a pretrained network differ little beside their mean, and a fresh
                layer would learn slowly from them.
            dropout: share of the features that are dropped before the linear layer, in [0, 1).
            late_lr: a constant learning rate for the late parameters, as in the released code; None for one schedule.
        """
        super().__init__()
        self.network, self.linear = network, nn.Linear(network.num_features, classes)
        self.norm = nn.BatchNorm1d(network.num_features, affine=False) if norm == "batch" else None
        self.frames, self.stride, self.standardise, self.dropout = frames, stride, standardise, dropout
        self.late_lr, self.uniforms = late_lr, network.num_features  # a number a feature, for the dropout
        self.register_buffer("labels", torch.tensor(list(labels), dtype=torch.int64), persistent=False)

    @property
    def encoder(self) -> CNN3D:
        """The 3D CNN."""
        return self.network

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """One clip from anywhere in the video."""
        return ClipPlan(tuple(training_clip(n_frames, rng, frames=self.frames, stride=self.stride)))

    def forward(self, batch: MethodBatch) -> StepOutput:
        """Cross entropy, and the share of the batch that is right."""
        features_BD = self.network(standardised(batch.views[0], self.standardise)).float()
        with torch.autocast(features_BD.device.type, enabled=False):
            x_BD = features_BD if self.norm is None else self.norm(features_BD)
            if self.training and self.dropout > 0:
                x_BD = x_BD * (batch.uniforms >= self.dropout) / (1 - self.dropout)
            logits_BK = self.linear(x_BD)
            target_B = self.labels[batch.video]
            loss = F.cross_entropy(logits_BK, target_B)
        right = (logits_BK.detach().argmax(dim=1) == target_B).float().mean()
        return StepOutput({MAIN: loss}, {}, {"accuracy": right}, features_BD)

    def parameter_groups(self) -> Mapping[str, Sequence[Group]]:
        """One group, and with ``late_lr`` the released code's two.

        Parameters with ``conv4``, ``conv5`` or ``linear`` in their name keep the constant rate; all others follow the
        schedule, among them every BatchNorm of C3D, whose names (``bn4a``) carry no stage's ``conv``.
        """
        if self.late_lr is None:
            return super().parameter_groups()
        early, late = list[nn.Parameter](), list[nn.Parameter]()
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                (late if any(word in name for word in LATE) else early).append(parameter)
        return {MAIN: [Group(early), Group(late, constant=self.late_lr)]}

    @torch.no_grad()
    def folded(self) -> nn.Linear:
        """The linear layer on the features themselves, in evaluation: the norm's running statistics worked into it."""
        linear = nn.Linear(self.linear.in_features, self.linear.out_features)
        scale_D, shift_D = torch.ones(linear.in_features), torch.zeros(linear.in_features)
        if self.norm is not None:
            assert self.norm.running_var is not None
            assert self.norm.running_mean is not None
            scale_D = (self.norm.running_var.cpu().double() + self.norm.eps).rsqrt()
            shift_D = self.norm.running_mean.cpu().double()
        weight_KD = self.linear.weight.detach().cpu().double() * scale_D
        linear.weight.copy_(weight_KD)
        linear.bias.copy_(self.linear.bias.detach().cpu().double() - weight_KD @ shift_D.double())
        return linear
