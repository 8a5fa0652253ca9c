"""The losses against the equations written out in loops, in float64, values and gradients."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from cacl.methods.losses import contrastive_loss

FORMS = ["inside", "outside"]


def literal(positives, negatives, tau, form):
    """Eq. 3 and 4, and the authors' mean of logarithms, one sample, pair and negative at a time."""
    total = 0.0
    samples, keys = negatives.shape
    for i in range(samples):
        below = 0.0
        for j in range(keys):
            below = below + torch.exp(negatives[i, j] / tau)
        if form == "inside":
            above = 0.0
            for positive in positives:
                above = above + torch.exp(positive[i] / tau)
            total = total - torch.log(above / (above + below))
        else:
            logs = 0.0
            for positive in positives:
                above = torch.exp(positive[i] / tau)
                logs = logs - torch.log(above / (above + below))
            total = total + logs / len(positives)
    return total / samples


def cosines(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1).requires_grad_(True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tau", [0.07, 0.1, 1.0])
@pytest.mark.parametrize("pairs", [1, 2, 3, 4])
def test_contrastive_loss_is_the_equation(form, tau, pairs):
    positives, negatives = [cosines(5, seed=p) for p in range(pairs)], cosines(5, 13, seed=9)
    inputs = [*positives, negatives]
    loss, expected = (
        contrastive_loss(positives, negatives, temperature=tau, form=form),
        literal(positives, negatives, tau, form),
    )
    assert loss.item() == pytest.approx(expected.item(), abs=1e-10)
    gradients, wanted = torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs)
    for gradient, right in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, right, rtol=0, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_float32_is_within_1e_6_of_float64(form):
    positives, negatives = [cosines(8, seed=p).detach() for p in range(4)], cosines(8, 6400, seed=9).detach()
    exact = contrastive_loss(positives, negatives, temperature=0.07, form=form).item()
    rounded = contrastive_loss([p.float() for p in positives], negatives.float(), temperature=0.07, form=form).item()
    assert rounded == pytest.approx(exact, rel=1e-6)


def test_hand_worked_example():
    """Two pairs of similarity 0 and one negative of 0: 2/3 inside, 1/2 each outside."""
    zero = torch.zeros(1)
    assert contrastive_loss([zero, zero], zero[:, None], temperature=0.5, form="inside").item() == pytest.approx(
        -math.log(2 / 3)
    )
    assert contrastive_loss([zero, zero], zero[:, None], temperature=0.5, form="outside").item() == pytest.approx(
        -math.log(1 / 2)
    )


def test_one_pair_is_info_nce_in_both_forms():
    positive, negatives = cosines(6, seed=0), cosines(6, 20, seed=1)
    logits = torch.cat([positive[:, None], negatives], dim=1) / 0.07
    expected = F.cross_entropy(logits, torch.zeros(6, dtype=torch.int64))
    for form in FORMS:
        loss = contrastive_loss([positive], negatives, temperature=0.07, form=form)
        torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(
    ("tq_tk", "form", "loss", "gradient"),
    [
        (0.3, "inside", 3.90, -3.5),
        (0.99, "inside", 0.010, -7.5e-6),
        (0.3, "outside", 5.27, -3.6),
        (0.99, "outside", 3.96, -3.6),
    ],
)
def test_one_good_pair_satisfies_eq_4_alone(tq_tk, form, loss, gradient):
    """The table of docs/fidelity.md: random keys, the three pairs of G at .3."""
    torch.manual_seed(0)
    query, keys = (F.normalize(torch.randn(n, 128, dtype=torch.float64), dim=1) for n in (256, 6400))
    pairs = [torch.full((256,), 0.3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    transformer = torch.full((256,), tq_tk, dtype=torch.float64)
    found = contrastive_loss([*pairs, transformer], query @ keys.T, temperature=0.07, form=form)
    assert found.item() == pytest.approx(loss, rel=0.02)
    assert torch.autograd.grad(found, pairs[0])[0].sum().item() == pytest.approx(gradient, rel=0.02)


@pytest.mark.parametrize("form", FORMS)
def test_left_out_negatives_count_for_nothing(form):
    positives, negatives = [cosines(3, seed=0), cosines(3, seed=1)], cosines(3, 7, seed=2)
    out = torch.zeros(3, 7, dtype=torch.bool)
    out[0, 2:5] = out[1, 0] = True
    loss = contrastive_loss(positives, negatives.masked_fill(out, -torch.inf), temperature=0.1, form=form)
    expected = torch.stack(
        [literal([p[i : i + 1] for p in positives], negatives[i, ~out[i]][None], 0.1, form) for i in range(3)]
    ).mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-10)
    torch.testing.assert_close(torch.autograd.grad(loss, negatives)[0], torch.autograd.grad(expected, negatives)[0])


@pytest.mark.parametrize("form", FORMS)
def test_no_negative_at_all_is_no_nan(form):
    """A folder of one video whose own keys are masked."""
    positive, negatives = cosines(3, seed=0), cosines(3, 7, seed=2)
    nothing = negatives.masked_fill(torch.ones(3, 7, dtype=torch.bool), -torch.inf)
    loss = contrastive_loss([positive], nothing, temperature=0.1, form=form)
    assert loss.item() == 0
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, [positive, negatives]))


@given(
    st.integers(1, 4),
    st.integers(1, 6),
    st.sampled_from(FORMS),
    st.floats(0.05, 2),
    st.integers(0, 1000),
)
def test_laws(pairs, keys, form, tau, seed):
    """Order of pairs and of negatives is nothing; more negatives never lower the loss; better pairs do."""
    positives, negatives = [cosines(3, seed=seed + p).detach() for p in range(pairs)], cosines(3, keys, seed=1).detach()
    loss = contrastive_loss(positives, negatives, temperature=tau, form=form).item()
    again = contrastive_loss(positives[::-1], negatives.flip(1), temperature=tau, form=form).item()
    assert again == pytest.approx(loss, abs=1e-12)
    more = torch.cat([negatives, negatives[:, :1]], dim=1)
    assert contrastive_loss(positives, more, temperature=tau, form=form).item() >= loss - 1e-12
    assert contrastive_loss([p + 0.1 for p in positives], negatives, temperature=tau, form=form).item() <= loss + 1e-12
