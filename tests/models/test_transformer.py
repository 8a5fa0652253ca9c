"""The video transformer against a slow literal transcription, and the arithmetic of the twin's tokens."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cacl.models.frame_encoder import build_frame_encoder
from cacl.models.transformer import VideoTransformer


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(((x - mean) ** 2).mean(-1, keepdim=True) + 1e-5) * weight + bias


def literal(w: dict[str, Tensor], features_LF: Tensor, *, depth: int, heads: int) -> tuple[Tensor, Tensor]:
    """One sample, one head and one token pair at a time; returns the embedding and the first layer's attention."""
    x = torch.cat([w["cls_token"][0], features_LF @ w["frame_embed.weight"].T + w["frame_embed.bias"]])
    x = x + w["pos_embed"][0]
    L, D = x.shape
    d = D // heads
    first = torch.zeros(heads, L, L, dtype=x.dtype)
    for i in range(depth):
        b = f"blocks.{i}."
        y = layer_norm(x, w[b + "norm1.weight"], w[b + "norm1.bias"])
        qkv = y @ w[b + "attn.qkv.weight"].T
        out = torch.zeros_like(x)
        for h in range(heads):
            # the 3·D outputs are: all heads' queries, all heads' keys, all heads' values
            q, k, v = (qkv[:, part * D + h * d : part * D + (h + 1) * d] for part in range(3))
            for row in range(L):
                score = torch.stack([(q[row] * k[column]).sum() / math.sqrt(d) for column in range(L)])
                weight = torch.exp(score) / torch.exp(score).sum()
                out[row, h * d : (h + 1) * d] = sum(weight[column] * v[column] for column in range(L))
                if i == 0:
                    first[h, row] = weight
        x = x + out @ w[b + "attn.proj.weight"].T + w[b + "attn.proj.bias"]
        y = layer_norm(x, w[b + "norm2.weight"], w[b + "norm2.bias"])
        y = y @ w[b + "mlp.fc1.weight"].T + w[b + "mlp.fc1.bias"]
        y = y * 0.5 * (1 + torch.erf(y / math.sqrt(2)))
        x = x + y @ w[b + "mlp.fc2.weight"].T + w[b + "mlp.fc2.bias"]
    x = layer_norm(x, w["norm.weight"], w["norm.bias"])
    return x[0] @ w["embed_head.weight"].T + w["embed_head.bias"], first


def small(**changes: int) -> VideoTransformer:
    torch.manual_seed(0)
    arguments = {"frames": 3, "clips": 2, "width": 12, "depth": 2, "heads": 3, "out": 5} | changes
    model = VideoTransformer(7, **arguments).double()
    with torch.no_grad():
        for parameter in model.parameters():  # LayerNorm's ones and zeros would hide a swapped weight
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def test_forward_and_attention_equal_a_literal_transcription():
    model = small()
    features = torch.randn(2, 6, 7, dtype=torch.float64)
    tokens = model.embed(features)
    embedding, attention = model(tokens), model.attention(tokens)
    for b in range(2):
        expected, expected_attention = literal(model.state_dict(), features[b], depth=2, heads=3)
        torch.testing.assert_close(embedding[b], expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(attention[b].double(), expected_attention, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 3, 7))


def test_gradients_equal_a_literal_transcription():
    model = small()
    features = torch.randn(1, 6, 7, dtype=torch.float64)
    direction = torch.randn(5, dtype=torch.float64)
    (model(model.embed(features))[0] @ direction).backward()
    weights = {name: value.detach().clone().requires_grad_(True) for name, value in model.named_parameters()}
    (literal(weights, features[0], depth=2, heads=3)[0] @ direction).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, weights[name].grad, rtol=1e-8, atol=1e-10, msg=name)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(16)))
def test_tokens_of_the_twin_are_permuted_tokens_of_the_clip(order: list[int]):
    """Exact: one encoding a frame serves clip and twin (frozen encoder in eval mode, method section 3)."""
    torch.manual_seed(1)
    frame_encoder = build_frame_encoder("resnet18", width=2).eval()
    transformer = VideoTransformer(frame_encoder.num_features, width=12, depth=2, heads=3, out=4)
    clip_TCHW = torch.rand(16, 3, 32, 32)
    with torch.no_grad():
        tokens_TD = transformer.embed(frame_encoder(clip_TCHW))
        cheap = transformer(torch.cat([tokens_TD, tokens_TD[order]])[None])
        both = torch.cat([clip_TCHW, clip_TCHW[order]])
        costly = transformer(transformer.embed(frame_encoder(both))[None])
    torch.testing.assert_close(cheap, costly, rtol=1e-6, atol=1e-6)


def test_the_paper_s_size_and_names():
    with torch.device("meta"):
        model = VideoTransformer(2048)
    layer = 768 * 2304 + (768 * 768 + 768) + (768 * 3072 + 3072) + (3072 * 768 + 768) + 4 * 768
    others = (2048 * 768 + 768) + 768 + 33 * 768 + 2 * 768 + (768 * 128 + 128)
    assert sum(p.numel() for p in model.parameters()) == 6 * layer + others
    names = dict(model.named_parameters())
    shapes = {
        "cls_token": (1, 1, 768),
        "pos_embed": (1, 33, 768),
        "frame_embed.weight": (768, 2048),
        "blocks.5.norm1.weight": (768,),
        "blocks.5.attn.qkv.weight": (2304, 768),
        "blocks.5.attn.proj.bias": (768,),
        "blocks.5.norm2.bias": (768,),
        "blocks.5.mlp.fc1.weight": (3072, 768),
        "blocks.5.mlp.fc2.weight": (768, 3072),
        "norm.weight": (768,),
        "embed_head.weight": (128, 768),
    }
    assert {name: tuple(names[name].shape) for name in shapes} == shapes
    assert "blocks.0.attn.qkv.bias" not in names


def test_class_token_and_positions_start_as_truncated_normal():
    torch.manual_seed(0)
    model = VideoTransformer(4, depth=1)
    assert float(model.pos_embed.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert float(model.cls_token.detach().std()) == pytest.approx(0.02, rel=0.15)


def test_one_clip_only():
    assert small(clips=1)(torch.randn(4, 3, 12, dtype=torch.float64)).shape == (4, 5)


def test_wrong_tokens_are_refused():
    model = small()
    with pytest.raises(ValueError, match=r"expected \[B, 6, 12\]"):
        model(torch.randn(2, 6, 7, dtype=torch.float64))  # features, not yet embedded
    with pytest.raises(ValueError, match="expected"):
        model(torch.randn(2, 3, 12, dtype=torch.float64))
    with pytest.raises(ValueError, match="not a multiple"):
        VideoTransformer(7, width=10, heads=3)


def test_bfloat16_autocast_stays_near_float32():
    model = small().float().eval()
    tokens = torch.randn(2, 6, 12)
    with torch.no_grad():
        expected = model(tokens)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(tokens)
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)
