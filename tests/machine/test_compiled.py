"""Networks compiled one by one: the same losses and gradients, the same names, and eager where that cannot be."""

from __future__ import annotations

import copy
import shutil
from typing import Any

import pytest
import torch
from tiny import TINY
from torch import Tensor, nn

from cacl.config import resolve
from cacl.data.clips.batch import ClipBatch
from cacl.machine import compiled as module
from cacl.machine.compiled import compiled
from cacl.methods.classify import Classify
from cacl.methods.contract import MAIN
from cacl.methods.moco import MoCo
from cacl.models.cnn3d import build_cnn3d, channels_last_
from cacl.presets import PRESETS
from cacl.training.views import augmented_views
from cacl.training.wiring import build_frames_network, build_method, initial_network

SMALL = {**TINY, "method.queue_size": 16, "run.channels_last": True}


def parts() -> tuple[Any, Any]:
    """The whole method of the preset small, and a batch for it."""
    settings = resolve(PRESETS["small"], flags=SMALL).settings
    frames = build_frames_network(settings, weights=None)
    method = build_method(settings, network=initial_network(settings), frame_encoder=frames, videos=4)
    channels_last_(method)
    pixels = torch.randint(0, 256, (4, 2, 16, 32, 40, 3), dtype=torch.uint8).unbind(1)
    targets = {"permutation": torch.stack([torch.randperm(16) for _ in range(4)]), "degree": torch.arange(4)}
    raw = ClipBatch(pixels, targets, torch.arange(4), torch.arange(4), 0)
    return method, augmented_views(method, settings.augment, seed=0, channels_last=True)(raw)


def step(method: Any, batch: Any) -> tuple[dict[str, Tensor], Tensor]:
    """Loss terms of a step with its backward pass, and a term's gradient at the features, as the loop logs it."""
    output = method(batch)
    (at_features,) = torch.autograd.grad(output.terms["nce"], output.features, retain_graph=True)
    output.losses[MAIN].backward()
    method.after_step(output.state, batch.video, 0.5)
    return {name: term.detach() for name, term in {**output.losses, **output.terms}.items()}, at_features


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling on a CPU needs g++")
def test_a_compiled_training_step_is_the_eager_one() -> None:
    torch.manual_seed(0)
    method, batch = parts()
    other = copy.deepcopy(method)
    keys, said = method.state_dict().keys(), list[str]()
    with compiled(method.networks(), say=said.append):
        for _ in range(2):
            fast, at_features = step(method, batch)
            slow, wanted = step(other, batch)
            for name in slow:
                torch.testing.assert_close(fast[name], slow[name], rtol=1e-4, atol=1e-5)
            assert (at_features - wanted).norm() <= 1e-3 * wanted.norm()
        assert method.state_dict().keys() == keys
    assert said == []
    for (name, eager), one in zip(other.named_parameters(), method.parameters(), strict=True):
        if eager.grad is not None:
            assert one.grad is not None
            assert (one.grad - eager.grad).norm() <= 2e-3 * eager.grad.norm() + 1e-6, name
    for (name, eager), one in zip(other.named_buffers(), method.named_buffers(), strict=True):
        torch.testing.assert_close(one[1], eager, rtol=1e-3, atol=1e-4, msg=name)


def test_each_network_is_a_graph_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a compiler that only counts: which functions it gets, how often they run, and that all is undone after."""
    method, batch = parts()
    ran: list[nn.Module] = []

    def count(function: Any, *, dynamic: bool) -> Any:
        assert dynamic is False

        def call(*inputs: Any) -> Any:
            ran.append(function.__self__)
            return function(*inputs)

        return call

    monkeypatch.setattr(module.torch, "compile", count)
    with compiled(method.networks(), say=pytest.fail):
        step(method, batch)
    g, key, frames, t, t_key = method.networks()
    assert ran == [g, key, frames, t, frames, t_key]  # one pass over clip and twin; frames of both views
    step(method, batch)
    assert len(ran) == 6
    assert not any("forward" in vars(network) for network in method.networks())


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_network_is_one_graph(dtype: torch.dtype | None) -> None:
    """PyTorch's tracer alone, without a compiler behind it: it raises where it would have to cut."""
    torch.manual_seed(0)
    method, _ = parts()
    inputs = [torch.rand(2, 3, 16, 32, 32), None, torch.rand(8, 3, 32, 32), torch.rand(2, 32, 12), None]
    for network, x in zip(method.networks(), inputs, strict=True):
        if x is not None:
            whole = torch.compile(network.forward, dynamic=False, fullgraph=True, backend="eager")
            with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
                assert torch.equal(whole(x), network(x))


def test_what_cannot_be_compiled_runs_as_it_is_and_that_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function: Any, **rest: Any) -> Any:
        def call(*inputs: Any) -> Any:
            raise RuntimeError("no C++ compiler found\nsecond line")

        return call

    monkeypatch.setattr(module.torch, "compile", broken)
    torch.manual_seed(0)
    method, batch = parts()
    wanted, _ = step(copy.deepcopy(method), batch)
    said: list[str] = []
    with compiled(method.networks(), say=said.append):
        found, _ = step(method, batch)
        step(method, batch)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert len(said) == 1
    assert "RuntimeError: no C++ compiler found)" in said[0]


def test_too_little_memory_is_no_reason_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(function: Any, **rest: Any) -> Any:
        def call(*inputs: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory")

        return call

    monkeypatch.setattr(module.torch, "compile", full)
    network = build_cnn3d("r3d10", width=4)
    with compiled([network], say=pytest.fail), pytest.raises(torch.OutOfMemoryError):
        network(torch.rand(1, 3, 8, 32, 32))


def test_the_networks_of_every_method() -> None:
    settings = resolve(PRESETS["small"], flags=SMALL).settings
    moco = settings.method.build_frames(settings, frame_encoder=build_frames_network(settings, weights=None))
    assert isinstance(moco, MoCo)
    assert moco.networks() == [moco.query[0], moco.key[0]]
    classify = Classify(build_cnn3d("r3d10", width=4), classes=2, labels=[0, 1])
    assert classify.networks() == [classify.network]
    alone = resolve(PRESETS["small"], flags={**SMALL, "method.pairs": []}).settings
    method = build_method(alone, network=initial_network(alone), frame_encoder=None, videos=4)
    assert method.networks() == [method.encoder]
