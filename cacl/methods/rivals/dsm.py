"""DSM (Wang et al., AAAI 2021): a clip stays near when its scene is warped, not when its motion is another.

The anchor is warped, all of its frames alike; its positive are the same frames, clean, under the momentum copy. What
shares the scene but not the motion, another clip of the video or one whose frames are each warped otherwise, is pushed
away with gradient, beside a queue of other videos.

Shapes: b samples, T frames, S pixels of a side, P = S * S pixels, G = 25 control points, E = 128 embedding, K keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from cacl.data.clips.sampling import ClipPlan, clip_window
from cacl.distributed.processes import gathered, own_rows
from cacl.methods.contract import MAIN, Method, MethodBatch, StepOutput, View
from cacl.methods.curves import Curve, Mark
from cacl.methods.losses import contrastive_loss
from cacl.methods.moco import Queue, batch_negatives, momentum_copy, momentum_update, scheduled_momentum
from cacl.methods.permute import formatted
from cacl.methods.rivals.moco_settings import MoCoSettings
from cacl.methods.video_encoder import VideoEncoder
from cacl.models.cnn3d import CNN3D
from cacl.settings import NotNegative, Settings, refuse

PUSHES = 3  # at most
SIDE = 5  # control points a side


class DSMSettings(MoCoSettings):
    """The values of the authors' code; ``small`` has the negatives of V-MoCo there."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "small": {**MoCoSettings.presets["small"], "temperature": 0.1, "batch_negatives": True}
    }

    name: Literal["dsm"] = "dsm"
    warp: Literal["push", "tps"] = "push"  # of the anchor: local pushes, or a thin-plate spline
    negative: Literal["other_clip", "tps_per_frame", "none"] = "other_clip"  # the scene without the motion
    loss: Literal["contrastive", "triplet"] = "contrastive"
    margin: NotNegative = 0.5  # of the triplet loss
    batch_negatives: bool = False  # the keys of the batch's other videos are negatives too

    @model_validator(mode="after")
    def _consistent(self) -> DSMSettings:
        if self.loss == "triplet" and self.negative == "none":
            refuse(["method.loss triplet needs a negative (found method.negative none)"])
        return self

    def curves(self, frames: int) -> Sequence[Curve]:
        """Similarities, and how often the warped clip is nearer than the other."""
        similarity, norm = super().curves(frames)
        if self.negative == "none":
            return [similarity, norm]
        lines = {**similarity.lines, "similarity_disturbed": "same scene, other motion"}
        nearer = Curve(
            "Motion kept is nearer than scene kept",
            {"motion_accuracy": "training clips"},
            references=(Mark("chance", 0.5),),
            percent=True,
            shown={"motion_accuracy": "motion right"},
        )
        return [nearer, Curve(similarity.title, lines), norm]

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> DSM:
        """Clips of ``data.frames`` frames, ``data.stride`` apart."""
        encoder = VideoEncoder(
            network,
            twin=False,
            one_pass=False,
            standardise=settings.model.standardise,
            projection=settings.model.projection,
        )
        own = self.model_dump(exclude={"name"})
        return DSM(encoder, **own, frames=settings.data.frames, stride=settings.data.stride)


