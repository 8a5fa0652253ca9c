"""The 3D CNN learns beside a video transformer that stands on a frozen image encoder ("assisted").

As in CACL (section 3.2), T reads features of frames from a frozen network, and G and T are drawn together. Here that
network is one of others (``cacl import --image-encoder``): what it says of some moments of each video is computed once,
so that a step has no frame network and no stage before it. T's two looks at a video differ by drop-out in time and in
features. G is taught by both of its clips, without a momentum copy, as in CVRL.

Shapes: B samples of the global batch, b of this process, L moments of a video, F features of one, E = 128 embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cacl.distributed.processes import gathered
from cacl.methods.contract import MAIN, MethodBatch, StepOutput
from cacl.methods.curves import MOCO_CURVES, Curve
from cacl.methods.cvrl import CVRL, among_other_videos, nt_xent, own_rows_of
from cacl.models.cnn3d import CNN3D
from cacl.models.image.frozen_frames import FrozenFrames, with_gaps
from cacl.models.transformer import VideoTransformer
from cacl.settings import MethodSettings, Positive, Rate, Settings

PAIRS = Curve(
    "Similarity of G and T", {"similarity_gt": "G and T", "similarity_tt": "T and T"}, shown={"similarity_gt": "G-T"}
)


class AssistedSettings(MethodSettings):
    """How T looks at the table. No other values than these have been tried (``docs/recipes.md``)."""

    name: Literal["assisted"] = "assisted"
    temperature: Rate = 0.1
    moments: Positive = 4  # of a video, that the frozen encoder looks at
    moment_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5  # share of them that a look of T leaves out
    feature_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3

    @property
    def frozen_moments(self) -> int:
        """So many frames of each video are looked at before the training."""
        return self.moments

    def curves(self, frames: int) -> Sequence[Curve]:
        """Similarities of G's clips, of G with T, and of T's looks."""
        return (*MOCO_CURVES, PAIRS)

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> Assisted:
        """G and a T over the table of frozen features."""
        assert isinstance(frame_encoder, FrozenFrames)
        kept = max(1, round(self.moments * (1 - self.moment_dropout)))
        transformer = VideoTransformer(
            frame_encoder.num_features,
            frames=kept,
            clips=1,
            width=settings.model.token_width,
            depth=settings.model.depth,
            heads=settings.model.heads,
        )
        return Assisted(
            network,
            transformer,
            frame_encoder,
            feature_dropout=self.feature_dropout,
            frames=settings.data.frames,
            stride=settings.data.stride,
            temperature=self.temperature,
            standardise=settings.model.standardise,
            projection=settings.model.projection,
        )


class Assisted(CVRL):
    """CVRL, with T over frozen features beside G.

    Args:
        network: G.
        transformer: T, of ``frames`` moments and one clip.
        frozen: the table that T reads.
        feature_dropout: see ``with_gaps``.
        **cvrl: the arguments of ``CVRL``.
    """

    def __init__(
        self,
        network: CNN3D,
        transformer: VideoTransformer,
        frozen: FrozenFrames,
        *,
        feature_dropout: float = 0.3,
        **cvrl: object,
    ) -> None:
        super().__init__(network, **cvrl)  # type: ignore[arg-type]
        if transformer.tokens > frozen.moments:
            raise ValueError(f"T reads {transformer.tokens} moments, the table has {frozen.moments}")
        self.transformer, self.frozen, self.feature_dropout = transformer, frozen, feature_dropout
        self.look = frozen.moments + frozen.num_features
        self.uniforms = 2 * self.look

    def networks(self) -> Sequence[nn.Module]:
        """G and T."""
        return [self.network, self.transformer]

    def forward(self, batch: MethodBatch) -> StepOutput:
        """The mean of four contrasts: of G's clips, of G with T's look of either number, and of T's looks."""
        features_2bD, (g1_bE, g2_bE) = self.both(batch)
        with torch.autocast(features_2bD.device.type, enabled=False):
            t1_bE, t2_bE = self.looks(batch)
            gg, metrics = nt_xent(g1_bE, g2_bE, batch.video, temperature=self.temperature)
            tt, of_tt = nt_xent(t1_bE, t2_bE, batch.video, temperature=self.temperature)
            g_nE, t_NE = torch.cat([g1_bE, g2_bE]), torch.cat([gathered(t1_bE), gathered(t2_bE)])
            first = own_rows_of(batch.video)
            second = first + len(t_NE) // 2
            (same, of_same), (crossed, of_crossed) = (
                among_other_videos(g_nE, t_NE, target_n, batch.video.repeat(2), temperature=self.temperature)
                for target_n in (torch.cat([first, second]), torch.cat([second, first]))
            )
            loss = (gg + same + crossed + tt) / 4
        metrics["similarity_gt"] = (of_same["similarity_positive"] + of_crossed["similarity_positive"]) / 2
        metrics["similarity_tt"] = of_tt["similarity_positive"]
        return StepOutput({MAIN: loss}, {"nce": loss}, metrics, features_2bD)

    def looks(self, batch: MethodBatch) -> tuple[Tensor, Tensor]:
        """T's two looks at the videos of the batch, unit rows ``[b, E]``."""
        frozen_bLF, found = self.frozen(batch.video), []
        for uniforms in batch.uniforms.chunk(2, dim=1):
            seen_bkF = with_gaps(frozen_bLF, uniforms, kept=self.transformer.tokens, dropout=self.feature_dropout)
            found.append(F.normalize(self.transformer(self.transformer.embed(seen_bkF)), dim=1))
        return found[0], found[1]
