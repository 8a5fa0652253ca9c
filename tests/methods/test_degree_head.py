"""The degree head against the arithmetic written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cacl.methods.degree import ShuffleDegree


def inputs(rows=6, width=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, width, generator=generator, dtype=torch.float64) for _ in range(2)]


@pytest.mark.parametrize("kind", ["pair", "ratio"])
def test_degree_head_is_its_arithmetic(kind):
    head = ShuffleDegree(5, hidden=7, dropout=0.4, input=kind).double()
    clip, twin = inputs()
    uniforms = torch.rand(6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    x = np.concatenate([clip, twin], axis=1)
    if kind == "ratio":
        clip, twin = clip**2, twin**2  # features of G are 0 or more
        a, b = np.log(clip.numpy() + 0.02), np.log(twin.numpy() + 0.02)
        x = np.concatenate([a, b - a], axis=1)
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    w7, b7, w8, b8 = (p.detach().numpy() for p in head.parameters())
    hidden = np.maximum(x @ w7.T + b7, 0) * (uniforms.numpy() >= 0.4) / 0.6
    np.testing.assert_allclose(head(clip, twin, uniforms).detach(), hidden @ w8.T + b8, atol=1e-10)


def test_the_papers_degree_head():
    head = ShuffleDegree(512)
    assert {name: tuple(p.shape) for name, p in head.named_parameters()} == {
        "fc7.weight": (512, 1024),
        "fc7.bias": (512,),
        "fc8.weight": (16, 512),
        "fc8.bias": (16,),
    }
    assert head.dropout == 0.5


def test_dropout_depends_on_each_samples_own_uniforms_only():
    head = ShuffleDegree(5, hidden=40)
    clip, twin = (x.float() for x in inputs())
    uniforms = torch.rand(6, 40, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    logits = head(clip, twin, uniforms)
    torch.manual_seed(1)
    changed = uniforms.clone()
    changed[2] = 1 - changed[2]
    again = head(clip, twin, changed)
    rows = [bool(torch.equal(a, b)) for a, b in zip(logits, again, strict=True)]
    assert rows == [True, True, False, True, True, True]


def test_dropout_keeps_the_mean_and_drops_its_share():
    """Through an identity as second layer: mean 1, half of it zero."""
    head = ShuffleDegree(1, hidden=20000, dropout=0.5)
    with torch.no_grad():
        head.fc7.weight.zero_()
        head.fc7.bias.fill_(1)
        head.fc8.weight.fill_(1 / 20000)
        head.fc8.bias.zero_()
    uniforms = torch.rand(1, 20000, generator=torch.Generator().manual_seed(1))
    assert head(torch.zeros(1, 1), torch.zeros(1, 1), uniforms)[0].mean().item() == pytest.approx(1, abs=0.03)
    assert head(torch.zeros(1, 1), torch.zeros(1, 1))[0].mean().item() == pytest.approx(1, abs=1e-4)


def test_no_dropout_ignores_the_uniforms():
    head = ShuffleDegree(5, dropout=0.0, hidden=4)
    clip, twin = (x.float() for x in inputs())
    assert torch.equal(head(clip, twin, torch.zeros(6, 4)), head(clip, twin))


def test_the_ratio_does_not_see_how_large_all_features_are():
    """A scene with more contrast, or more motion, scales clip and twin alike: the head says the same."""
    head = ShuffleDegree(5, hidden=4, input="ratio").double()
    clip, twin = (x**2 + 1 for x in inputs())
    torch.testing.assert_close(head(1e4 * clip, 1e4 * twin), head(1e6 * clip, 1e6 * twin), atol=1e-4, rtol=0)
    assert not any("norm" in name for name, _ in head.named_parameters())