class DSM(Method):
    """InfoNCE of the warped clip with its clean frames against the queue and the negative, or two triplets."""

    def __init__(
        self,
        query: VideoEncoder,
        *,
        frames: int = 16,
        stride: int = 1,
        warp: Literal["push", "tps"] = "push",
        negative: Literal["other_clip", "tps_per_frame", "none"] = "other_clip",
        loss: Literal["contrastive", "triplet"] = "contrastive",
        margin: float = 0.5,
        temperature: float = 0.07,
        momentum: float = 0.999,
        momentum_schedule: Literal["constant", "cosine"] = "constant",
        queue_size: int = 16384,
        mask_own_keys: bool = False,
        batch_negatives: bool = False,
    ) -> None:
        super().__init__()
        self.frames, self.stride, self.warp, self.negative = frames, stride, warp, negative
        self.loss, self.margin, self.temperature = loss, margin, temperature
        self.mask_own_keys, self.batch_negatives = mask_own_keys, batch_negatives
        self.momentum, self.momentum_schedule = momentum, momentum_schedule
        self.query, self.key, self.queue = query, momentum_copy(query), Queue(queue_size)
        other = View(clip=1 if negative == "other_clip" else 0, draw=2)
        self.views = (View(draw=0), View(draw=1), *([] if negative == "none" else [other]))
        self.shared = 1 + 4 * PUSHES if warp == "push" else 0
        splines = (warp == "tps") + (frames if negative == "tps_per_frame" else 0)
        self.uniforms = splines * 2 * SIDE**2

    @property
    def encoder(self) -> CNN3D:
        """The network."""
        return self.query.network

    def networks(self) -> Sequence[nn.Module]:
        """The network and its copy."""
        return [self.query.network, self.key.network]

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """A clip, and where it is wanted another one, moved on by a third of the starts if the two are nearly one."""
        window = clip_window(n_frames, frames=self.frames, stride=self.stride)
        first, second = (int(start) for start in rng.integers(window.starts, size=2))
        if abs(first - second) < 2:
            second = (second + window.starts // 3) % window.starts
        starts = (first, second)[: 2 if self.negative == "other_clip" else 1]
        clip_T = window.stride * np.arange(self.frames, dtype=np.int64)
        return ClipPlan(tuple((start + clip_T) % n_frames for start in starts))

    def forward(self, batch: MethodBatch) -> StepOutput:
        """Warp, encode, compare."""
        features_bD = self.query.features(self.warped(batch), None)[0]
        q_bE = self.query.embed([features_bD])
        with torch.no_grad():
            k_bE = self.key.embed(self.key.features(batch.views[1], None))
        n_bE = None
        if self.negative != "none":
            n_bE = self.query.embed(self.query.features(self.disturbed(batch), None))
        with torch.autocast(features_bD.device.type, enabled=False):
            positive_b = (q_bE * k_bE).sum(dim=1)
            negatives = [self.queue.negatives(q_bE, batch.video, mask_own_keys=self.mask_own_keys)]
            if self.batch_negatives:
                negatives += batch_negatives(q_bE, [gathered(k_bE)], batch.video)
            metrics = {
                "similarity_positive": positive_b.detach().mean(),
                "similarity_negatives": (q_bE.detach() @ self.queue.keys.T).mean(),
            }
            if n_bE is not None:
                disturbed_b = (q_bE * n_bE).sum(dim=1)
                negatives.append(disturbed_b[:, None])
                metrics["similarity_disturbed"] = disturbed_b.detach().mean()
                metrics["motion_accuracy"] = (positive_b > disturbed_b).float().mean()
            if self.loss == "triplet" and n_bE is not None:
                loss = triplets(q_bE, k_bE, n_bE, margin=self.margin)
            else:
                negative_bN = torch.cat(negatives, dim=1)
                loss = contrastive_loss([positive_b], negative_bN, temperature=self.temperature, form="outside")
        return StepOutput({MAIN: loss}, {"nce": loss}, metrics, features_bD, {"key": k_bE})

    def warped(self, batch: MethodBatch) -> Tensor:
        """View 0, all frames alike; pushes are one draw for the whole batch."""
        view = batch.views[0]
        if self.warp == "push":
            return formatted(pushed(view, batch.shared), like=view)
        return formatted(splined(view, batch.uniforms[:, None, : 2 * SIDE**2]), like=view)

    def disturbed(self, batch: MethodBatch) -> Tensor:
        """View 2; where it shows the anchor's frames, each is warped otherwise."""
        view = batch.views[2]
        if self.negative == "other_clip":
            return view
        of_frames = torch.unflatten(batch.uniforms[:, -self.frames * 2 * SIDE**2 :], 1, (self.frames, -1))
        return formatted(splined(view, of_frames), like=view)

    @torch.no_grad()
    def after_step(self, state: Mapping[str, Tensor], video: Tensor, progress: float) -> None:
        """Move the copy, enqueue the clean clips' keys."""
        momentum_update(self.key, self.query, scheduled_momentum(self.momentum, self.momentum_schedule, progress))
        self.queue.enqueue(state["key"], video)


def triplets(q_bE: Tensor, k_bE: Tensor, n_bE: Tensor, *, margin: float) -> Tensor:
    """``[|q - k| - |q - n| + margin]+``, n each sample's own negative, plus the same with the batch's in reverse."""
    near_b = (q_bE - k_bE).norm(dim=1)
    others = (n_bE, own_rows(gathered(n_bE).flip(0)))
    return sum((F.relu(near_b - (q_bE - n).norm(dim=1) + margin).mean() for n in others), near_b.new_zeros(()))


def pushed(x_b3TSS: Tensor, uniforms: Tensor) -> Tensor:
    """One to three local pushes, the same for all clips and frames; pixels outside of their boxes stay.

    At a side of 224 (scaled to others) a push has a centre c of 60 … 139 and a shift v of 10 … 19 each way. Within
    c ± 3v a pixel at x reads from ``x - v/2 / (3 (|x - c - v| / |v|)^4 + 1)``, truncated.

    Args:
        uniforms: ``[13]`` in [0, 1): how many, then centre and shift of each.
    """
    size = x_b3TSS.shape[-1]
    place_S = torch.arange(size, device=x_b3TSS.device)
    number, source_P = 1 + (PUSHES * uniforms[0]).long(), torch.arange(size**2, device=x_b3TSS.device)
    for i, draw in enumerate(uniforms[1:].view(PUSHES, 4)):
        centre, shift = (60 + (80 * draw[:2]).floor()) * size / 224, (10 + (10 * draw[2:]).floor()) * size / 224
        away_2S = place_S - centre[:, None]  # along height and along width
        inside_2S = away_2S.abs() <= 3 * shift[:, None]
        beyond_2S = (away_2S - shift[:, None]).square()
        ratio_SS = (beyond_2S[0][:, None] + beyond_2S[1]).square() / shift.square().sum().square()  # to the fourth
        pull_SS = 0.5 / (3 * ratio_SS + 1) * (inside_2S[0][:, None] & inside_2S[1]) * (i < number)
        row_SS, column_SS = (
            (grid - pull_SS * step).trunc().long().clamp(0, size - 1)
            for grid, step in zip(torch.meshgrid(place_S, place_S, indexing="ij"), shift, strict=True)
        )
        source_P = source_P[(row_SS * size + column_SS).flatten()]
    return x_b3TSS.flatten(-2)[..., source_P].view_as(x_b3TSS)


def splined(x_b3TSS: Tensor, uniforms_bTU: Tensor, *, jitter: float = 0.1) -> Tensor:
    """Warp by thin-plate splines that move 5 x 5 control points by up to ``jitter`` of half the side, each way.

    Args:
        uniforms_bTU: ``[b, T or 1, 50]`` in [0, 1), of every frame or of a clip's frames alike.
    """
    frames, size = x_b3TSS.shape[2], x_b3TSS.shape[-1]
    line_S = torch.linspace(-1, 1, size, device=x_b3TSS.device, dtype=x_b3TSS.dtype)
    here_P2 = torch.cartesian_prod(line_S, line_S).flip(-1)  # x, y as grid_sample wants
    moved_bTG2 = jitter * (2 * torch.unflatten(uniforms_bTU.to(x_b3TSS), 2, (SIDE**2, 2)) - 1)
    grid_bTP2 = here_P2 + spline_basis(here_P2) @ moved_bTG2
    grid_NSS2 = grid_bTP2.expand(-1, frames, -1, -1).reshape(-1, size, size, 2)
    frames_N3SS = x_b3TSS.transpose(1, 2).flatten(0, 1)
    warped = F.grid_sample(frames_N3SS, grid_NSS2, padding_mode="border", align_corners=True)
    return warped.view(len(x_b3TSS), frames, 3, size, size).transpose(1, 2)


def spline_basis(places_P2: Tensor) -> Tensor:
    """``[P, G]``: how far a place moves where each control point moves by one (Bookstein 1989), in [-1, 1]."""
    line = torch.linspace(-1, 1, SIDE, dtype=torch.float64)
    points_G2 = torch.cartesian_prod(line, line).flip(-1)

    def terms(x_N2: Tensor) -> Tensor:
        """``[N, G + 3]``: r^2 log r^2 of every control point, then 1, x, y."""
        squared = (x_N2[:, None] - points_G2).square().sum(dim=2)
        return torch.cat([torch.xlogy(squared, squared), torch.ones(len(x_N2), 1).double(), x_N2], dim=1)

    at_points = terms(points_G2)
    affine = at_points[:, SIDE**2 :]
    system = torch.cat([at_points, F.pad(affine.T, (0, 3))])  # the last three: weights that no plane takes
    solved = torch.linalg.solve(system, torch.eye(SIDE**2 + 3, dtype=torch.float64)[:, : SIDE**2])
    basis: Tensor = terms(places_P2.double().cpu()) @ solved
    return basis.to(places_P2)
