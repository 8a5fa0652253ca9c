"""CACL and all of its ablations (paper section 3, Tables 1 and 2) as settings of one class.

A clip x and its shuffled twin x~ go through the 3D CNN G, and their frames through the video transformer T. Momentum
copies of both see the same clip and the same shuffle under another augmentation (view k). Pairs of the four embeddings
are drawn together against a queue of keys; a second head tells the degree of the shuffle from G(x) and G(x~).

Shapes: B batch, C channels, T frames, H W pixels, D features of G, F features of a frame, E = 128 embedding, K queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cacl.data.augment import Standardise, normalise_, standard_frames
from cacl.data.clips import ClipPlan, training_clip
from cacl.data.shuffle import DegreeSampler, degree_class, shuffle_degree, subset_shuffle, uniform_permutation
from cacl.methods.batch import StepOutput, ViewBatch
from cacl.methods.losses import contrastive_loss, degree_loss
from cacl.methods.momentum import Queue, momentum_copy, momentum_update, scheduled_momentum
from cacl.methods.permute import formatted, permute_frames, permute_tokens
from cacl.methods.shuffled import Shuffled
from cacl.methods.two_way import two_way_contrast
from cacl.models.cnn3d import CNN3D
from cacl.models.heads import DegreeHead, DegreeInput, contrast_head
from cacl.models.processes import gathered
from cacl.models.transformer import VideoTransformer
from cacl.sections import section

Pair = Literal["gq_gk", "gq_tq", "gq_tk", "tq_tk"]


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
        if self.standardise != "none":
            x_BCTHW = normalise_(x_BCTHW.clone(), standardise=self.standardise)
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


class CACL(nn.Module):
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
        pairs: Sequence[Pair] = ("gq_gk", "gq_tq", "gq_tk", "tq_tk"),
        loss: Literal["inside", "outside"] = "inside",
        degree_weight: float = 1.0,
        degree_sampling: Literal["uniform", "permutation", "subset"] = "uniform",
        temperature: float = 0.07,
        momentum: float = 0.999,
        momentum_schedule: Literal["constant", "cosine"] = "constant",
        queue_size: int = 6400,
        key_order: Literal["same", "swapped"] = "same",
        mask_own_keys: bool = False,
        batch_negatives: bool = False,
        tq_negatives: bool = False,
        symmetric: bool = False,
        two_way: bool = False,
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
            batchnorm: with ``process``, each process's own, other processes compute Gk (``shuffled.py``).
        """
        super().__init__()
        if any("t" in pair for pair in pairs) and (transformer is None or frame_encoder is None):
            raise ValueError("pairs with T need a transformer and a frame encoder")
        self.frames, self.stride, self.start_window, self.moments = frames, stride, start_window, moments
        self.twin, self.pairs, self.loss = twin, tuple(pairs), loss
        self.degree_weight, self.degree_sampling = degree_weight, degree_sampling
        self.temperature, self.momentum, self.momentum_schedule = temperature, momentum, momentum_schedule
        self.swapped = key_order == "swapped"
        self.mask_own_keys, self.batch_negatives, self.symmetric = mask_own_keys, batch_negatives, symmetric
        self.tq_negatives, self.two_way = tq_negatives, two_way
        self.shuffle_keys = batchnorm == "process"
        self.sampler = DegreeSampler(frames)

        self.query = VideoEncoder(network, twin=twin, one_pass=one_pass, standardise=standardise, projection=projection)
        self.degree = DegreeHead(
            network.num_features,
            hidden=degree_hidden,
            dropout=degree_dropout,
            classes=len(self.sampler.degrees),
            input=degree_input,
        )
        self.transformer = transformer
        self.frame_encoder = frame_encoder.requires_grad_(False).eval() if frame_encoder is not None else None
        copies = bool(pairs) and not two_way
        self.key = momentum_copy(self.query) if copies else None
        copied = transformer if copies and self._uses("tk") else None
        self.key_transformer = None if copied is None else momentum_copy(copied)
        self.queue = Queue(queue_size, 128) if copies else None

    # What the loop asks for ------------------------------------------------------------------------------------------

    @property
    def encoder(self) -> CNN3D:
        """The 3D CNN that stays."""
        return self.query.network

    @property
    def views(self) -> int:
        """Augmentation draws a sample: q alone for the degree task, q and k for the contrast."""
        return 2 if self.pairs else 1

    @property
    def uniforms(self) -> int:
        """Random numbers a sample that ``forward`` wants: the degree head's dropout, a set a direction; the shuffle."""
        return self.degree.hidden * (2 if self.symmetric else 1) + self.shuffle_keys

    def train(self, mode: bool = True) -> CACL:
        """As usual, but the frozen frame encoder stays in evaluation mode."""
        super().train(mode)
        if self.frame_encoder is not None:
            self.frame_encoder.eval()
        return self

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """Frames of one sample, its shuffle and the class of its degree (sections 3.2 and 3.3)."""
        frames_NT = training_clip(
            n_frames,
            rng,
            frames=self.frames,
            stride=self.stride,
            start_window=self.start_window,
            moments=self.moments,
        )
        if not self.twin:
            return ClipPlan(frames_NT)
        if self.degree_sampling == "uniform":
            permutation, degree = self.sampler.draw(rng)
        else:
            draw = uniform_permutation if self.degree_sampling == "permutation" else subset_shuffle
            permutation = draw(self.frames, rng)
            degree = shuffle_degree(permutation)
        return ClipPlan(frames_NT, {"permutation": permutation, "degree": np.array(degree_class(degree))})

    def forward(self, batch: ViewBatch) -> StepOutput:
        """Loss terms of one batch; nothing in the method changes (BatchNorm's running statistics aside)."""
        frames: dict[int, Tensor] = {}
        output = self._one_direction(batch, frames, batch.uniforms[:, : self.degree.hidden])
        if not (self.symmetric and self.pairs):
            return output
        uniforms = batch.uniforms[:, self.degree.hidden : 2 * self.degree.hidden]
        back = self._one_direction(batch, frames, uniforms, q=1, k=0)
        mean = {name: (output.terms[name] + back.terms[name]) / 2 for name in output.terms}
        metrics = {name: (output.metrics[name] + back.metrics[name]) / 2 for name in output.metrics}
        return StepOutput(mean, metrics, output.features, output.keys, output.key_videos)

    @torch.no_grad()
    def after_step(self, output: StepOutput, progress: float) -> None:
        """After the optimiser's step: move the momentum copies, then put this step's keys into the queue.

        Args:
            output: of ``forward``.
            progress: share of training done, in [0, 1].
        """
        if self.key is None or self.queue is None or output.keys is None or output.key_videos is None:
            return
        momentum = scheduled_momentum(self.momentum, self.momentum_schedule, progress)
        momentum_update(self.key, self.query, momentum)
        if self.key_transformer is not None and self.transformer is not None:
            momentum_update(self.key_transformer, self.transformer, momentum)
        self.queue.enqueue(output.keys, output.key_videos)

    # The computation -------------------------------------------------------------------------------------------------

    def _one_direction(
        self, batch: ViewBatch, frames: dict[int, Tensor], uniforms: Tensor, *, q: int = 0, k: int = 1
    ) -> StepOutput:
        """The loss with view ``q`` as the query and view ``k`` as the key; ``frames`` keeps what is encoded already."""
        permutation_BT = batch.targets["permutation"] if self.twin else None
        with section("G query, forward"):
            features = self.query.features(batch.views[q], permutation_BT)  # G(x), G(x~)
        pair_features = torch.stack(features)  # [1 or 2, B, D]: here each term's gradient is measured
        features = tuple(pair_features)
        terms: dict[str, Tensor] = {}
        metrics: dict[str, Tensor] = {}
        keys = None
        if self.pairs and self.two_way:
            terms["nce"] = self._two_way(batch, features, frames, permutation_BT, metrics)
        elif self.pairs:
            embeddings = {"gq": self.query.embed(features)}
            embeddings |= self._other_embeddings(batch, frames, permutation_BT, q, k)
            for_all = ("gk", "tq", "tk") if self.batch_negatives else ("gk", "tk")  # negatives, or keys of the queue
            others = {name: gathered(embeddings[name]) for name in for_all if name in embeddings}
            keys = torch.cat([others[name] for name in ("gk", "tk") if name in others]).detach()
            terms["nce"] = self._contrast(embeddings, others, batch.video, metrics)
        if self.twin:
            with torch.autocast(pair_features.device.type, enabled=False):
                dropped = uniforms if self.training else None
                logits_BM = self.degree(features[0], features[1], dropped)
                terms["degree"] = degree_loss(logits_BM, batch.targets["degree"])  # Eq. 6
            hits = logits_BM.detach().argmax(dim=1) == batch.targets["degree"]
            metrics["degree_accuracy"] = hits.float().mean()
        total = torch.zeros((), device=pair_features.device)
        if "nce" in terms:
            total = total + terms["nce"]
        if "degree" in terms:
            total = total + self.degree_weight * terms["degree"]  # L = L_nce + lambda * L_cls
        video_B = gathered(batch.video)
        videos = None if keys is None else video_B.repeat(len(keys) // len(video_B))
        return StepOutput({**terms, "total": total}, metrics, pair_features, keys, videos)

    def _two_way(
        self,
        batch: ViewBatch,
        features: tuple[Tensor, ...],
        frames: dict[int, Tensor],
        permutation_BT: Tensor | None,
        metrics: dict[str, Tensor],
    ) -> Tensor:
        """The contrast without copies and queue: view k goes through G and T themselves, with gradients."""
        embeddings = {"gq": self.query.embed(features)}
        with section("G, view k"):
            embeddings["gk"] = self.query.embed(self.query.features(batch.views[1], permutation_BT))
        if self.transformer is not None:
            for name, view in (("tq", 0), ("tk", 1)):
                features_BTF = self._frame_features(batch, frames, view)
                embeddings[name] = self._transform(self.transformer, features_BTF, permutation_BT, swapped=False)
        with torch.autocast(batch.video.device.type, enabled=False):
            for pair in self.pairs:
                a, b = pair.split("_")
                metrics[f"similarity_{pair}"] = (embeddings[a] * embeddings[b]).sum(dim=1).detach().mean()
            return two_way_contrast(embeddings, self.pairs, batch.video, temperature=self.temperature)

    def _other_embeddings(
        self, batch: ViewBatch, frames: dict[int, Tensor], permutation_BT: Tensor | None, q: int, k: int
    ) -> dict[str, Tensor]:
        """Gk, Tq and Tk, each ``[B, E]``, as far as the pairs need them."""
        found: dict[str, Tensor] = {}
        assert self.key is not None
        with torch.no_grad(), section("G key"):
            found["gk"] = self._key_embedding(self.key, batch, permutation_BT, k)
        if self._uses("tq") and self.transformer is not None:
            with section("T query, forward"):
                features_BTF = self._frame_features(batch, frames, q)
                found["tq"] = self._transform(self.transformer, features_BTF, permutation_BT, swapped=False)
        if self.key_transformer is not None:
            with torch.no_grad(), section("T key"):
                features_BTF = self._frame_features(batch, frames, k)
                found["tk"] = self._transform(self.key_transformer, features_BTF, permutation_BT, swapped=self.swapped)
        return found

    def _key_embedding(self, key: VideoEncoder, batch: ViewBatch, permutation_BT: Tensor | None, k: int) -> Tensor:
        """Gk ``[B, E]``; with ``shuffle_keys`` each process computes that of samples from all of them."""
        x_BCTHW, shuffled = batch.views[k], None
        if self.shuffle_keys:
            shuffled = Shuffled(batch.uniforms[:, -1])
            x_BCTHW = formatted(shuffled.out(x_BCTHW), like=x_BCTHW)
            permutation_BT = None if permutation_BT is None else shuffled.out(permutation_BT)
        features = key.features(x_BCTHW, permutation_BT)
        embedding_BE = key.embed(features[::-1] if self.swapped else features)
        return embedding_BE if shuffled is None else shuffled.back(embedding_BE)

    @torch.no_grad()
    def _frame_features(self, batch: ViewBatch, frames: dict[int, Tensor], view: int) -> Tensor:
        """Features of a view's frames, ``[B, T, F]``; the frozen encoder sees each frame of a view once."""
        assert self.frame_encoder is not None
        if view not in frames:
            B, _, T = batch.views[view].shape[:3]
            frames_NCHW = standard_frames(batch.views[view], self.query.standardise != "none")
            with section("frame encoder"):
                frames[view] = self.frame_encoder(frames_NCHW).view(B, T, -1)
        return frames[view]

    def _transform(
        self, transformer: VideoTransformer, features_BTF: Tensor, permutation_BT: Tensor | None, *, swapped: bool
    ) -> Tensor:
        """Unit T embedding ``[B, E]`` of clip and twin; the twin's tokens are the clip's, permuted."""
        tokens_BTD = transformer.embed(features_BTF)
        if permutation_BT is not None:
            parts = [tokens_BTD, permute_tokens(tokens_BTD, permutation_BT)]
            tokens_BTD = torch.cat(parts[::-1] if swapped else parts, dim=1)
        return F.normalize(transformer(tokens_BTD).float(), dim=1)

    def _contrast(
        self, embeddings: dict[str, Tensor], others: dict[str, Tensor], video_B: Tensor, metrics: dict[str, Tensor]
    ) -> Tensor:
        """Eq. 3 and 4 over the pairs asked for; all of the four similarities go to the metrics where they exist.

        ``others`` are the embeddings of the whole batch, ``embeddings`` and ``video_B`` those of this process's share.
        """
        assert self.queue is not None
        with torch.autocast(video_B.device.type, enabled=False):
            similarity = {}
            for pair in ("gq_gk", "gq_tq", "gq_tk", "tq_tk"):
                a, b = pair.split("_")
                if a in embeddings and b in embeddings:
                    similarity[pair] = (embeddings[a].float() * embeddings[b].float()).sum(dim=1)
                    metrics[f"similarity_{pair}"] = similarity[pair].detach().mean()
            metrics["similarity_negatives"] = (embeddings["gq"].float() @ self.queue.keys.T).detach().mean()
            of_tq = [pair for pair in self.pairs if pair == "tq_tk" and self.tq_negatives]
            loss = torch.zeros((), device=video_B.device)
            of_gq = [pair for pair in self.pairs if pair not in of_tq]
            for query, pairs in (("gq", of_gq), ("tq", of_tq)):
                if pairs:
                    loss = loss + len(pairs) / len(self.pairs) * contrastive_loss(
                        [similarity[pair] for pair in pairs],
                        self._negatives(embeddings[query].float(), others, video_B),
                        temperature=self.temperature,
                        form=self.loss,
                    )
            return loss

    def _negatives(self, query_BE: Tensor, others: dict[str, Tensor], video_B: Tensor) -> Tensor:
        """Cosines of Gq or Tq with what it is to differ from, ``[B, K]``; ``-inf`` for what is left out."""
        assert self.queue is not None
        negatives_BK = query_BE @ self.queue.keys.T
        if self.mask_own_keys:
            own_BK = video_B[:, None] == self.queue.videos[None, :]
            negatives_BK = negatives_BK.masked_fill(own_BK, -torch.inf)
        if self.batch_negatives:
            same = video_B[:, None] == gathered(video_B)[None, :]
            for name in ("gk", "tq", "tk"):  # without Tq, Gq and Tq run away from old keys
                if name in others:
                    others_BB = query_BE @ others[name].float().T
                    negatives_BK = torch.cat([negatives_BK, others_BB.masked_fill(same, -torch.inf)], dim=1)
        return negatives_BK

    def _uses(self, embedding: str) -> bool:
        return any(embedding in pair for pair in self.pairs)
