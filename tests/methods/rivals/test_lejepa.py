"""LeJEPA: the statistic in closed form, the loss against a slow loop, and that it does not collapse."""

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
from scipy.integrate import quad
from torch import Tensor

from cacl.data.randomness import generator
from cacl.errors import UserError
from cacl.methods.contract import MethodBatch
from cacl.methods.rivals.lejepa import LeJEPA, LeJEPASettings, epps_pulley, random_directions
from cacl.presets import PRESETS
from cacl.training.optim import build_optimizer
from cacl.training.resolve import resolve_settings


def make(**changes: object) -> LeJEPA:
    made = tiny_method("lejepa", **changes)
    assert isinstance(made, LeJEPA)
    return made


def integral(x: np.ndarray, last: float) -> float:
    """The statistic from -last to last, by adaptive quadrature of complex numbers."""

    def height(t: float) -> float:
        return abs(np.exp(1j * t * x).mean() - math.exp(-t * t / 2)) ** 2 * math.exp(-t * t / 2)

    return len(x) * float(quad(height, -last, last, limit=200)[0])


def closed_form(x: np.ndarray) -> float:
    """The same over all t, where its three parts are Gaussian integrals."""
    n = len(x)
    pairs = np.exp(-((x[:, None] - x[None, :]) ** 2) / 2).sum() * math.sqrt(2 * math.pi) / n**2
    return n * (pairs - 2 * math.sqrt(math.pi) * np.exp(-(x**2) / 4).mean() + math.sqrt(2 * math.pi / 3))


@pytest.mark.parametrize("kind", ["normal", "narrow", "shifted", "two points", "uniform"])
def test_the_statistic_is_the_integral_and_what_lies_beyond_3_is_little(kind: str) -> None:
    rng = np.random.default_rng(0)
    samples = {
        "normal": rng.normal(size=40),
        "narrow": 0.1 * rng.normal(size=40),
        "shifted": 1 + rng.normal(size=40),
        "two points": rng.choice([-1.0, 1.0], 40),
        "uniform": rng.uniform(-math.sqrt(3), math.sqrt(3), 40),
    }
    x = samples[kind]
    found = epps_pulley(torch.from_numpy(x)[:, None]).item()
    assert found == pytest.approx(integral(x, 3), rel=2e-3)
    assert integral(x, 12) == pytest.approx(closed_form(x), rel=1e-6)
    assert 0.9 * closed_form(x) < found <= closed_form(x)


def test_nothing_is_more_normal_than_a_normal_sample() -> None:
    """Of one mean and variance, too: two points at -1 and 1 are told from a normal sample."""
    rng = np.random.default_rng(1)
    normal = epps_pulley(torch.from_numpy(rng.normal(size=(400, 50))))
    for other in (rng.choice([-1.0, 1.0], (400, 50)), 0.5 * rng.normal(size=(400, 50)), np.zeros((400, 50))):
        assert epps_pulley(torch.from_numpy(other)) > 5 * normal


def test_directions_are_of_length_1_point_everywhere_and_are_new_each_step() -> None:
    axes_EM = random_directions(8, 4000, torch.tensor(0.3))
    torch.testing.assert_close(axes_EM.norm(dim=0), torch.ones(4000))
    torch.testing.assert_close(axes_EM @ axes_EM.T / 4000, torch.eye(8) / 8, atol=0.02, rtol=0)
    assert torch.equal(axes_EM, random_directions(8, 4000, torch.tensor(0.3)))
    assert not torch.equal(axes_EM, random_directions(8, 4000, torch.tensor(0.4)))


def literal(made: LeJEPA, batch: MethodBatch) -> Tensor:
    """With complex numbers, a loop over videos, directions and points."""
    rows = made.head(made.network(torch.cat(batch.views)))
    first, second = rows.chunk(2)
    centre = (first + second) / 2
    near = ((first - centre) ** 2 + (second - centre) ** 2).sum() / rows.numel()
    axes = random_directions(128, 3, batch.shared[0]).double()
    far = torch.zeros((), dtype=torch.float64)
    for view in (first, second):
        for m in range(3):
            x, heights = view @ axes[:, m], []
            for k in range(17):
                t = 3 * k / 16
                found = torch.exp(1j * t * x).mean()
                heights.append((found - math.exp(-t * t / 2)).abs() ** 2 * math.exp(-t * t / 2))
            area = sum((heights[k] + heights[k + 1]) / 2 * 3 / 16 for k in range(16))
            far = far + len(x) * 2 * area / 6
    return 0.9 * near + 0.1 * far


def test_the_loss_and_its_gradient_are_the_literal_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    made = make(**{"method.normality": 0.1, "method.directions": 3}).double()
    batch = doubled(noise(made, 5, targets={}))
    output = made(batch)
    same_gradients(output.losses["main"], literal(made, batch), list(made.parameters()), atol=1e-7)
    total = 0.9 * output.terms["invariance"] + 0.1 * output.terms["sigreg"]
    torch.testing.assert_close(output.losses["main"], total)


def test_clips_are_of_one_moment_or_of_two() -> None:
    plan = make(**{"data.moments": 2}).plan(60, generator(0, "plan"))
    assert len(plan.clips) == 2
    assert plan.clips[0][0] != plan.clips[1][0]
    one = make(**{"data.moments": 1})
    assert len(one.plan(60, generator(0, "plan")).clips) == 1
    assert [view.clip for view in one.views] == [0, 0]
    assert [view.draw for view in one.views] == [0, 1]


@pytest.mark.slow
def test_it_tells_unseen_videos_apart_and_does_not_collapse() -> None:
    made = make(**{"augment.size": 16, "data.resize": [20, 20]})

    def batch(seed: int) -> MethodBatch:
        """A colour for each video, brighter or darker from clip to clip."""
        rng = np.random.default_rng(seed)
        colour = rng.random((24, 3, 1, 1, 1))
        views = [
            0.7 * colour + 0.2 * rng.random((24, 1, 1, 1, 1)) + 0.1 * rng.random((24, 3, 8, 16, 16)) for _ in (0, 1)
        ]
        number = torch.from_numpy(rng.random(1)).float()
        video = torch.arange(24 * seed, 24 * seed + 24)
        return MethodBatch(tuple(torch.from_numpy(v).float() for v in views), {}, video, torch.zeros(24, 0), number)

    optimizer = build_optimizer(made, optimizer="adamw", lr=3e-3, weight_decay=0.0)
    said = []
    for step in range(80):
        output = made(batch(step))
        optimizer.zero_grad()
        output.losses["main"].backward()
        optimizer.step()
        said.append(output.terms["sigreg"].item())
    found = made.embeddings(batch(999))
    right = ((found["first"] @ found["second"].T).argmax(dim=1) == torch.arange(24)).double().mean().item()
    print(f"lejepa: video found {right:.2f} (chance .04)")
    assert right > 0.3
    assert np.mean(said[-10:]) < 0.5 * said[0]


def test_a_share_of_all_or_nothing_is_refused() -> None:
    for value in (0.0, 1.0):
        with pytest.raises(UserError, match=r"method\.normality"):
            resolve_settings(method="lejepa", flags={"method.normality": value})


@pytest.mark.slow
def test_two_processes_learn_the_same(in_processes: InProcesses, tmp_path: Path) -> None:
    same_in_two_processes("lejepa", tmp_path, in_processes)


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_a_method_of_every_preset(preset: str) -> None:
    settings = resolve_settings(preset=preset, method="lejepa").settings
    assert isinstance(settings.method, LeJEPASettings)
    assert settings.method.label({}) == "lejepa"
