"""CVRL against literal loops, the law of its clips' distance, and its own task on generated videos."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cacl.data.randomness import generator
from cacl.methods.contract import MethodBatch
from cacl.methods.cvrl import CVRL, nt_xent
from cacl.methods.cvrl_settings import CVRLSettings
from cacl.models.cnn3d import build_cnn3d
from cacl.presets import PRESETS
from cacl.settings import settings_of
from cacl.training.resolve import resolve_settings
from cacl.training.wiring import build_method, initial_network


def unit(size: int, *, seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(size, 6, dtype=torch.float64), dim=1).requires_grad_()


def literal(first: torch.Tensor, second: torch.Tensor, video: list[int], temperature: float) -> torch.Tensor:
    """Sum by sum over clips (view, sample)."""
    clip = {(v, i): (first, second)[v][i] for v in (0, 1) for i in range(len(video))}
    losses = []
    for (view, i), query in clip.items():
        own = torch.exp(query @ clip[1 - view, i] / temperature)
        others = [torch.exp(query @ key / temperature) for (_, j), key in clip.items() if video[j] != video[i]]
        losses.append(-torch.log(own / (own + sum(others))))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("video", [[0, 1, 2, 3], [5, 1, 5, 0], [2, 2, 2, 2], [7]])
def test_the_loss_and_its_gradient_are_the_literal_sum(video: list[int]) -> None:
    first, second = unit(len(video), seed=0), unit(len(video), seed=1)
    loss, metrics = nt_xent(first, second, torch.tensor(video), temperature=0.3)
    expected = literal(first, second, video, 0.3)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    found = torch.autograd.grad(loss, [first, second])
    for a, b in zip(found, torch.autograd.grad(expected, [first, second]), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
    assert metrics["similarity_positive"].item() == pytest.approx((first * second).sum(dim=1).mean().item())
    cosines = [
        (a[i] @ b[j]).item()
        for a in (first, second)
        for b in (first, second)
        for i in range(len(video))
        for j in range(len(video))
        if video[i] != video[j]
    ]
    assert metrics["similarity_negatives"].item() == pytest.approx(np.mean(cosines) if cosines else 0.0)


def test_the_two_clips_have_the_same_part() -> None:
    first, second = unit(5, seed=2), unit(5, seed=3)
    loss, swapped = (nt_xent(a, b, torch.arange(5), temperature=0.1)[0] for a, b in ((first, second), (second, first)))
    assert loss.item() == pytest.approx(swapped.item(), abs=1e-12)


def test_of_equal_embeddings_the_loss_is_known() -> None:
    one = torch.ones(4, 1, dtype=torch.float64)
    loss, _ = nt_xent(one, one, torch.arange(4), temperature=0.1)
    assert loss.item() == pytest.approx(math.log(7))  # one positive among it and six negatives


def method(**changes: object) -> CVRL:
    torch.manual_seed(0)
    return CVRL(build_cnn3d("r3d10", width=4), frames=8, stride=1, **changes)  # type: ignore[arg-type]


def test_near_clips_come_oftener_as_the_paper_says() -> None:
    made, n = method(), 4000
    clips = [made.plan(47, generator(0, "plan", i)).clips for i in range(n)]  # 40 starts
    first, second = (np.array([clip[k][0] for clip in clips]) for k in (0, 1))
    distance = second - first
    for d in range(40):
        share, law = (distance >= d).mean(), (1 - d / 40) ** 2
        assert abs(share - law) < 4.5 * math.sqrt(law * (1 - law) / n) + 1e-12, d
    near = first[distance < 4] / (40 - distance[distance < 4])
    assert abs(near.mean() - 0.5) < 0.03  # the first start is uniform, given the distance
    assert all((np.diff(clip) == 1).all() for pair in clips for clip in pair)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 3), st.integers(0, 99))
def test_clips_lie_in_the_video_whatever_its_length(n: int, frames: int, stride: int, seed: int) -> None:
    made = CVRL.__new__(CVRL)
    torch.nn.Module.__init__(made)
    made.frames, made.stride = frames, stride
    found = made.plan(n, generator(seed, "plan")).clips
    assert [len(clip) for clip in found] == [frames, frames]
    assert min(clip.min() for clip in found) >= 0
    assert max(clip.max() for clip in found) < n
    assert n < frames or found[0][0] <= found[1][0]


def test_it_tells_videos_it_has_never_seen_apart() -> None:
    flags = {"model.width": 4, "model.standardise": "none", "data.frames": 8, "augment.size": 16}
    settings = resolve_settings(method="cvrl", flags=flags | {"data.resize": [20, 20]}).settings
    made = build_method(settings, network=initial_network(settings), videos=8).train()

    def batch(seed: int) -> MethodBatch:
        """A colour for each video; both clips with noise of their own."""
        rng = np.random.default_rng(seed)
        colour, views = rng.random((12, 3, 1, 1, 1)), []
        for _ in range(2):
            views.append(torch.from_numpy(0.7 * colour + 0.3 * rng.random((12, 3, 8, 16, 16))).float())
        return MethodBatch(tuple(views), {}, torch.arange(12), torch.zeros(12, 0))

    def hits() -> float:
        found = made.embeddings(batch(999))
        nearest = (found["first"] @ found["second"].T).argmax(dim=1)
        return (nearest == torch.arange(12)).double().mean().item()

    optimizer = torch.optim.AdamW(made.parameters(), lr=3e-3)
    losses = []
    for step in range(40):
        loss = made(batch(step)).losses["main"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-8:]) < 0.6 * math.log(23), losses  # ln 23: all clips alike
    assert hits() > 0.5  # by chance 1 of 12


def test_both_clips_teach() -> None:
    made = method()
    views = tuple(torch.rand(3, 3, 8, 16, 16, requires_grad=True) for _ in range(2))
    output = made(MethodBatch(views, {}, torch.arange(3), torch.zeros(3, 0)))
    output.losses["main"].backward()
    assert all(view.grad is not None and view.grad.abs().sum() > 0 for view in views)
    assert output.features is not None
    assert output.features.shape == (2, 3, made.network.num_features)


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_a_method_of_every_preset(preset: str) -> None:
    settings = resolve_settings(preset=preset, method="cvrl").settings
    assert isinstance(settings, settings_of("cvrl"))
    assert settings.method == CVRLSettings(temperature=0.1)
    assert settings.method.label({}) == "cvrl"
    assert not settings.wants_frame_encoder
