"""What makes a step faster gives what the plain step gives: one pass over clip and twin, and 16-bit numbers."""

from __future__ import annotations

import copy

import pytest
import torch


def step(method, batch, dtype=None):
    """Loss terms, and the gradient of G in one vector."""
    method.zero_grad()
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        output = method(batch)
    output.losses["main"].backward()
    terms = {name: term.item() for name, term in {**output.terms, "total": output.losses["main"]}.items()}
    return terms, torch.cat([p.grad.flatten() for p in method.encoder.parameters()])


def distance(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("settings", [{}, {"standardise": "motion", "degree_input": "ratio", "projection": "mlp"}])
def test_one_pass_is_two_where_batchnorm_takes_nothing_from_the_batch(settings, make_method, make_batch):
    joint, batch = make_method(one_pass=True, **settings), make_batch()
    separate = copy.deepcopy(joint)
    separate.query.one_pass = separate.key.one_pass = False
    in_training = [step(method, batch)[0]["total"] for method in (joint, separate)]
    assert abs(in_training[0] - in_training[1]) > 1e-3  # there the statistics are of both or of each
    joint.eval()
    separate.load_state_dict(joint.state_dict())
    separate.eval()
    (one, at_one), (two, at_two) = step(joint, batch), step(separate, batch)
    assert one == pytest.approx(two, rel=1e-5)
    assert distance(at_one, at_two) < 1e-5


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("one_pass", [True, False])
def test_bfloat16_stays_within_its_rounding(one_pass, seed, make_method, make_batch):
    """8 bits of mantissa: 2e-3 in each number. Losses and heads are float32 whatever the networks are."""
    method = make_method(seed=seed, one_pass=one_pass, loss="outside", temperature=0.5)
    batch = make_batch(8, seed=seed)
    in_training = [step(method, batch, dtype)[0] for dtype in (None, torch.bfloat16)]
    assert in_training[1] == pytest.approx(in_training[0], rel=1e-2)
    method.eval()  # BatchNorm over eight clips of noise makes any difference many times larger
    (plain, wanted), (low, found) = step(method, batch), step(method, batch, torch.bfloat16)
    assert plain["nce"] > 0.5
    assert low == pytest.approx(plain, rel=2e-3)
    assert low != plain
    assert distance(found, wanted) < 0.05
