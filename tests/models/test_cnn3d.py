"""The 3D CNNs: names and shapes of the authors' modules, the arithmetic of one block, and the bfloat16 cure."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cacl.models import cnn3d
from cacl.models.cnn3d import BLOCKS, CNN3D, Block, CNN3DName, Conv3d, FactorisedConv, SpatioTemporalConv, build_cnn3d

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def names_of(kind):
    """Names of the authors' modules, put together layer by layer."""
    if kind == "c3d":
        layers = ["1", "2", "3a", "3b", "4a", "4b", "5a", "5b"]
        names = {f"conv{layer}.{x}" for layer in layers for x in ("weight", "bias")}
        return names | {f"bn{layer}.{x}" for layer in layers for x in NORM}

    def conv(prefix):
        if kind.startswith("r3d"):
            return {f"{prefix}.temporal_spatial_conv.weight"}
        inside = {f"{prefix}.bn.{x}" for x in NORM}
        return inside | {f"{prefix}.spatial_conv.weight", f"{prefix}.temporal_conv.weight"}

    def norm(prefix):
        return {f"{prefix}.{x}" for x in NORM}

    names = conv("conv1") | norm("bn1")
    for stage, count in zip(range(2, 6), BLOCKS[kind], strict=True):
        blocks = [f"conv{stage}.block1", *(f"conv{stage}.blocks.{i}" for i in range(count - 1))]
        for block in blocks:
            for i in (1, 2):
                names |= conv(f"{block}.conv{i}") | norm(f"{block}.bn{i}")
        if stage > 2:
            whole = {f"{blocks[0]}.downsampleconv.temporal_spatial_conv.weight"}
            names |= whole if kind.endswith("torchvision") else conv(f"{blocks[0]}.downsampleconv")
            names |= norm(f"{blocks[0]}.downsamplebn")
    return names


@pytest.mark.parametrize("name", get_args(CNN3DName))
def test_names_are_the_authors(name):
    assert set(build_cnn3d(name, width=4).state_dict()) == names_of(name)


@pytest.mark.parametrize("name", get_args(CNN3DName))
@pytest.mark.parametrize("side", [32, 56])
def test_map_and_feature(name, side):
    model = build_cnn3d(name, width=4).eval()
    x = torch.rand(2, 3, 16, side, side)
    features = model.forward_features(x)
    steps = 4 if name.endswith("-tclr") else 2
    assert 16 // model.time_stride == steps
    assert features.shape == (2, 32, steps, *2 * [side // 16 if name == "c3d" else -(-side // 16)])
    torch.testing.assert_close(model(x), features.flatten(2).mean(2))
    assert model(x).shape == (2, model.num_features)
    assert features.min() >= 0


@pytest.mark.parametrize("name", get_args(CNN3DName))
def test_the_papers_size(name):
    with torch.device("meta"):
        model = build_cnn3d(name)
        steps = 4 if name.endswith("-tclr") else 2
        assert model.forward_features(torch.empty(1, 3, 16, 112, 112)).shape == (1, 512, steps, 7, 7)


@pytest.mark.parametrize("name", ["c3d", "r3d10", "r2plus1d10"])
@pytest.mark.parametrize("frames", [8, 9, 17, 32])
def test_other_lengths(name, frames):
    model = build_cnn3d(name, width=4).eval()
    assert model.forward_features(torch.rand(1, 3, frames, 32, 32)).shape[2] == (
        frames // 8 if name == "c3d" else -(-frames // 8)
    )


def test_a_network_without_its_own_layers_cannot_be_built():
    with pytest.raises(TypeError, match="forward_features"):
        CNN3D()


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"'r3d'.*c3d, r3d10"):
        build_cnn3d("r3d")


@pytest.mark.parametrize(
    ("fan_in", "fan_out", "kernel", "middle"),
    [  # (t h w in out) // (h w in + t out), by hand
        (3, 64, (3, 7, 7), 83),
        (64, 64, (3, 3, 3), 144),
        (64, 128, (3, 3, 3), 230),
        (64, 128, (1, 1, 1), 42),
        (256, 512, (1, 1, 1), 170),
    ],
)
def test_factorised_middle_width(fan_in, fan_out, kernel, middle):
    conv = FactorisedConv(fan_in, fan_out, kernel, (1, 1, 1))
    assert conv.spatial_conv.out_channels == middle
    full = fan_in * fan_out * kernel[0] * kernel[1] * kernel[2]
    own = conv.spatial_conv.weight.numel() + conv.temporal_conv.weight.numel()
    assert 0.97 * full < own <= full


@pytest.mark.parametrize("downsample", [False, True])
def test_a_block_is_its_arithmetic(downsample):
    """With plain functions in float64."""
    torch.manual_seed(0)
    block = Block(SpatioTemporalConv, 3, 3 if not downsample else 5, downsample=downsample).double().eval()
    for module in block.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 3, 4, 6, 6, dtype=torch.float64)
    stride = 2 if downsample else 1

    def norm(y, bn):
        shape = (1, -1, 1, 1, 1)
        y = (y - bn.running_mean.view(shape)) / (bn.running_var.view(shape) + 1e-5).sqrt()
        return y * bn.weight.view(shape) + bn.bias.view(shape)

    y = norm(F.conv3d(x, block.conv1.temporal_spatial_conv.weight, None, stride, 1), block.bn1).clamp(min=0)
    y = norm(F.conv3d(y, block.conv2.temporal_spatial_conv.weight, None, 1, 1), block.bn2)
    shortcut = x
    if downsample:
        shortcut = norm(F.conv3d(x, block.downsampleconv.temporal_spatial_conv.weight, None, 2), block.downsamplebn)
    torch.testing.assert_close(block(x), (y + shortcut).clamp(min=0), atol=1e-10, rtol=0)


