"""CACL and all of its ablations (paper section 3, Tables 1 and 2) as settings of one class.

A clip x and its shuffled twin x~ go through the 3D CNN G, and their frames through the video transformer T. Momentum
copies of both see the same clip and the same shuffle under another augmentation (view k). Pairs of the four embeddings
are drawn together against a queue of keys; a second head predicts the degree of the shuffle from G(x) and G(x~).

Shapes: B batch (b of this process), C channels, T frames, H W pixels, D features of G, F features of a frame, E = 128
embedding, K keys of the queue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cacl.data.clips.normalise import Standardise, standard_frames, standardised
from cacl.data.clips.sampling import ClipPlan, training_clip
from cacl.distributed.processes import gathered
from cacl.methods.contract import MAIN, Method, MethodBatch, StepOutput, View
from cacl.methods.degree import DegreeInput, DegreeSampling, ShuffleDegree
from cacl.methods.losses import contrastive_loss
from cacl.methods.moco import (
    Queue,
    batch_negatives,
    momentum_copy,
    momentum_update,
    scheduled_momentum,
    shuffled_keys,
)
from cacl.methods.pairs import ALL_PAIRS, Pair
from cacl.methods.permute import formatted, permute_frames, permute_tokens
from cacl.methods.task import Task
from cacl.models.cnn3d import CNN3D
from cacl.models.heads import contrast_head
from cacl.models.transformer import VideoTransformer
from cacl.sections import section


class VideoEncoder(nn.Module):
    """G with its contrast head: what has a momentum copy (paper Fig. 1)."""

    def __init__(
        self,
        network: CNN3D,
        *,
        twin: bool,
        one_pass: bool,
        standardise: Standardise,
        projection: Literal["linear", "mlp"],
    ) -> None:
        super().__init__()
        self.network = network
        self.one_pass, self.standardise = one_pass, standardise
        self.contrast = contrast_head(network.num_features * (2 if twin else 1), projection=projection)

    def features(self, x_BCTHW: Tensor, permutation_BT: Tensor | None) -> tuple[Tensor, ...]:
        """(G(x),) or (G(x), G(x~)), each ``[B, D]`` float32.

        Two separate passes, as the authors' code, give each its own BatchNorm statistics: in training the mean
        difference of clips and twins is normalised away, in evaluation it is not. One pass shares the statistics.
        """
        x_BCTHW = standardised(x_BCTHW, self.standardise)
        if permutation_BT is None:
            return (self.network(x_BCTHW),)
        twin_BCTHW = permute_frames(x_BCTHW, permutation_BT)
        if not self.one_pass:
            return self.network(x_BCTHW), self.network(twin_BCTHW)
        both: Tensor = self.network(formatted(torch.cat([x_BCTHW, twin_BCTHW]), like=x_BCTHW))
        return both[: len(x_BCTHW)], both[len(x_BCTHW) :]

    def embed(self, features: Sequence[Tensor]) -> Tensor:
        """Unit embedding ``[B, E]`` of the concatenated features."""
        with torch.autocast(features[0].device.type, enabled=False):
            return F.normalize(self.contrast(torch.cat(list(features), dim=1)), dim=1)


@dataclass(frozen=True)
class Embeddings:
    """Gq, Gk, Tq and Tk of the paper, unit rows ``[b, E]``; None where no pair needs it."""

    gq: Tensor
    gk: Tensor
    tq: Tensor | None = None
    tk: Tensor | None = None

    def there(self, *names: str) -> dict[str, Tensor]:
        """Those of ``names`` that are not None."""
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}


class CACL(Method):
    """``plan`` chooses frames and shuffle, ``forward`` computes the loss, ``after_step`` moves copies and queue."""

    def __init__(
        self,
        network: CNN3D,
        transformer: VideoTransformer | None,
        frame_encoder: nn.Module | None,
        *,
        frames: int = 16,
        stride: int = 2,
        start_window: int | None = None,
        moments: int = 1,
        twin: bool = True,
        one_pass: bool = False,
        standardise: Standardise = "none",
        pairs: Sequence[Pair] = ALL_PAIRS,
        loss: Literal["inside", "outside"] = "inside",
        degree_weight: float = 1.0,
        degree_sampling: DegreeSampling = "uniform",
        temperature: float = 0.07,
        momentum: float = 0.999,
        momentum_schedule: Literal["constant", "cosine"] = "constant",
        queue_size: int = 6400,
        key_order: Literal["same", "swapped"] = "same",
        mask_own_keys: bool = False,
        batch_negatives: bool = False,
        tq_negatives: bool = False,
        projection: Literal["linear", "mlp"] = "linear",
        degree_hidden: int = 512,
        degree_dropout: float = 0.5,
        degree_input: DegreeInput = "pair",
        batchnorm: Literal["global", "process"] = "global",
    ) -> None:
        """Put the parts together; every argument is the setting of the same name.

        Args:
            network: G, whose weights stay when training is over.
            transformer: T, wanted when a pair names it.
            frame_encoder: the frozen network below T, wanted with it; ``[N, 3, H, W]`` to ``[N, F]``.
            batchnorm: with ``process``, each process's own, other processes compute Gk.
        """
        super().__init__()
        if any("t" in pair for pair in pairs) and (transformer is None or frame_encoder is None):
            raise ValueError("pairs with T need a transformer and a frame encoder")
        self.frames, self.stride, self.start_window, self.moments = frames, stride, start_window, moments
        self.twin, self.pairs, self.loss, self.degree_weight = twin, tuple(pairs), loss, degree_weight
        self.temperature, self.momentum, self.momentum_schedule = temperature, momentum, momentum_schedule
        self.swapped = key_order == "swapped"
        self.mask_own_keys, self.batch_negatives, self.tq_negatives = mask_own_keys, batch_negatives, tq_negatives
        self.shuffle_keys = batchnorm == "process"

        self.query = VideoEncoder(network, twin=twin, one_pass=one_pass, standardise=standardise, projection=projection)
        self.degree = ShuffleDegree(
            network.num_features,
            frames=frames,
            stride=stride,
            sampling=degree_sampling,
            hidden=degree_hidden,
            dropout=degree_dropout,
            input=degree_input,
        )
        self.transformer = transformer
        self.frame_encoder = frame_encoder.requires_grad_(False).eval() if frame_encoder is not None else None
        self.key = momentum_copy(self.query) if pairs else None
        self.key_transformer = momentum_copy(transformer) if self._uses("tk") and transformer is not None else None
        self.queue = Queue(queue_size) if pairs else None

        # view q, and for the contrast view k: of the same clip, or of another moment of the video
        self.views = (View(clip=0, draw=0), View(clip=moments - 1, draw=1))[: 2 if pairs else 1]
        self.uniforms = degree_hidden + self.shuffle_keys  # the degree head's dropout; the shuffle of the keys

    # What others ask for ---------------------------------------------------------------------------------------------

    @property
    def encoder(self) -> CNN3D:
        """The 3D CNN that stays."""
        return self.query.network

    def networks(self) -> Sequence[nn.Module]:
        """G and T with their copies, and the frame encoder."""
        key = None if self.key is None else self.key.network
        found = [self.encoder, key, self.frame_encoder, self.transformer, self.key_transformer]
        return [network for network in found if network is not None]

    def tasks(self) -> Sequence[Task]:
        """The shuffle degree, where it is learnt."""
        return [self.degree] if self.twin and self.degree_weight > 0 else []

    def train(self, mode: bool = True) -> CACL:
        """As usual, but the frozen frame encoder stays in evaluation mode."""
        super().train(mode)
        if self.frame_encoder is not None:
            self.frame_encoder.eval()
        return self

    @torch.no_grad()
    def embeddings(self, batch: MethodBatch) -> Mapping[str, Tensor]:
        """``gq``, ``gk``, ``tq``, ``tk`` (paper Table 3), as far as the pairs need them."""
        if not self.pairs:
            return {}
        features = self.query.features(batch.views[0], self._permutation(batch))
        return self._embeddings(batch, features).there("gq", "gk", "tq", "tk")

    @torch.no_grad()
    def attention(self, batch: MethodBatch) -> Tensor | None:
        """Of T's first layer over clip and twin of view q (paper Fig. 3): ``[B, L, L]``, the mean of its heads."""
        if self.transformer is None:
            return None
        tokens_BLD = self._tokens(self.transformer, batch.views[0], self._permutation(batch), swapped=False)
        return self.transformer.attention(tokens_BLD).mean(dim=1).cpu().double()

    # The step --------------------------------------------------------------------------------------------------------

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """Frames of one sample, its shuffle and the class of its degree (sections 3.2 and 3.3)."""
        clips = training_clip(
            n_frames,
            rng,
            frames=self.frames,
            stride=self.stride,
            start_window=self.start_window,
            moments=self.moments,
        )
        return ClipPlan(tuple(clips), self.degree.targets(rng) if self.twin else {})

    def forward(self, batch: MethodBatch) -> StepOutput:
        """L = L_nce + lambda L_cls of one batch."""
        with section("G query, forward"):
            features = self.query.features(batch.views[0], self._permutation(batch))  # G(x), G(x~)
        stacked = torch.stack(features)  # [1 or 2, B, D]: here each term's gradient is measured
        features = tuple(stacked)
        terms: dict[str, Tensor] = {}
        metrics: dict[str, Tensor] = {}
        state: dict[str, Tensor] = {}
        total = torch.zeros((), device=stacked.device)
        if self.pairs:
            embeddings = self._embeddings(batch, features)
            terms["nce"], metrics = self._contrast(embeddings, batch.video)  # Eq. 3 and 4
            state = embeddings.there("gk", "tk")
            total = total + terms["nce"]
        if self.twin:
            with torch.autocast(stacked.device.type, enabled=False):
                dropped = batch.uniforms[:, : self.degree.hidden] if self.training else None
                logits_BM = self.degree(features[0], features[1], dropped)
                terms["degree_loss"] = self.degree.loss(logits_BM, batch.targets)  # Eq. 6
            hits = logits_BM.detach().argmax(dim=1) == batch.targets[self.degree.name]
            metrics["degree_accuracy"] = hits.float().mean()
            total = total + self.degree_weight * terms["degree_loss"]
        return StepOutput({MAIN: total}, terms, metrics, stacked, state)

    @torch.no_grad()
    def after_step(self, state: Mapping[str, Tensor], video: Tensor, progress: float) -> None:
        """Move the momentum copies, then put this step's keys into the queue: Gk of all samples, then Tk."""
        if self.key is None or self.queue is None:
            return
        momentum = scheduled_momentum(self.momentum, self.momentum_schedule, progress)
        momentum_update(self.key, self.query, momentum)
        if self.key_transformer is not None and self.transformer is not None:
            momentum_update(self.key_transformer, self.transformer, momentum)
        keys = [state[name] for name in ("gk", "tk") if name in state]
        self.queue.enqueue(torch.cat(keys), video.repeat(len(keys)))

    # The embeddings --------------------------------------------------------------------------------------------------

    def _embeddings(self, batch: MethodBatch, features: Sequence[Tensor]) -> Embeddings:
        """Gq from its features, and Gk, Tq and Tk as far as the pairs need them."""
        permutation_BT, tq, tk = self._permutation(batch), None, None
        gq = self.query.embed(features)
        with torch.no_grad(), section("G key"):
            more = () if permutation_BT is None else (permutation_BT,)
            gk = shuffled_keys(
                self._key_embedding, batch.views[1], batch.uniforms[:, -1] if self.shuffle_keys else None, *more
            )
        if self._uses("tq") and self.transformer is not None:
            with section("T query, forward"):
                tq = self._transform(self.transformer, batch.views[0], permutation_BT, swapped=False)
        if self.key_transformer is not None:
            with torch.no_grad(), section("T key"):
                tk = self._transform(self.key_transformer, batch.views[1], permutation_BT, swapped=self.swapped)
        return Embeddings(gq, gk, tq, tk)

    def _key_embedding(self, x_BCTHW: Tensor, permutation_BT: Tensor | None = None) -> Tensor:
        assert self.key is not None
        features = self.key.features(x_BCTHW, permutation_BT)
        return self.key.embed(features[::-1] if self.swapped else features)

    def _transform(
        self, transformer: VideoTransformer, x_BCTHW: Tensor, permutation_BT: Tensor | None, *, swapped: bool
    ) -> Tensor:
        """Unit T embedding ``[B, E]`` of clip and twin."""
        tokens_BLD = self._tokens(transformer, x_BCTHW, permutation_BT, swapped=swapped)
        return F.normalize(transformer(tokens_BLD).float(), dim=1)

    def _tokens(
        self, transformer: VideoTransformer, x_BCTHW: Tensor, permutation_BT: Tensor | None, *, swapped: bool
    ) -> Tensor:
        """What T sees of a view, ``[B, L, D]``: the clip's tokens, then (where there is one) its twin's, permuted.

        With ``key_order="swapped"`` the twin comes first in view k, as in the authors' code.
        """
        assert self.frame_encoder is not None
        frames_NCHW = standard_frames(x_BCTHW, self.query.standardise != "none")
        with torch.no_grad(), section("frame encoder"):
            features_BTF = self.frame_encoder(frames_NCHW).view(len(x_BCTHW), x_BCTHW.shape[2], -1)
        tokens_BTD = transformer.embed(features_BTF)
        if permutation_BT is None:
            return tokens_BTD
        parts = [tokens_BTD, permute_tokens(tokens_BTD, permutation_BT)]
        return torch.cat(parts[::-1] if swapped else parts, dim=1)

    # The contrastive loss --------------------------------------------------------------------------------------------

    def _contrast(self, own: Embeddings, video_B: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 3 and 4 over the pairs, and all of the four similarities that there are."""
        assert self.queue is not None
        with torch.autocast(video_B.device.type, enabled=False):
            there = own.there("gq", "gk", "tq", "tk")
            similarity = {
                pair: (there[pair[:2]].float() * there[pair[3:]].float()).sum(dim=1)
                for pair in ALL_PAIRS
                if pair[:2] in there and pair[3:] in there
            }
            metrics = {f"similarity_{pair}": value.detach().mean() for pair, value in similarity.items()}
            metrics["similarity_negatives"] = (own.gq.float() @ self.queue.keys.T).detach().mean()
            # without Tq among the negatives, Gq and Tq run away from old keys together
            others = [gathered(value) for value in own.there("gk", "tq", "tk").values()] if self.batch_negatives else []
            of_tq = [pair for pair in self.pairs if pair == "tq_tk" and self.tq_negatives]
            of_gq = [pair for pair in self.pairs if pair not in of_tq]
            loss = torch.zeros((), device=video_B.device)
            for query, pairs in (("gq", of_gq), ("tq", of_tq)):
                if pairs:
                    loss = loss + len(pairs) / len(self.pairs) * contrastive_loss(
                        [similarity[pair] for pair in pairs],
                        self._negatives(there[query].float(), others, video_B),
                        temperature=self.temperature,
                        form=self.loss,
                    )
            return loss, metrics

    def _negatives(self, query_BE: Tensor, others: Sequence[Tensor], video_B: Tensor) -> Tensor:
        """Cosines of Gq or Tq with what it is to differ from, ``[B, K]``; ``-inf`` for what is left out."""
        assert self.queue is not None
        queued_BK = self.queue.negatives(query_BE, video_B, mask_own_keys=self.mask_own_keys)
        return torch.cat([queued_BK, *batch_negatives(query_BE, others, video_B)], dim=1) if others else queued_BK

    def _permutation(self, batch: MethodBatch) -> Tensor | None:
        return batch.targets["permutation"] if self.twin else None

    def _uses(self, embedding: str) -> bool:
        return any(embedding in pair for pair in self.pairs)
