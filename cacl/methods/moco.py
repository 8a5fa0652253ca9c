"""The core of MoCo (He et al. 2020; paper section 3.2): momentum copies, the queue of keys, negatives, shuffled keys.

``MoCo`` is the plain method: a query and a key of one network. Methods that need another form take the parts.

Shapes: B samples of the global batch, b of this process, K keys of the queue, E width of a key, F features.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from cacl.data.clips.normalise import Standardise, standardised
from cacl.distributed.processes import gathered, own_rows, world
from cacl.methods.contract import MAIN, Method, MethodBatch, StepOutput, View
from cacl.methods.curves import MOCO_CURVES
from cacl.methods.losses import contrastive_loss
from cacl.methods.permute import formatted
from cacl.models.cnn3d import CNN3D
from cacl.models.heads import contrast_head
from cacl.sections import section

M = TypeVar("M", bound=nn.Module)
WIDTH = 128  # E


def momentum_copy(module: M) -> M:
    """An equal copy that never receives gradients; its BatchNorm statistics are its own."""
    key = copy.deepcopy(module)
    return key.requires_grad_(False)


@torch.no_grad()
def momentum_update(key: nn.Module, query: nn.Module, momentum: float) -> None:
    """``key = momentum * key + (1 - momentum) * query`` for every parameter; buffers stay the key's own."""
    keys, queries = list(key.parameters()), [parameter.detach() for parameter in query.parameters()]
    if len(keys) != len(queries):
        raise ValueError(f"the copy has {len(keys)} parameters, its query {len(queries)}")
    move = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]
    move(keys, queries, 0)  # all in one kernel where the device has it


def scheduled_momentum(base: float, schedule: Literal["constant", "cosine"], progress: float) -> float:
    """The momentum at ``progress`` in [0, 1] of training; ``cosine`` rises from ``base`` to 1 (Grill et al. 2020)."""
    if schedule == "constant":
        return base
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2


class Queue(nn.Module):
    """K keys, first in first out, random unit vectors at the start (as the authors' code and MoCo).

    Attributes:
        keys: float32 ``[K, E]``, unit rows.
        videos: int64 ``[K]``, the video each key came from, -1 for the random ones.
        pointer: int64 scalar, where the next key goes.
    """

    keys: Tensor
    videos: Tensor
    pointer: Tensor

    def __init__(self, size: int, width: int = WIDTH) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(size, width), dim=1))
        self.register_buffer("videos", torch.full((size,), -1, dtype=torch.int64))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, keys: Tensor, videos: Tensor) -> None:
        """Write ``[n, E]`` keys over the oldest, wrapping around; of more than K keys the last K stay."""
        size = len(self.keys)
        places = (self.pointer + torch.arange(len(keys), device=keys.device)) % size
        places, keys, videos = places[-size:], keys[-size:], videos[-size:]
        self.keys[places] = keys.detach().to(self.keys.dtype)
        self.videos[places] = videos
        self.pointer.copy_((places[-1] + 1) % size)

    def cosines(self, query_bE: Tensor) -> Tensor:
        """With all keys, ``[b, K]``."""
        return query_bE @ self.keys.T

    def negatives(self, query_bE: Tensor, video_b: Tensor, *, mask_own_keys: bool) -> Tensor:
        """Cosines with all keys, ``[b, K]``; ``-inf`` for those of the query's own video where these are masked."""
        cosine_bK = self.cosines(query_bE)
        return self.without_own(cosine_bK, video_b) if mask_own_keys else cosine_bK

    def without_own(self, cosine_bK: Tensor, video_b: Tensor) -> Tensor:
        """The same cosines, ``-inf`` for keys of the query's own video."""
        return cosine_bK.masked_fill(video_b[:, None] == self.videos[None, :], -torch.inf)


def batch_negatives(query_bE: Tensor, others: Sequence[Tensor], video_b: Tensor) -> list[Tensor]:
    """Cosines with embeddings of the other videos in the batch, ``[b, B]`` each; ``-inf`` for the query's own video.

    Args:
        others: ``[B, E]`` each, of the samples of all processes.
    """
    same_bB = video_b[:, None] == gathered(video_b)[None, :]
    return [(query_bE @ other_BE.float().T).masked_fill(same_bB, -torch.inf) for other_BE in others]


class Shuffled:
    """ShuffleBN of MoCo v1: keys are computed by other processes than their queries.

    Where every process has BatchNorm of its own, the query and its key would share the statistics of one small batch,
    by which the pair could be told without looking at the videos. So samples are dealt out anew for the keys, in one
    order of the global batch, the same in every process.
    """

    def __init__(self, uniforms_b: Tensor) -> None:
        """``uniforms_b``: ``[b]`` in [0, 1), a random number of each sample; their order is the shuffle."""
        self._order_B = gathered(uniforms_b).argsort(stable=True)

    def out(self, rows: Tensor) -> Tensor:
        """Samples ``[b, …]`` of every process to those that are this one's for the keys, ``[b, …]``."""
        return rows if world() == 1 else own_rows(gathered(rows)[self._order_B])

    def back(self, rows: Tensor) -> Tensor:
        """What was computed of ``out``'s samples to the process of each sample."""
        return rows if world() == 1 else own_rows(gathered(rows)[self._order_B.argsort()])


