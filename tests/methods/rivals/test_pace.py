"""Pace: indices by a five-line reference, both contrasts against double loops, its task on moving squares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from methods.rivals.harness import (
    Moving,
    built,
    same_gradients,
    same_in_two_processes,
    settings_for,
    task_accuracy,
    trained,
    uniform_classes,
)

from cacl.data.clips.batch import ClipBatch
from cacl.data.randomness import generator
from cacl.methods.contract import MethodBatch
from cacl.methods.rivals.pace import ClipPace, Pace, PaceContextSettings, PaceSettings, paced_clip, same_pace
from cacl.models.cnn3d import build_cnn3d
from cacl.presets import PRESETS
from cacl.training.resolve import resolve_settings
from cacl.training.views import augmented_views

FRAMES = 8


def make(**options: Any) -> Pace:
    torch.manual_seed(0)
    network = build_cnn3d("r3d10", width=4)
    return Pace(network, ClipPace(network.num_features, frames=FRAMES), **options)


def batch(size: int, *, clips: int = 1, seed: int = 0) -> MethodBatch:
    rng = np.random.default_rng(seed)
    views = tuple(torch.from_numpy(rng.random((size, 3, FRAMES, 16, 16))) for _ in range(clips))
    targets = {name: torch.from_numpy(rng.integers(0, 4, size)) for name in ("pace", "second_pace")[:clips]}
    return MethodBatch(views, targets, torch.arange(size), torch.zeros(size, 0))


@given(st.integers(1, 200), st.integers(0, 199), st.integers(1, 8), st.integers(1, 20))
def test_indices_are_those_of_the_authors_loop(n: int, start: int, step: int, frames: int) -> None:
    start %= n
    expected, i = [], start
    for _ in range(frames):
        expected.append(i)
        i = i + step
        if i >= n:
            i = 0
    assert paced_clip(n, start, step=step, frames=frames).tolist() == expected


def test_paces_are_uniform_whatever_the_length_and_differences_are_the_pace() -> None:
    head, counts = ClipPace(4, frames=16, stride=2), np.zeros(4, dtype=int)
    for i in range(1200):
        n = (12, 40, 90, 400)[i % 4]
        plan = head.draw(n, generator(0, "plan", i))
        pace = int(plan.targets["pace"])
        counts[pace] += 1
        steps = np.diff(plan.clips[0])
        assert set(steps[steps > 0].tolist()) <= {2 * (pace + 1)}  # but for where it begins anew
        assert (plan.clips[0][1:][steps <= 0] == 0).all()
        assert plan.clips[0].max() < n
        assert int(head.draw(7, generator(0, "plan", i)).targets["pace"]) == pace
    assert uniform_classes(counts), counts


def test_the_start_is_anywhere_in_the_video() -> None:
    head = ClipPace(4, frames=4)
    starts = [int(head.draw(5, generator(0, "plan", i)).clips[0][0]) for i in range(600)]
    assert uniform_classes(np.bincount(starts, minlength=5))


@pytest.mark.parametrize("positives", ["none", "context", "pace"])
def test_the_loss_is_a_double_loop(positives: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    method = make(positives=positives, contrast_weight=0.3, temperature=0.4, projection="linear").double()
    clips = 1 if positives == "none" else 2
    given_batch = batch(5, clips=clips)
    output = method(given_batch)
    features = method.network(torch.cat(list(given_batch.views)))
    pace = torch.cat(list(given_batch.targets.values())).tolist()
    total = torch.zeros((), dtype=torch.float64)
    for i, row in enumerate(features):
        scores = torch.exp(method.head.linear.weight @ row + method.head.linear.bias)
        total = total - torch.log(scores[pace[i]] / scores.sum()) / len(features)
    if method.contrast is not None:
        embedded = [method.contrast(row[None])[0] for row in features]
        unit = [row / row.norm() for row in embedded]
        e = [[torch.exp(a @ b / 0.4) for b in unit] for a in unit]
        losses = []
        for i in range(10):
            if positives == "context":
                mine, others = [(i + 5) % 10], [j for j in range(10) if j % 5 != i % 5]
            else:
                mine = [j for j in range(10) if j != i and pace[j] == pace[i]]
                others = [j for j in range(10) if pace[j] != pace[i]]
            if mine:
                rest = sum(e[i][j] for j in others)
                losses.append(torch.stack([-torch.log(e[i][j] / (e[i][j] + rest)) for j in mine]).mean())
        total = total + 0.3 * torch.stack(losses).mean()
    same_gradients(output.losses["main"], total, list(method.parameters()))


def test_a_pace_that_a_clip_has_alone_has_no_positive() -> None:
    own = torch.nn.functional.normalize(torch.randn(4, 6, dtype=torch.float64), dim=1).requires_grad_()
    loss, metrics = same_pace(own, torch.tensor([0, 1, 1, 2]), temperature=0.1)
    c = (own @ own.T).detach().numpy()
    expected = np.mean(
        [-np.log(np.exp(c[i, j] / 0.1) / np.exp(c[i, [0, 3, j]] / 0.1).sum()) for i, j in ((1, 2), (2, 1))]
    )
    assert loss.item() == pytest.approx(expected)
    assert metrics["similarity_positive"].item() == pytest.approx(c[1, 2])
    for pace in ([0, 1, 2, 3], [1, 1, 1, 1]):
        loss, _ = same_pace(own, torch.tensor(pace), temperature=0.1)
        assert loss.item() == pytest.approx(0)
        (gradient,) = torch.autograd.grad(loss, own)
        assert gradient.isfinite().all()


@pytest.mark.parametrize(("jitter", "alike"), [("frame", False), ("clip", True)])
def test_colours_differ_within_a_clip_where_they_are_to(jitter: Any, alike: bool) -> None:
    method = make(jitter=jitter)
    augment = resolve_settings(method="pace", flags={"augment.size": 16, "augment.jitter_p": 1.0}).settings.augment
    still = torch.randint(0, 256, (2, 1, 24, 24, 3), dtype=torch.uint8).expand(-1, FRAMES, -1, -1, -1)
    order = torch.arange(2)
    (view,) = augmented_views(method, augment, seed=0, channels_last=False)(
        ClipBatch((still,), {"pace": order}, order, order, epoch=0)
    ).views
    change = (view - view[:, :, :1]).abs().amax((1, 3, 4))[:, 1:]
    assert bool((change == 0).all()) if alike else bool((change > 0.01).all())


def test_context_has_two_clips_of_one_video_each_with_a_pace_of_its_own() -> None:
    method, counts = make(positives="context"), np.zeros((4, 4), dtype=int)
    for i in range(800):
        plan = method.plan(200, generator(0, "plan", i))
        steps = [int(np.bincount(np.diff(clip).clip(0)).argmax()) for clip in plan.clips]
        assert steps == [int(plan.targets["pace"]) + 1, int(plan.targets["second_pace"]) + 1]
        counts[steps[0] - 1, steps[1] - 1] += 1
    assert counts.min() > 20  # 50 of each pair


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [("pace", {}), ("pace+context", {}), ("pace+context", {"method__positives": "pace"})],
)
def test_two_processes_are_one(
    name: str, changes: dict[str, Any], tmp_path: Path, in_processes: Callable[..., list[Any]]
) -> None:
    said = same_in_two_processes(name, tmp_path, in_processes, **changes)
    assert ("nce" in said[0]) == (name == "pace+context")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pace", "pace+context"])
def test_it_learns_paces_of_videos_that_it_never_saw(name: str) -> None:
    settings = settings_for(name, model__width=8, optim__batch_size=16)
    method = built(settings)
    said = trained(method, settings, Moving(count=64), steps=240)
    right = task_accuracy(method, settings, Moving(seed=1))
    print(
        f"{name}: loss {said[0]['loss']:.2f} to {np.mean([row['loss'] for row in said[-20:]]):.2f}, {right:.0%} right"
    )
    assert right > 0.5  # chance 1/4


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_a_method_of_every_preset(preset: str) -> None:
    jitter: Any = "clip" if preset == "small" else "frame"
    assert resolve_settings(preset=preset, method="pace").settings.method == PaceSettings(jitter=jitter)
    found = resolve_settings(preset=preset, method="pace+context").settings.method
    assert found == PaceContextSettings(jitter=jitter)
    assert found.label({}) == "pace+context"
