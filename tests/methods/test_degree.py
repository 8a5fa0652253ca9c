"""The temporal task of CACL: Eq. 6 in loops, its examples, and its frame differences by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from cacl.data.clips.shuffle import degree_class, shuffle_degree
from cacl.data.randomness import generator
from cacl.methods.degree import ShuffleDegree, degree_curve, start_of_the_loss
from cacl.methods.differences import pair_differences


def test_the_loss_is_eq_6():
    task = ShuffleDegree(4)
    logits = (4 * torch.randn(5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(3))).requires_grad_()
    degrees = torch.tensor([0, 15, 3, 3, 7])
    expected = 0.0
    for i in range(5):
        below = 0.0
        for m in range(16):
            below = below + torch.exp(logits[i, m])
        for m in range(16):
            y = 1.0 if m == degrees[i] else 0.0
            expected = expected - y * torch.log(torch.exp(logits[i, m]) / below)
    expected = expected / 5
    loss = task.loss(logits, {"degree": degrees})
    assert loss.item() == pytest.approx(expected.item(), abs=1e-10)
    torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], torch.autograd.grad(expected, logits)[0])


def test_the_loss_of_a_head_that_knows_nothing_is_ln_16():
    loss = ShuffleDegree(4).loss(torch.zeros(3, 16), {"degree": torch.tensor([0, 5, 15])})
    mark = start_of_the_loss(16)
    assert loss.item() == pytest.approx(math.log(16)) == pytest.approx(mark.value)
    assert (mark.name, mark.of) == ("ln 16", "degree_loss")


def test_examples_are_uniform_in_degree_whatever_training_draws():
    task = ShuffleDegree(4, frames=6, stride=1, sampling="permutation")
    counts = np.zeros(len(task.values))
    for i in range(600):
        plan = task.draw(40, generator(0, "examples", i))
        assert [len(clip) for clip in plan.clips] == [6]
        degree = int(plan.targets["degree"])
        assert degree == degree_class(shuffle_degree(plan.targets["permutation"]))
        counts[degree] += 1
    expected = 600 / len(counts)
    assert ((counts - expected) ** 2 / expected).sum() < 25  # chi-square of 5 degrees of freedom, p < 2e-4
    assert degree_curve(6).chance == pytest.approx(1 / len(task.values))


def test_logits_are_those_of_clip_and_twin():
    task = ShuffleDegree(3, frames=5, dropout=0.0)

    def encoder(x_BCTHW):
        return (x_BCTHW * torch.arange(1, 6).view(1, 1, 5, 1, 1)).sum((2, 3, 4))  # weighs the order of frames

    clip = torch.rand(4, 3, 5, 2, 2)
    order = torch.stack([torch.randperm(5) for _ in range(4)])
    twin = torch.stack([torch.stack([clip[b, :, order[b, t]] for t in range(5)], dim=1) for b in range(4)])
    found = task.logits(encoder, [clip], {"permutation": order})
    torch.testing.assert_close(found, task(encoder(clip), encoder(twin)))


def test_differences_of_a_clip_that_brightens_evenly():
    clip = torch.arange(6.0).view(1, 6, 1, 1).expand(3, 6, 2, 2) / 10
    order = np.array([0, 2, 1, 3, 4, 5])
    found = pair_differences(clip, order)
    own = [math.log(lag / 10 + 0.1 / 255) for lag in (1, 2, 3, 4)] + [math.log(0.1 + 0.1 / 255)] * 3
    np.testing.assert_allclose(found[:7], own, rtol=1e-5)
    twin = [0, 2, 1, 3, 4, 5]
    gaps = [abs(a - b) / 10 for a, b in itertools.pairwise(twin)]
    np.testing.assert_allclose(
        found[[7, 11, 12, 13]],
        [math.log(v + 0.1 / 255) for v in (sum(gaps) / 5, max(gaps), sorted(gaps)[2], min(gaps))],
        rtol=1e-5,
    )