def test_inplace_relu_does_not_touch_the_input():
    x = torch.randn(1, 3, 8, 32, 32)
    for name in ("c3d", "r3d10", "r2plus1d10"):
        before = x.clone()
        build_cnn3d(name, width=4)(x)
        assert torch.equal(x, before)


@pytest.mark.parametrize("stride", [1, 2, (2, 1, 1)])
@pytest.mark.parametrize(
    ("kernel", "padding", "dilation"),
    [(3, 1, 1), ((3, 1, 1), (1, 0, 0), 1), ((3, 7, 7), (1, 3, 3), 1), (3, (2, 1, 1), (2, 1, 1))],
)
def test_padding_by_hand_is_exact(stride, kernel, padding, dilation, monkeypatch):
    """The cure itself, in float64: autocast is only said to be on."""
    conv = Conv3d(3, 4, kernel, stride, padding, dilation).double()
    x = torch.randn(2, 3, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    outputs = [nn.Conv3d.forward(conv, x)]
    monkeypatch.setattr(cnn3d.torch, "is_autocast_enabled", lambda device: True)
    calls = []
    monkeypatch.setattr(cnn3d.F, "pad", lambda *args, pad=F.pad: calls.append(args[1]) or pad(*args))
    outputs.append(conv(x))
    assert calls == [(0, 0, 0, 0, *2 * conv.padding[:1])]
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-12, rtol=0)
    leaves = [x, conv.weight, conv.bias]
    gradients = [torch.autograd.grad(y.square().sum(), leaves) for y in outputs]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("frames", "autocast", "padded"), [(2, True, True), (2, False, False), (4, True, False)])
def test_the_cure_is_used_only_where_it_is_needed(frames, autocast, padded, monkeypatch):
    conv, calls = Conv3d(3, 4, 3, padding=1), []
    monkeypatch.setattr(cnn3d.F, "pad", lambda *args, pad=F.pad: calls.append(1) or pad(*args))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        conv(torch.randn(1, 3, frames, 8, 8))
    assert bool(calls) is padded


@pytest.mark.parametrize("name", ["c3d", "r3d10", "r2plus1d10"])
def test_bfloat16_gradients_are_those_of_float32(name):
    torch.manual_seed(0)
    model = build_cnn3d(name, width=8).eval()
    x = torch.rand(2, 3, 16, 32, 32)
    gradients = {}
    for low in (False, True):
        model.zero_grad()
        junk = [torch.full((n,), 1e30) for n in (1000, 5000, 20000, 100000)]  # what is never written then shows
        del junk
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            features = model(x)
        features.float().square().sum().backward()
        gradients[low] = {key: p.grad.clone() for key, p in model.named_parameters()}
    for key, exact in gradients[False].items():
        error = (gradients[True][key] - exact).norm() / exact.norm().clamp(min=1e-6)
        assert error < 0.5, key  # max-pools choose other pixels here and there; a wrong kernel gives 1 or far more
