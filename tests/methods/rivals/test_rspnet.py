"""RSPNet: index sets, halves, both losses against loops, the queue past its end, relative speed of moving squares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from methods.rivals.harness import Moving, built, same_gradients, same_in_two_processes, settings_for, trained

from cacl.data.randomness import generator
from cacl.methods.contract import MethodBatch
from cacl.methods.rivals.rspnet import RSPNet, RSPNetSettings, fast_half
from cacl.models.cnn3d import build_cnn3d
from cacl.presets import PRESETS
from cacl.training.resolve import resolve_settings

FRAMES = 8


def make(**options: Any) -> RSPNet:
    torch.manual_seed(0)
    method = RSPNet(build_cnn3d("r3d10", width=4), frames=FRAMES, **{"queue_size": 12, **options})
    with torch.no_grad():  # a copy that differs, so that mixing them up shows
        for parameter in method.key.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return method


def batch(size: int, *, seed: int = 0, speed: int = 2) -> MethodBatch:
    rng = np.random.default_rng(seed)
    views = tuple(torch.from_numpy(rng.random((size, 3, speed * FRAMES, 16, 16))) for _ in range(2))
    return MethodBatch(views, {}, torch.arange(size) % 4, torch.from_numpy(rng.random((size, 1))))


@pytest.mark.parametrize(("stride", "speed"), [(1, 2), (2, 2), (1, 4)])
def test_windows_are_consecutive_and_start_anywhere(stride: int, speed: int) -> None:
    method, starts = make(stride=stride, speed=speed), []
    for i in range(600):
        q, k = method.plan(100, generator(0, "plan", i)).clips
        assert all(np.diff(window).tolist() == [stride] * (speed * FRAMES - 1) for window in (q, k))
        starts.append((int(q[0]), int(k[0])))
    last = 100 - (stride * (speed * FRAMES - 1) + 1)
    assert {min(pair) for pair in zip(*starts, strict=True)} == {0}
    assert {max(pair) for pair in zip(*starts, strict=True)} == {last}
    assert abs(np.corrcoef(np.array(starts).T)[0, 1]) < 0.15
    short = method.plan(5, generator(0, "plan")).clips[0]
    assert short.tolist() == [i % 5 for i in range(speed * FRAMES)]


@pytest.mark.parametrize("speed", [2, 3, 4])
def test_slow_clips_take_every_frame_and_fast_ones_every_second(speed: int) -> None:
    method = make(speed=speed)
    window = torch.arange(speed * FRAMES).float()[None, None, :, None, None].expand(2, 3, -1, 4, 4)
    slow, fast = method.at_speed(window, torch.tensor([False, True]))
    assert slow[0, :, 0, 0].tolist() == list(range(FRAMES))
    assert fast[0, :, 0, 0].tolist() == [speed * i for i in range(FRAMES)]


def test_halves_partition_the_batch_and_every_sample_is_in_either_as_often() -> None:
    rng, counts = np.random.default_rng(0), np.zeros(6)
    for _ in range(600):
        fast = fast_half(torch.from_numpy(rng.random(6)))
        assert fast.sum() == 3
        counts += fast.numpy()
    assert ((counts - 300) ** 2 / 150).sum() < 27  # chi-square
    assert fast_half(torch.tensor([0.3, 0.9, 0.1, 0.5])).tolist() == [False, True, False, True]
    assert fast_half(torch.rand(5)).sum() == 3


@pytest.mark.parametrize(("masked", "batch_too"), [(False, False), (True, True)])
def test_the_losses_are_loops(masked: bool, batch_too: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    method = make(mask_own_keys=masked, batch_negatives=batch_too, temperature=0.4, margin=0.6).double()
    method.queue.videos[:5] = torch.tensor([0, 1, 2, 3, 0])
    given = batch(6)
    output = method(given)
    order = given.uniforms[:, 0].tolist()
    fast = [sorted(order).index(u) >= 3 for u in order]

    def clips(view: torch.Tensor, speeds: list[bool]) -> torch.Tensor:
        return torch.stack([w[:, ::2] if f else w[:, :FRAMES] for w, f in zip(view, speeds, strict=True)])

    def unit(head: torch.nn.Module, row: torch.Tensor) -> torch.Tensor:
        out = head(row[None])[0]
        return out / out.norm()

    q = method.query.network(clips(given.views[0], fast))
    with torch.no_grad():
        plus = method.key.network(clips(given.views[1], fast))
        minus = method.key.network(clips(given.views[1], [not f for f in fast]))
    ranking, nce, nearer = [], [], []
    for b in range(6):
        s_plus, s_minus = (
            unit(method.query.motion, q[b]) @ unit(method.key.motion, k[b]).detach() for k in (plus, minus)
        )
        ranking.append(torch.clamp(0.6 - (s_plus - s_minus) / 0.4, min=0))
        nearer.append(bool(s_plus > s_minus))
        own = unit(method.query.appearance, q[b])
        rest = [
            torch.exp(own @ key / 0.4)
            for key, video in zip(method.queue.keys, method.queue.videos.tolist(), strict=True)
            if not (masked and video == int(given.video[b]))
        ]
        if batch_too:
            for other in range(6):
                if int(given.video[other]) != int(given.video[b]):
                    rest.append(torch.exp(own @ unit(method.key.appearance, minus[other]).detach() / 0.4))
        for k in (plus, minus):
            e = torch.exp(own @ unit(method.key.appearance, k[b]).detach() / 0.4)
            nce.append(-torch.log(e / (e + sum(rest))))
    ranking_loss, nce_loss = torch.stack(ranking).mean(), torch.stack(nce).sum() / 6
    assert sum(r.item() > 0 for r in ranking) > 0
    parameters = [p for p in method.parameters() if p.requires_grad]
    assert output.metrics["speed_accuracy"].item() == pytest.approx(np.mean(nearer))
    same_gradients(output.terms["speed_loss"], ranking_loss, parameters)
    same_gradients(output.losses["main"], ranking_loss + nce_loss, parameters)
    tail = torch.stack([unit(method.key.appearance, k) for k in minus])
    torch.testing.assert_close(output.state["key"], tail)


def test_exchanging_the_two_speeds_of_k_negates_the_ranking_and_keeps_the_contrast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method, given = make(margin=50.0), batch(6)
    given = replace(given, views=tuple(view.float() for view in given.views), uniforms=given.uniforms.float())
    output, plain, calls = method(given), RSPNet.at_speed, []

    def exchanged(self: RSPNet, window: torch.Tensor, fast: torch.Tensor) -> torch.Tensor:
        calls.append(0)
        return plain(self, window, fast if len(calls) == 1 else ~fast)  # q as it was, k the other way

    monkeypatch.setattr(RSPNet, "at_speed", exchanged)
    swapped = method(given)
    assert swapped.terms["nce"].item() == pytest.approx(output.terms["nce"].item(), rel=1e-5)
    losses = [out.terms["speed_loss"].item() for out in (output, swapped)]  # margin - d and margin + d
    assert np.mean(losses) == pytest.approx(50, rel=1e-5)
    assert abs(losses[0] - 50) > 1e-4


def test_the_queue_holds_the_last_keys_of_k_minus_past_its_end() -> None:
    method, seen = make(), []
    for number in range(5):
        given = batch(5, seed=number)
        given = replace(given, views=tuple(view.float() for view in given.views), uniforms=given.uniforms.float())
        output = method(given)
        before = {name: value.clone() for name, value in method.key.named_parameters()}
        method.after_step(output.state, given.video, 0.5)
        seen += [(row, int(v)) for row, v in zip(output.state["key"], given.video, strict=True)]
        for name, value in method.key.named_parameters():
            expected = 0.999 * before[name] + 0.001 * dict(method.query.named_parameters())[name]
            torch.testing.assert_close(value, expected)
    held = {place % 12: (key, video) for place, (key, video) in enumerate(seen)}  # 25 keys, 12 places
    for place, (key, video) in held.items():
        assert torch.equal(method.queue.keys[place], key)
        assert int(method.queue.videos[place]) == video
    assert int(method.queue.pointer) == 25 % 12


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path, in_processes: Callable[..., list[Any]]) -> None:
    same_in_two_processes("rspnet", tmp_path, in_processes, method__queue_size=40)


@pytest.mark.slow
def test_it_learns_which_speed_is_nearer_in_videos_that_it_never_saw() -> None:
    settings = settings_for("rspnet", model__width=8, optim__batch_size=16, method__queue_size=64)
    method = built(settings)
    said = trained(method, settings, Moving(count=64), steps=240)
    right = np.mean([row["speed_accuracy"] for row in trained(method, settings, Moving(seed=1), steps=8, lr=1e-9)])
    print(f"rspnet: nce {said[0]['nce']:.2f} to {said[-1]['nce']:.2f}, equal speed nearer in {right:.0%}")
    assert right > 0.7  # chance 1/2


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_a_method_of_every_preset(preset: str) -> None:
    found = resolve_settings(preset=preset, method="rspnet").settings.method
    small: dict[str, Any] = {"momentum": 0.99, "momentum_schedule": "cosine", "queue_size": "auto", "temperature": 0.1}
    small |= {"mask_own_keys": True, "batch_negatives": True}
    assert found == RSPNetSettings(**(small if preset == "small" else {}))
    assert found.label({}) == "rspnet"
    auto = {} if preset != "small" else {"method.queue_size": (150, "half an epoch of keys of 300 videos")}
    assert found.auto_values(videos=300) == auto
