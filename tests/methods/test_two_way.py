"""The contrast without copies, against a literal transcription, and in the method."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from cacl.methods.batch import ViewBatch
from cacl.methods.cacl import CACL
from cacl.methods.two_way import two_way_contrast
from cacl.models.cnn3d import build_cnn3d


def _literal(embeddings: dict[str, torch.Tensor], pair: str, video: list[int], temperature: float) -> float:
    a, b = pair.split("_")
    losses = []
    for view, other in (("q", "k"), ("k", "q")):
        positive_view = view if pair == "gq_tq" else other
        for i in range(len(video)):
            query = embeddings[a[0] + view][i]
            own = math.exp(float(query @ embeddings[b[0] + positive_view][i]) / temperature)
            others = sum(
                math.exp(float(query @ embeddings[b[0] + v][j]) / temperature)
                for v in "qk"
                for j in range(len(video))
                if video[j] != video[i]
            )
            losses.append(-math.log(own / (own + others)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("pair", ["gq_gk", "gq_tq", "gq_tk", "tq_tk"])
def test_is_the_literal_sum(pair: str) -> None:
    torch.manual_seed(0)
    embeddings = {name: F.normalize(torch.randn(5, 8), dim=1) for name in ("gq", "gk", "tq", "tk")}
    video = [3, 1, 3, 0, 2]
    loss = two_way_contrast(embeddings, [pair], torch.tensor(video), temperature=0.2)
    assert loss.item() == pytest.approx(_literal(embeddings, pair, video, 0.2), rel=1e-5)


def test_the_method_has_no_copies_and_learns_from_both_views() -> None:
    torch.manual_seed(0)
    method = CACL(
        build_cnn3d("r3d10", width=4), None, None, frames=8, twin=False, pairs=["gq_gk"], degree_weight=0, two_way=True
    )
    assert method.key is None
    assert method.queue is None
    views = tuple(torch.rand(3, 3, 8, 16, 16, requires_grad=True) for _ in range(2))
    output = method(ViewBatch(views, {}, torch.arange(3), torch.rand(3, method.uniforms)))
    output.terms["total"].backward()
    assert all(view.grad is not None and view.grad.abs().sum() > 0 for view in views)
    method.after_step(output, progress=0.5)
