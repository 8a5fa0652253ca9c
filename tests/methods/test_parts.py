"""A batch that goes through a method in equal parts, against the same batch at once.

In evaluation mode, where BatchNorm takes nothing from the batch; in training its statistics are each part's own.
"""

from __future__ import annotations

import copy

import pytest
import torch

from cacl.methods.batch import StepOutput, ViewBatch, joined


def cut(batch: ViewBatch, count: int) -> list[ViewBatch]:
    size = len(batch.video) // count
    return [
        ViewBatch(
            tuple(view[rows] for view in batch.views),
            {name: target[rows] for name, target in batch.targets.items()},
            batch.video[rows],
            batch.uniforms[rows],
        )
        for rows in (slice(start, start + size) for start in range(0, len(batch.video), size))
    ]


def step(method, batches) -> StepOutput:
    """Gradients averaged over the parts, then the queue."""
    outputs = []
    for batch in batches:
        output = method(batch)
        (output.terms["total"] / len(batches)).backward()
        outputs.append(output.detached())
    output = joined(outputs)
    method.after_step(output, progress=0.5)
    return output


def gradient(method) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {"queue_size": 20},  # 12 keys a step: the order of what is overwritten matters in the second step
        {"queue_size": 20, "symmetric": True, "mask_own_keys": True, "one_pass": True, "loss": "outside"},
        {"twin": False, "pairs": ("gq_gk",), "degree_weight": 0.0},
        {"pairs": ()},
    ],
)
def test_parts_of_a_batch_are_the_batch(settings, parts, make_method, make_batch):
    whole = make_method(**settings).eval()
    pieces = copy.deepcopy(whole)
    for seed in (1, 2):
        batch = make_batch(6, seed=seed)
        one, other = step(whole, [batch]), step(pieces, cut(batch, parts))
        for name in one.terms:
            torch.testing.assert_close(other.terms[name], one.terms[name].detach(), rtol=1e-5, atol=1e-6)
        for name in one.metrics:
            torch.testing.assert_close(other.metrics[name], one.metrics[name], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(other.features, one.features.detach(), rtol=1e-5, atol=1e-6)
    wanted, found = gradient(whole), gradient(pieces)
    assert (found - wanted).norm() <= 1e-5 * wanted.norm()
    state = whole.state_dict()
    for name, value in pieces.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=1e-5, atol=1e-6)


def test_one_part_is_handed_on_as_it_is(make_method, make_batch):
    output = make_method()(make_batch())
    assert joined([output]) is output


def test_what_is_detached_holds_no_graph(make_method, make_batch):
    output = make_method()(make_batch()).detached()
    assert not any(value.requires_grad for value in (*output.terms.values(), output.features))