class MoCo(Method):
    """MoCo v1 with one positive: view 0 through the query, view 1 through its momentum copy.

    Attributes:
        query: the network, then its contrast head; ``key`` is its momentum copy.
    """

    views: tuple[View, ...] = (View(draw=0), View(draw=1))
    uniforms = 1
    curves = MOCO_CURVES

    def __init__(
        self,
        network: nn.Module,
        features: int,
        *,
        temperature: float = 0.07,
        momentum: float = 0.999,
        momentum_schedule: Literal["constant", "cosine"] = "constant",
        queue_size: int = 65536,
        mask_own_keys: bool = False,
        batch_negatives: bool = False,
        projection: Literal["linear", "mlp"] = "linear",
        batchnorm: Literal["global", "process"] = "global",
        standardise: Standardise = "none",
    ) -> None:
        """Put the parts together.

        Args:
            network: what stays; its output is ``[n, features]``.
            mask_own_keys: keys of the query's own video are no negatives; ``batch.video`` tells which.
            batch_negatives: the keys of the batch's other videos are negatives too.
            batchnorm: with ``process``, each process's own, other processes compute the keys.
        """
        super().__init__()
        self.temperature, self.mask_own_keys = temperature, mask_own_keys
        self.momentum, self.momentum_schedule = momentum, momentum_schedule
        self.batch_negatives, self.shuffle_keys = batch_negatives, batchnorm == "process"
        self.standardise = standardise
        self.query = nn.Sequential(network, contrast_head(features, projection=projection))
        self.key = momentum_copy(self.query)
        self.queue = Queue(queue_size)

    @property
    def encoder(self) -> CNN3D:
        """The network."""
        return cast(CNN3D, self.query[0])

    def networks(self) -> Sequence[nn.Module]:
        """The network and its copy."""
        return [self.query[0], self.key[0]]

    def pixels(self, view: Tensor) -> Tensor:
        """What the network sees of a view."""
        return standardised(view, self.standardise)

    def forward(self, batch: MethodBatch) -> StepOutput:
        """InfoNCE of view 0 against view 1 and the queue."""
        features_bF, query_bE = self.queried(self.pixels(batch.views[0]))
        key_bE = self.keyed(batch)
        nce, metrics = self.contrast(query_bE, key_bE, batch.video)
        return StepOutput({MAIN: nce}, {"nce": nce}, metrics, features_bF, {"key": key_bE})

    def queried(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``[b, F]`` and unit embeddings ``[b, E]`` of what the network sees, with gradient."""
        with section("query, forward"):
            features_bF = self.query[0](pixels).float()
        with torch.autocast(features_bF.device.type, enabled=False):
            return features_bF, F.normalize(self.query[1](features_bF), dim=1)

    def keyed(self, batch: MethodBatch) -> Tensor:
        """Unit embeddings ``[b, E]`` of view 1 by the momentum copy."""
        with torch.no_grad(), section("key"):
            return shuffled_keys(self._key, batch.views[1], batch.uniforms[:, -1] if self.shuffle_keys else None)

    def contrast(
        self, query_bE: Tensor, key_bE: Tensor, video_b: Tensor, *more: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """InfoNCE of queries against their keys and the queue, and the mean cosines of both.

        Args:
            more: cosines ``[b, n]`` with further negatives.
        """
        with torch.autocast(query_bE.device.type, enabled=False):
            queued_bK = self.queue.cosines(query_bE)
            positive_b = (query_bE * key_bE).sum(dim=1)
            negatives = [self.queue.without_own(queued_bK, video_b) if self.mask_own_keys else queued_bK, *more]
            if self.batch_negatives:
                negatives += batch_negatives(query_bE, [gathered(key_bE)], video_b)
            metrics = {
                "similarity_positive": positive_b.detach().mean(),
                "similarity_negatives": queued_bK.detach().mean(),
            }
            one, all_of_them = [positive_b], torch.cat(negatives, dim=1)
            return contrastive_loss(one, all_of_them, temperature=self.temperature, form="outside"), metrics

    def _key(self, view: Tensor) -> Tensor:
        features_bF = self.key[0](self.pixels(view)).float()
        with torch.autocast(features_bF.device.type, enabled=False):
            return F.normalize(self.key[1](features_bF), dim=1)

    @torch.no_grad()
    def after_step(self, state: Mapping[str, Tensor], video: Tensor, progress: float) -> None:
        """Move the momentum copy, then put this step's keys into the queue."""
        momentum = scheduled_momentum(self.momentum, self.momentum_schedule, progress)
        momentum_update(self.key, self.query, momentum)
        self.queue.enqueue(state["key"], video)


def shuffled_keys(encode: Callable[..., Tensor], rows: Tensor, uniforms_b: Tensor | None, *more: Tensor) -> Tensor:
    """``encode(rows, *more)``, computed by other processes where ``uniforms_b`` is given (:class:`Shuffled`)."""
    if uniforms_b is None:
        return encode(rows, *more)
    shuffled = Shuffled(uniforms_b)
    dealt = [shuffled.out(value) for value in (rows, *more)]
    return shuffled.back(encode(formatted(dealt[0], like=rows), *dealt[1:]))
