"""The check catches a wrong kernel, passes our networks, and leaves the model as it was."""

from __future__ import annotations

import copy
from typing import Literal, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cacl.errors import UserError
from cacl.machine import convolutions, precision
from cacl.machine.precision import Finding, check_convolutions, choose_precision
from cacl.models.cnn3d import CNN3DName, Conv3d, build_cnn3d
from cacl.models.frame_encoder import build_frame_encoder

Wrong = Literal["output", "input gradient", "weight gradient"]


class _Faulty(torch.autograd.Function):
    """The identity, wrong where it is told to be."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: float, gradient_scale: float) -> Tensor:
        ctx.gradient_scale = gradient_scale
        return x * scale

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient * ctx.gradient_scale, None, None


class FaultyConv(nn.Conv3d):
    """A convolution with one wrong quantity, by 5 percent."""

    wrong: Wrong = "output"

    def forward(self, x: Tensor) -> Tensor:
        weight = _Faulty.apply(self.weight, 1.0, 1.05 if self.wrong == "weight gradient" else 1.0)
        x = _Faulty.apply(x, 1.0, 1.05 if self.wrong == "input gradient" else 1.0)
        y = F.conv3d(x, weight, self.bias, self.stride, self.padding)
        return _Faulty.apply(y, 1.05 if self.wrong == "output" else 1.0, 1.0)


@pytest.mark.parametrize("wrong", get_args(Wrong))
def test_each_wrong_quantity_is_found_and_named(wrong: Wrong):
    faulty = FaultyConv(4, 6, 3, padding=1)
    faulty.wrong = wrong
    model = nn.Sequential(nn.Conv3d(3, 4, 1), nn.ReLU(), faulty)
    findings = check_convolutions(model, (8, 3, 4, 6, 6), torch.bfloat16)
    assert [(f.layer, f.quantity, f.input_shape) for f in findings] == [("2", wrong, (2, 4, 4, 6, 6))]
    assert findings[0].error == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize("wrong", get_args(Wrong))
def test_wide_convolutions_are_sampled(wrong: Wrong):
    faulty = FaultyConv(80, 100, 3, padding=1)
    faulty.wrong = wrong
    findings = check_convolutions(nn.Sequential(faulty), (2, 80, 4, 6, 6), torch.bfloat16)
    assert [f.quantity for f in findings] == [wrong]
    assert findings[0].error == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize("value", [1e30, float("nan")])
@pytest.mark.parametrize("channel", [0, 1, 50, 98, 99])
def test_one_channel_that_was_never_written_is_found(channel: int, value: float):
    class Hole(nn.Conv3d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).index_fill(1, torch.tensor([channel]), value)

    findings = check_convolutions(nn.Sequential(Hole(80, 100, 3, padding=1)), (2, 80, 4, 6, 6), torch.bfloat16)
    assert "output" in [f.quantity for f in findings]


@pytest.mark.parametrize(("groups", "stride", "bias"), [(1, 2, True), (4, 1, False), (64, 2, True)])
def test_exact_channels_are_those_of_the_whole_convolution(groups: int, stride: int, bias: bool):
    module = nn.Conv3d(64, 128, 3, padding=1, stride=stride, groups=groups, bias=bias)
    x = torch.randn(2, 64, 4, 5, 5)
    exact = convolutions._exact(module, x, module.weight, torch.float32)
    module, x = module.double(), x.double().requires_grad_(True)
    y = module(x)
    x_gradient, weight_gradient = torch.autograd.grad(y, (x, module.weight), exact.gradient)
    assert len(exact.out_channels) == (32 if groups == 1 else 128)
    torch.testing.assert_close(exact.output, y[:, exact.out_channels].detach())
    torch.testing.assert_close(exact.input_gradient, x_gradient[:, exact.in_channels])
    torch.testing.assert_close(exact.weight_gradient, weight_gradient[exact.out_channels])


def test_what_is_not_finite_is_wrong():
    class Nan(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * float("nan")

    findings = check_convolutions(nn.Sequential(Nan(3, 4, 3)), (2, 3, 8, 8), torch.bfloat16)
    assert {f.quantity for f in findings} == set(get_args(Wrong))
    assert all(f.error == float("inf") for f in findings)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_plain_convolution_over_two_frames(memory_format: torch.memory_format):
    """The defect of some CPUs: either it is found, or the plain convolution agrees with the one padded by hand."""
    plain = nn.Sequential(nn.Conv3d(16, 16, 3, padding=1)).to(memory_format=memory_format)
    cured = nn.Sequential(Conv3d(16, 16, 3, padding=1)).to(memory_format=memory_format)
    assert check_convolutions(cured, (2, 16, 2, 4, 4), torch.bfloat16) == []
    findings = check_convolutions(plain, (2, 16, 2, 4, 4), torch.bfloat16)
    if findings:
        assert [f.quantity for f in findings] == ["weight gradient"]
        assert findings[0].error > 0.1  # whatever was in memory (1e30 where it was poisoned), not rounding
        return
    cured.load_state_dict(plain.state_dict())
    x = torch.randn(2, 16, 2, 4, 4)
    gradients = []
    for model in (plain, cured):
        with torch.autocast("cpu", torch.bfloat16):
            model(x).square().sum().backward()
        gradients.append(model[0].weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", ["c3d", "r3d10", "r2plus1d10"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_our_3d_networks_pass_in_bfloat16(name: CNN3DName, memory_format: torch.memory_format):
    model = build_cnn3d(name, width=8).to(memory_format=memory_format)
    assert check_convolutions(model, (4, 3, 16, 56, 56), torch.bfloat16) == []


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_our_frame_encoders_pass_in_bfloat16(name: Literal["resnet18", "resnet50"]):
    assert check_convolutions(build_frame_encoder(name, width=8), (8, 3, 56, 56), torch.bfloat16) == []


def test_float32_agrees_with_float64_to_1e_5():
    assert check_convolutions(build_cnn3d("r3d10", width=4), (2, 3, 16, 56, 56), torch.float32, tolerance=1e-5) == []


def test_a_convolution_of_equal_shape_is_checked_once_and_every_other_one_is():
    model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3))
    cases = convolutions._record_convolutions(model, (2, 3, 8, 8), torch.device("cpu"))
    assert [case.layer for case in cases] == ["0", "2"]


def test_the_model_is_left_as_it_was():
    model = build_cnn3d("r3d10", width=4)
    model.conv3.eval()  # a frozen part stays frozen
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check_convolutions(model, (2, 3, 16, 32, 32), torch.bfloat16)
    assert torch.equal(torch.rand(3), expected)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_float32_is_taken_without_a_check():
    assert choose_precision("float32", [(nn.Identity(), (1, 1))]).dtype is None


def test_auto_takes_bfloat16_only_where_it_is_there_and_faster(monkeypatch: pytest.MonkeyPatch):
    models = [(nn.Sequential(nn.Conv2d(3, 4, 3)), (2, 3, 8, 8))]
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: False)
    assert choose_precision("auto", models).dtype is None
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "_bfloat16_speed_up", lambda device: 1.0)
    assert choose_precision("auto", models).dtype is None
    monkeypatch.setattr(precision, "_bfloat16_speed_up", lambda device: 2.0)
    choice = choose_precision("auto", models)
    assert choice.dtype is torch.bfloat16
    assert "2.0 times" in choice.why


def test_the_probe_runs_on_one_thread_and_leaves_them_as_they_were(monkeypatch: pytest.MonkeyPatch):
    threads, forward = [], nn.Conv3d.forward

    def watched(conv: nn.Conv3d, x: torch.Tensor) -> torch.Tensor:
        threads.append(torch.get_num_threads())
        return forward(conv, x)

    monkeypatch.setattr(nn.Conv3d, "forward", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert precision._bfloat16_speed_up(torch.device("cpu")) > 0
        assert set(threads) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_wrong_convolution_means_float32_for_auto_and_a_refusal_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: True)
    monkeypatch.setattr(precision, "_bfloat16_speed_up", lambda device: 2.0)
    models = [(nn.Sequential(FaultyConv(3, 4, 3, padding=1)), (2, 3, 4, 8, 8))]
    choice = choose_precision("auto", models)
    assert choice.dtype is None
    assert "output of 0 at 2x3x4x8x8" in choice.why
    with pytest.raises(UserError, match=r"precision is bfloat16.*output of 0.*set precision to"):
        choose_precision("bfloat16", models)


def test_auto_runs_on_this_machine():
    choice = choose_precision("auto", [(build_cnn3d("r3d10", width=4), (2, 3, 16, 32, 32))])
    assert choice.dtype in (None, torch.bfloat16)
    assert choice.why.endswith(".")


def test_a_finding_reads_as_words():
    finding = Finding("conv5", "weight gradient", 1e30, (2, 8, 2, 4, 4))
    assert str(finding) == "weight gradient of conv5 at 2x8x2x4x4 (relative error 1e+30)"


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [
        ((9, 0), torch.bfloat16),
        ((8, 6), torch.bfloat16),
        ((7, 5), torch.float16),
        ((7, 0), torch.float16),
        ((6, 1), None),
    ],
)
def test_what_auto_would_like_on_gpus(
    capability: tuple[int, int], dtype: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
):
    asked = []
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: asked.append(device) or capability)
    assert precision._candidate(torch.device("cuda:1")).dtype == dtype
    assert asked == [torch.device("cuda:1")]  # not the first GPU, which may be another


def test_of_several_gpus_the_weakest_decides(monkeypatch: pytest.MonkeyPatch):
    capabilities = [(9, 0), (7, 5), (6, 1)]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda which: capabilities[which])
    monkeypatch.setattr(precision, "world", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert precision._candidate(torch.device("cuda")).dtype == torch.float16
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert precision._candidate(torch.device("cuda")).dtype is None


def test_a_kernel_that_the_library_lacks_is_wrong_and_full_memory_is_not():
    class Lacking(nn.Conv3d):
        says = "GET was unable to find an engine to execute this computation"

        def forward(self, x: Tensor) -> Tensor:
            if x.requires_grad:  # the check's own input, not that of the run which records shapes
                raise RuntimeError(self.says)
            return super().forward(x)

    model = nn.Sequential(Lacking(3, 4, 3))
    findings = check_convolutions(model, (2, 3, 4, 8, 8), torch.bfloat16)
    assert [(f.layer, f.quantity, f.error) for f in findings] == [("0", "output", float("inf"))]
    with pytest.raises(RuntimeError, match="unable to find an engine"):
        check_convolutions(model, (2, 3, 4, 8, 8), torch.float32)
    model[0].says = "CUDA out of memory. Tried to allocate 1 GiB."
    with pytest.raises(RuntimeError, match="out of memory"):
        check_convolutions(model, (2, 3, 4, 8, 8), torch.bfloat16)
