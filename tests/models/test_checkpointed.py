"""Activations computed a second time in the backward pass: the same numbers, bit for bit, and less memory."""

from __future__ import annotations

import copy

import pytest
import torch

from cacl.models.cnn3d import build_cnn3d


def run(network, x, *, dtype=None):
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        features = network(x)
    features.square().sum().backward()
    return features


@pytest.mark.parametrize("name", ["c3d", "r3d10", "r2plus1d10"])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_gradients_and_running_statistics_are_the_same(name, dtype):
    torch.manual_seed(0)
    plain = build_cnn3d(name, width=4)
    saving = copy.deepcopy(plain)
    saving.checkpointed = True
    for _ in range(2):  # clip and twin, both before the backward pass in CACL
        x = torch.rand(2, 3, 8, 32, 32)
        assert torch.equal(run(plain, x, dtype=dtype), run(saving, x, dtype=dtype))
    for (key, wanted), found in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert torch.equal(found.grad, wanted.grad), key
    for (key, wanted), found in zip(plain.named_buffers(), saving.buffers(), strict=True):
        assert torch.equal(found, wanted), key
    assert plain.state_dict().keys() == saving.state_dict().keys()


def test_statistics_are_tracked_again_afterwards():
    network = build_cnn3d("r3d10", width=4)
    network.checkpointed = True
    run(network, torch.rand(2, 3, 8, 32, 32))
    counts = [m.num_batches_tracked for m in network.modules() if isinstance(m, torch.nn.BatchNorm3d)]
    assert counts
    assert all(count == 1 for count in counts)
    run(network, torch.rand(2, 3, 8, 32, 32))
    assert all(count == 2 for count in counts)


@pytest.mark.parametrize("name", ["c3d", "r3d10", "r2plus1d10"])
def test_two_objectives_go_back_through_one_graph(name):
    torch.manual_seed(0)
    plain = build_cnn3d(name, width=4)
    saving = copy.deepcopy(plain)
    saving.checkpointed = True
    x = torch.rand(2, 3, 8, 32, 32)
    for network in (plain, saving):
        features = network(x)
        features.square().sum().backward(retain_graph=True)
        features.sum().backward()
    for (key, wanted), found in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert torch.equal(found.grad, wanted.grad), key
    for (key, wanted), found in zip(plain.named_buffers(), saving.buffers(), strict=True):
        assert torch.equal(found, wanted), key


@pytest.mark.parametrize("name", ["c3d", "r3d18"])
def test_less_is_kept_for_the_backward_pass(name):
    kept = {}
    for checkpointed in (False, True):
        network = build_cnn3d(name, width=4)
        network.checkpointed = checkpointed
        sizes: dict[int, int] = {}

        def pack(tensor, sizes=sizes):
            sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            network(torch.rand(2, 3, 8, 32, 32))
        kept[checkpointed] = sum(sizes.values())
    assert kept[True] < 0.5 * kept[False]


def test_nothing_is_done_twice_where_no_gradient_is_wanted():
    network, calls = build_cnn3d("r3d10", width=4).eval(), []
    network.checkpointed = True
    network.conv5.register_forward_hook(lambda *parts: calls.append(1))
    with torch.no_grad():
        network(torch.rand(1, 3, 8, 32, 32))
    assert calls == [1]
