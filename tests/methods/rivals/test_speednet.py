"""SpeedNet: indices of both speeds by a slow loop, pooling and loss against literal ones, its own task."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from methods.rivals.harness import (
    InProcesses,
    doubled,
    noise,
    same_gradients,
    same_in_two_processes,
    tiny_method,
)
from torch import Tensor

from cacl.data.clips.sampling import TooShort
from cacl.data.randomness import generator
from cacl.errors import UserError
from cacl.methods.contract import MethodBatch
from cacl.methods.rivals.speednet import SpeedNet, SpeedNetSettings
from cacl.presets import PRESETS
from cacl.training.optim import build_optimizer
from cacl.training.resolve import resolve_settings


def make(**changes: object) -> SpeedNet:
    made = tiny_method("speednet", **changes)
    assert isinstance(made, SpeedNet)
    return made


def test_both_speeds_are_those_of_a_slow_loop() -> None:
    made = make(**{"data.stride": 2})
    firsts = []
    for i in range(300):
        rng = generator(0, "plan", i)
        slow, fast = made.plan(60, rng).clips
        again = generator(0, "plan", i)
        rates = [1.0 + 0.2 * again.random(), 1.7 + 0.5 * again.random()]
        assert slow[0] == fast[0]
        for clip, rate in ((slow, rates[0]), (fast, rates[1])):
            assert clip.tolist() == [clip[0] + int(rate * 2 * t) for t in range(8)]
            assert clip.max() < 60
        longest = int(rates[1] * 2 * 7) + 1
        firsts.append(int(slow[0]) / (60 - longest + 1))
    counts, _ = np.histogram(firsts, bins=5, range=(0, 1))
    assert ((counts - 60) ** 2 / 60).sum() < 23.5  # chi-square of 4 degrees of freedom, p = 1e-4


def test_short_videos_lose_their_stride_and_never_the_speed() -> None:
    made = make(**{"data.stride": 3})
    for i in range(40):
        for n, strides in ((60, {3}), (32, {2}), (23, {1}), (40, {2, 3})):  # the fast clip spans 12 to 16 times these
            slow, fast = made.plan(n, generator(0, "plan", i)).clips
            rate = 1.0 + 0.2 * generator(0, "plan", i).random()
            assert slow[-1] - slow[0] in {int(7 * rate * stride) for stride in strides}
            assert 1.3 < (fast[-1] - fast[0]) / (slow[-1] - slow[0]) < 2.4
    with pytest.raises(TooShort, match="10 frames"):
        made.plan(10, generator(0, "plan"))


def test_a_test_shows_both_speeds_equally_often() -> None:
    speed, counts = make().speed, np.zeros(2)
    for i in range(1000):
        plan = speed.draw(60, generator(0, "test", i))
        fast = int(plan.targets["speed"])
        counts[fast] += 1
        assert (plan.clips[0][-1] - plan.clips[0][0] > 9) == bool(fast)
    assert abs(counts[0] - 500) < 71  # 4.5 standard deviations


def test_the_loss_and_its_gradient_are_the_literal_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    made = make().double()
    batch = doubled(noise(made, 3, targets={}))
    output = made(batch)
    maps = made.network.forward_features(torch.cat(batch.views))
    assert maps.shape[2:] == (1, 2, 2)
    loss, hits = torch.zeros((), dtype=torch.float64), 0.0
    for i in range(6):  # three at their own speed, three sped up
        feature = torch.stack([maps[i, :, 0, y, x] for y in (0, 1) for x in (0, 1)]).max(dim=0).values
        logit = made.speed.fast.weight[0] @ feature + made.speed.fast.bias[0]
        fast = 1 / (1 + torch.exp(-logit))
        loss = loss - torch.log(fast if i >= 3 else 1 - fast) / 6
        hits += float((logit.item() > 0) == (i >= 3)) / 6
    same_gradients(output.losses["main"], loss, list(made.parameters()), atol=1e-7)
    assert output.metrics["speed_accuracy"].item() == pytest.approx(hits)


def test_time_is_averaged_after_the_maximum_over_the_picture() -> None:
    made = make()
    maps = torch.rand(2, 32, 3, 4, 5)

    class Fixed(torch.nn.Module):
        def forward_features(self, x: Tensor) -> Tensor:
            return maps

    found = made.speed.features(Fixed(), torch.zeros(2))  # type: ignore[arg-type]
    for b in range(2):
        for d in range(32):
            assert found[b, d].item() == pytest.approx(np.mean([maps[b, d, t].max().item() for t in range(3)]))


def test_clips_of_a_step_have_one_size_within_the_range() -> None:
    made = make(**{"method.resize": [0.5, 1.5]})
    clip = torch.rand(2, 3, 8, 32, 32)
    for share, side in ((0.0, 16), (0.5, 32), (0.75, 40), (1.0, 48)):
        found = made.sized(clip, torch.tensor(share))
        assert found.shape == (2, 3, 8, side, side)
        torch.testing.assert_close(found.mean(dim=(3, 4)), clip.mean(dim=(3, 4)), atol=0.05, rtol=0)
        if side == 32:
            torch.testing.assert_close(found, clip)
    made(noise(made, 2, targets={})).losses["main"].backward()
    assert make().sized(clip, torch.tensor(0.3)) is clip


def test_a_head_that_knows_nothing_has_the_loss_ln_2() -> None:
    made = make()
    torch.nn.init.zeros_(made.speed.fast.weight)
    torch.nn.init.zeros_(made.speed.fast.bias)
    assert made(noise(made, 4, targets={})).losses["main"].item() == pytest.approx(math.log(2))


def rotating(times: np.ndarray, rng: np.random.Generator) -> Tensor:
    """A bar that wanders by a pixel a frame, on noise: ``[3, T, 16, 16]``."""
    pixels = 0.2 * rng.random((len(times), 16, 16))
    for t, time in enumerate(times):
        pixels[t, :, int(time) % 16] += 0.7
    return torch.from_numpy(np.broadcast_to(pixels, (3, *pixels.shape)).copy()).float()


@pytest.mark.slow
def test_it_tells_speeds_apart_above_chance() -> None:
    made = make(**{"augment.size": 16, "data.resize": [20, 20]})
    optimizer = build_optimizer(made, optimizer="adamw", lr=3e-3, weight_decay=0.0)
    rng, hits = np.random.default_rng(0), []
    for step in range(80):
        plans = [made.plan(60, generator(1, "learn", step, i)) for i in range(12)]
        views = tuple(torch.stack([rotating(plan.clips[k], rng) for plan in plans]) for k in range(2))
        output = made(MethodBatch(views, {}, torch.arange(12), torch.zeros(12, 0), torch.zeros(1)))
        optimizer.zero_grad()
        output.losses["main"].backward()
        optimizer.step()
        hits.append(output.metrics["speed_accuracy"].item())
    print(f"speednet: speed right {np.mean(hits[-20:]):.2f} (chance .5)")
    assert np.mean(hits[-20:]) > 0.75, hits


def test_a_range_that_goes_down_is_refused() -> None:
    with pytest.raises(UserError, match=r"method\.normal must go from low to high \(found \[1\.2, 1\.0\]\)"):
        resolve_settings(method="speednet", flags={"method.normal": [1.2, 1.0]})


@pytest.mark.slow
def test_two_processes_learn_the_same(in_processes: InProcesses, tmp_path: Path) -> None:
    same_in_two_processes("speednet", tmp_path, in_processes, **{"method.resize": [0.8, 1.2]})


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_a_method_of_every_preset(preset: str) -> None:
    settings = resolve_settings(preset=preset, method="speednet").settings
    assert isinstance(settings.method, SpeedNetSettings)
    assert settings.method.resize == ((1.0, 1.0) if preset == "small" else (64 / 224, 336 / 224))
    assert settings.method.label({}) == "speednet"
