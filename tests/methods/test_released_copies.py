"""What the authors' code does to the momentum copies beside the loss: validation moves them, the twin goes first."""

from __future__ import annotations

import copy

import pytest
import torch

from cacl.config import resolve
from cacl.presets import PRESETS
from cacl.training.wiring import build_method, initial_network


def test_a_validation_moves_both_copies_once_a_batch_and_nothing_else(make_method):
    method = make_method(momentum=0.9, validation_batches=13)
    queue, statistics = method.queue.keys.clone(), copy.deepcopy(dict(method.key.named_buffers()))
    pairs = [(method.key, method.query), (method.key_transformer, method.transformer)]
    expected = []
    for key, query in pairs:
        for slow, own in zip(key.parameters(), query.parameters(), strict=True):
            moved = slow.detach().double()
            for _ in range(13):  # one forward pass after the other, as the authors' evaluation does
                moved = 0.9 * moved + 0.1 * own.detach().double()
            expected.append(moved)
    method.after_epoch(progress=0.5)
    found = [parameter.double() for key, _ in pairs for parameter in key.parameters()]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    assert torch.equal(method.queue.keys, queue)
    assert all(torch.equal(value, statistics[name]) for name, value in method.key.named_buffers())


def test_without_a_validation_nothing_moves(make_method):
    method = make_method(momentum=0.9)
    before = copy.deepcopy(method.state_dict())
    method.after_epoch(progress=0.5)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


@pytest.mark.parametrize(
    ("preset", "settings", "batches"),
    [
        ("released", ("data.hold_out=800",), 13),  # of 64
        ("released", ("data.hold_out=0",), 0),
        ("released", ("data.hold_out=800", "method.validation_momentum=false"), 0),
        ("paper", ("data.hold_out=800",), 0),
    ],
)
def test_the_batches_are_those_of_the_videos_that_are_held_out(preset, settings, batches):
    tiny = ("model.width=4", "method.pairs=[gq_gk]", "method.queue_size=8")
    resolved = resolve(PRESETS[preset], assignments=(*tiny, *settings)).settings
    method = build_method(resolved, network=initial_network(resolved), videos=8737)
    assert method.validation_batches == batches


@pytest.mark.parametrize("key_order", ["same", "swapped"])
def test_the_running_averages_are_those_of_passes_in_the_order_of_the_view(key_order, make_method, make_batch):
    """The authors stack view k as (twin, clip) and send its parts through the network in turn."""
    method, batch = make_method(key_order=key_order, twin=True), make_batch()
    view = batch.views[1]
    twin = torch.stack([x[:, order] for x, order in zip(view, batch.targets["permutation"], strict=True)])
    order = (twin, view) if key_order == "swapped" else (view, twin)
    right, wrong = (copy.deepcopy(method.key.network).train() for _ in range(2))
    with torch.no_grad():
        for network, parts in ((right, order), (wrong, order[::-1])):
            for part in parts:
                network(part)
    method.train()(batch)
    found, same, reverse = (
        torch.cat([value for name, value in network.named_buffers() if name.endswith("running_mean")])
        for network in (method.key.network, right, wrong)
    )
    torch.testing.assert_close(found, same, rtol=1e-5, atol=1e-6)
    assert (found - reverse).abs().max() > 1e-4
