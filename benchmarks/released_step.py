"""One training step as the released code is built, for comparison: the same losses, none of the savings.

Clip and twin are copied and pass the 3D CNN one after the other; the transformer's own ResNet encodes the frames of
both, and its momentum copy has a ResNet of its own; copies are moved one parameter at a time, the frozen ResNet's too,
and before the keys are computed; every pair has a cross entropy of its own.

Shapes: B batch, C channels, T frames, H W pixels, D features of G, E embedding, K queue.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cacl.methods.cacl import CACL
from cacl.methods.contract import MethodBatch
from cacl.models.transformer import VideoTransformer


class ReleasedG(nn.Module):
    """The 3D CNN with both heads; sees clip and twin stacked, ``[B, 2, C, T, H, W]``."""

    def __init__(self, method: CACL) -> None:
        super().__init__()
        self.base_network = copy.deepcopy(method.query.network)
        self.contrast_fc1 = copy.deepcopy(method.query.contrast)
        self.fc7, self.fc8 = copy.deepcopy(method.degree.fc7), copy.deepcopy(method.degree.fc8)
        self.dropout = method.degree.dropout

    def pair(self, stacked_B2CTHW: Tensor) -> Tensor:
        """concat[G(clip 0), G(clip 1)], ``[B, 2 D]``."""
        return torch.cat([self.base_network(stacked_B2CTHW[:, i]) for i in range(2)], dim=1)

    def heads(self, pair_B2D: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """Unit embedding ``[B, E]`` and logits of the degree."""
        dropped = uniforms[:, : self.fc7.out_features] < self.dropout
        hidden = F.relu(self.fc7(pair_B2D)).masked_fill(dropped, 0) / (1 - self.dropout)
        return F.normalize(self.contrast_fc1(pair_B2D), dim=1), self.fc8(hidden)


class ReleasedT(nn.Module):
    """The transformer with a frozen ResNet of its own; encodes every frame of clip and twin."""

    def __init__(self, transformer: VideoTransformer, frame_encoder: nn.Module) -> None:
        super().__init__()
        self.transformer = copy.deepcopy(transformer)
        self.extract_feature_net = copy.deepcopy(frame_encoder)

    def frame_features(self, stacked_B2CTHW: Tensor) -> Tensor:
        """``[B, 2 T, F]``."""
        B, _, _, T = stacked_B2CTHW.shape[:4]
        frames_NCHW = stacked_B2CTHW.transpose(2, 3).flatten(0, 2)
        features: Tensor = self.extract_feature_net(frames_NCHW).view(B, 2 * T, -1)
        return features

    def attend(self, features_BLF: Tensor) -> Tensor:
        """Unit embedding ``[B, E]``."""
        return F.normalize(self.transformer(self.transformer.embed(features_BLF)), dim=1)


class ReleasedStep(nn.Module):
    """Weights, queue and settings of a ``CACL`` with one head layer, the loss outside and keys swapped."""

    def __init__(self, method: CACL, *, lr: float, weight_decay: float) -> None:
        super().__init__()
        assert method.transformer is not None
        assert method.frame_encoder is not None
        assert method.queue is not None
        self.encoder_q = ReleasedG(method)
        self.encoder_k = copy.deepcopy(self.encoder_q).requires_grad_(False)
        self.encoder_transformer = ReleasedT(method.transformer, method.frame_encoder)
        self.encoder_transformer_k = copy.deepcopy(self.encoder_transformer).requires_grad_(False)
        self.register_buffer("queue", method.queue.keys.T.clone())
        self.queue_ptr = 0
        self.momentum, self.temperature, self.degree_weight = method.momentum, method.temperature, method.degree_weight
        trained = [p for p in self.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(trained, lr=lr, momentum=0.9, weight_decay=weight_decay, foreach=False)
        self.train()
        for network in (self.encoder_transformer, self.encoder_transformer_k):
            network.extract_feature_net.eval()

    queue: Tensor

    def stacked(self, batch: MethodBatch, view: int) -> Tensor:
        """Clip and twin of a view, in view k the other way round: ``[B, 2, C, T, H, W]``."""
        x_BCTHW, permutation_BT = batch.views[view], batch.targets["permutation"]
        twin_BCTHW = torch.stack([x[:, permutation] for x, permutation in zip(x_BCTHW, permutation_BT, strict=True)])
        return torch.stack([x_BCTHW, twin_BCTHW] if view == 0 else [twin_BCTHW, x_BCTHW], dim=1)

    @torch.no_grad()
    def momentum_update(self) -> None:
        for network, copied in (
            (self.encoder_q, self.encoder_k),
            (self.encoder_transformer, self.encoder_transformer_k),
        ):
            for q, k in zip(network.parameters(), copied.parameters(), strict=True):
                k.data = k.data * self.momentum + q.data * (1 - self.momentum)

    def losses(self, embeddings: dict[str, Tensor], logits_BM: Tensor, degree_B: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of a cross entropy for each pair, and that of the degree."""
        contrast = []
        for a, b in (("gq", "gk"), ("gq", "tq"), ("gq", "tk"), ("tq", "tk")):
            positive_B1 = torch.einsum("be,be->b", embeddings[a], embeddings[b])[:, None]
            negative_BK = torch.einsum("be,ek->bk", embeddings["gq"], self.queue.clone())
            logits = torch.cat([positive_B1, negative_BK], dim=1) / self.temperature
            contrast.append(F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device)))
        return torch.stack(contrast).mean(), F.cross_entropy(logits_BM, degree_B)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        for key in keys:  # the released code wants that 2 B divides K; so any B will do
            self.queue[:, self.queue_ptr] = key
            self.queue_ptr = (self.queue_ptr + 1) % self.queue.shape[1]

    def step(self, batch: MethodBatch) -> dict[str, float]:
        """One step of training; the losses."""
        q, k = self.stacked(batch, 0), self.stacked(batch, 1)
        embeddings: dict[str, Tensor] = {}
        embeddings["gq"], logits_BM = self.encoder_q.heads(self.encoder_q.pair(q), batch.uniforms)
        embeddings["tq"] = self.encoder_transformer.attend(self.encoder_transformer.frame_features(q))
        with torch.no_grad():
            self.momentum_update()
            pair = self.encoder_k.pair(k)
            embeddings["gk"] = F.normalize(self.encoder_k.contrast_fc1(pair), dim=1)
            embeddings["tk"] = self.encoder_transformer_k.attend(self.encoder_transformer_k.frame_features(k))
        contrast, degree = self.losses(embeddings, logits_BM, batch.targets["degree"])
        self.optimizer.zero_grad()
        (contrast + self.degree_weight * degree).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.enqueue(torch.cat([embeddings["gk"], embeddings["tk"]]))
        return {"nce": contrast.item(), "degree_loss": degree.item()}
