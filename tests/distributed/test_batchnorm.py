"""BatchNorm over processes: what each gets is its part of what ``nn.BatchNorm`` makes of the whole batch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from cacl.distributed.batchnorm import GlobalBatchNorm, global_batchnorm_
from cacl.distributed.processes import gathered, own_rows, rank, summed, world
from cacl.methods.degree import ShuffleDegree
from cacl.models.heads import contrast_head

KINDS = {1: (nn.BatchNorm1d, ()), 2: (nn.BatchNorm2d, (3, 2)), 3: (nn.BatchNorm3d, (2, 3, 2))}


def layers(kind: type[nn.Module], **settings: object) -> nn.Module:
    """Two layers behind one another, so that the second one's gradient passes through the first one's statistics."""
    torch.manual_seed(1)
    module = nn.Sequential(kind(5, **settings), nn.Tanh(), kind(5, **settings))
    for parameter in module.parameters():
        nn.init.normal_(parameter, 1.0, 0.5)
    return module


def step(module: nn.Module, x: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    x = x.clone().requires_grad_(True)
    y = module(x)
    ((y - target).square().mean()).backward()
    assert x.grad is not None
    gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    return {"y": y.detach(), "dx": x.grad, **gradients, **dict(module.named_buffers())}


@pytest.mark.parametrize("count", [2, 4])
def test_output_gradients_and_statistics_are_those_of_the_whole_batch(in_processes, count):
    def data(shape):
        generator = torch.Generator().manual_seed(4)
        scale = torch.linspace(0.1, 9, 8 * 5).view(8, 5, *[1] * len(shape))
        return 3 + scale * torch.randn(8, 5, *shape, generator=generator)

    def work():
        found = {}
        for dimensions, (kind, shape) in KINDS.items():
            for affine in (True, False):
                x = data(shape)
                module = layers(kind, affine=affine)
                global_batchnorm_(module)
                one = step(module, own_rows(x), own_rows(x.flip(0)))
                for name, value in one.items():
                    mean = name.endswith(("weight", "bias"))
                    rows = name in ("y", "dx")
                    whole = gathered(value) if rows else summed(value) / world() if mean else value
                    found[f"{dimensions} {affine} {name}"] = whole / world() if name == "dx" else whole
        return found

    everyone = in_processes(count, work)
    for dimensions, (kind, shape) in KINDS.items():
        for affine in (True, False):
            expected = step(layers(kind, affine=affine), data(shape), data(shape).flip(0))
            for found in everyone:
                for name, value in expected.items():
                    torch.testing.assert_close(found[f"{dimensions} {affine} {name}"], value, rtol=2e-5, atol=2e-6)


def test_half_precision_is_summed_in_float32(in_processes):
    values = (40 + torch.randn(512, 3, generator=torch.Generator().manual_seed(0))).bfloat16()

    def work():
        layer = GlobalBatchNorm(3)
        y = layer(own_rows(values))
        return {"y": gathered(y.float()), "kept": str(y.dtype), "mean": layer.running_mean}

    found = in_processes(2, work)[1]
    exact = values.double()
    expected = (exact - exact.mean(0)) / exact.var(0, correction=0).sqrt()
    assert found["kept"] == "torch.bfloat16"
    torch.testing.assert_close(found["y"].double(), expected, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(found["mean"].double(), 0.1 * exact.mean(0), rtol=1e-6, atol=0)


def test_the_gradient_in_half_precision_and_channels_last(in_processes):
    """Processes whose rows differ much: each one's own means would be far from those of all."""
    numbers = torch.Generator().manual_seed(0)
    offset = torch.tensor([-4.0, 0, 5, 9]).view(4, 1, 1, 1, 1)
    x = (offset + torch.randn(4, 3, 2, 4, 4, generator=numbers)).bfloat16()
    gradient = (offset.abs() + torch.randn(4, 3, 2, 4, 4, generator=numbers)).bfloat16()

    def work():
        layer = GlobalBatchNorm(3)
        own = own_rows(x).contiguous(memory_format=torch.channels_last_3d).requires_grad_(True)
        y = layer(own)
        y.backward(own_rows(gradient))
        assert own.grad is not None
        assert y.is_contiguous(memory_format=torch.channels_last_3d)
        return {"dx": gathered(own.grad.float()), "dw": summed(layer.weight.grad), "db": summed(layer.bias.grad)}

    exact, whole = nn.BatchNorm3d(3).double(), x.double().requires_grad_(True)
    exact(whole).backward(gradient.double())
    for found in in_processes(2, work):
        for name, value in (("dx", whole.grad), ("dw", exact.weight.grad), ("db", exact.bias.grad)):
            error = (found[name].double() - value).norm() / value.norm()
            assert error < 1e-2, (name, error)


def test_one_row_a_process(in_processes):
    x = 3 + torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    target = torch.zeros(2, 5)

    def work():
        module = layers(nn.BatchNorm1d)
        global_batchnorm_(module)
        one = step(module, own_rows(x), own_rows(target))
        return {"y": gathered(one["y"]), "dx": gathered(one["dx"]) / world()}

    expected = step(layers(nn.BatchNorm1d), x, target)
    for found in in_processes(2, work):
        torch.testing.assert_close(found["y"], expected["y"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found["dx"], expected["dx"], rtol=1e-3, atol=1e-6)


def test_one_process_and_evaluation_are_batchnorm_itself():
    module, x = layers(nn.BatchNorm3d), torch.randn(4, 5, 2, 2, 2)
    ours = copy.deepcopy(module)
    global_batchnorm_(ours)
    assert [type(layer) for layer in ours] == [GlobalBatchNorm, nn.Tanh, GlobalBatchNorm]
    for training in (True, False):
        assert torch.equal(ours.train(training)(x), module.train(training)(x))
    assert ours.state_dict().keys() == module.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), module.state_dict().values(), strict=True))


def test_heads_are_found_and_keep_their_parameters():
    module = nn.ModuleDict({"contrast": contrast_head(6, projection="mlp"), "degree": ShuffleDegree(3, input="ratio")})
    before = list(module.parameters())
    global_batchnorm_(module)
    assert sum(isinstance(layer, GlobalBatchNorm) for layer in module.modules()) == 2
    assert not any(type(layer) is nn.BatchNorm1d for layer in module.modules())
    assert all(a is b for a, b in zip(module.parameters(), before, strict=True))


def test_gathered_rows_have_the_gradient_of_all_who_use_them(in_processes):
    def work():
        own = torch.full((2, 1), 1.0 + rank(), requires_grad=True)
        everyone = gathered(own)
        (everyone[:, 0] * torch.tensor([1.0, 2.0, 3.0, 4.0]) * (1 + 10 * rank())).sum().backward()
        return {"rows": everyone.detach(), "gradient": own.grad}

    first, second = in_processes(2, work)
    for found in (first, second):
        assert found["rows"].tolist() == [[1.0], [1.0], [2.0], [2.0]]
    assert first["gradient"].tolist() == [[12.0], [24.0]]  # 1 + 11 times each weight
    assert second["gradient"].tolist() == [[36.0], [48.0]]
