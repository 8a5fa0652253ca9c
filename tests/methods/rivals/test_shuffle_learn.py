"""Shuffle and Learn: the five moments, labels by order, the loss against a literal one, its own task."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
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
from cacl.methods.contract import MethodBatch
from cacl.methods.rivals.shuffle_learn import ShuffleLearn, ShuffleLearnSettings, Verification
from cacl.presets import PRESETS
from cacl.training.optim import build_optimizer
from cacl.training.resolve import resolve_settings


def make(**changes: object) -> ShuffleLearn:
    made = tiny_method("shuffle-learn", **changes)
    assert isinstance(made, ShuffleLearn)
    return made


@given(st.integers(5, 400), st.integers(1, 20), st.integers(2, 70), st.integers(0, 99))
def test_five_moments_are_in_order_and_keep_their_distances(count: int, near: int, far: int, seed: int) -> None:
    head = Verification(4, nearest=near, farthest=far)
    a, b, c, d, e = head.starts(count, generator(seed, "t"))
    assert 0 <= a < b < c < d < e < count
    assert d - b <= far
    if count >= 2 * near + 3:
        assert b - a >= near
        assert e - d >= near


def test_every_distance_that_is_allowed_occurs() -> None:
    head = Verification(4, nearest=3, farthest=6)
    found = [head.starts(12, generator(0, "t", i)) for i in range(1000)]
    assert {d - b for _, b, _, d, _ in found} == {2, 3, 4, 5}
    assert {b - a for a, b, *_ in found} == {3, 4, 5, 6}
    assert {e - d for *_, d, e in found} == {3, 4, 5, 6}
    with pytest.raises(TooShort, match="4 possible starts"):
        head.starts(4, generator(0, "t"))


def test_the_label_says_whether_the_middle_clip_is_in_the_middle() -> None:
    made, labels, first, turned = make(), np.zeros(2), 0, 0
    for i in range(4000):
        plan = made.plan(150, generator(0, "plan", i))
        starts = [int(clip[0]) for clip in plan.clips]
        assert all((np.diff(clip) == 1).all() for clip in plan.clips)
        in_order = starts[0] < starts[1] < starts[2] or starts[0] > starts[1] > starts[2]
        assert int(plan.targets["order"]) == int(in_order)
        assert 2 <= abs(starts[0] - starts[2]) <= 60
        if not in_order:
            assert min(abs(starts[1] - starts[0]), abs(starts[1] - starts[2])) >= 15
            first += starts[1] < min(starts) + 1
        labels[int(in_order)] += 1
        turned += starts[0] > starts[2]
    assert abs(labels[1] - 1000) < 124  # 4.5 standard deviations
    assert abs(first - labels[0] / 2) < 124
    assert abs(turned - 2000) < 143


def test_a_test_asks_both_equally_often() -> None:
    labels = [int(make_draw(i)) for i in range(1000)]
    assert abs(sum(labels) - 500) < 71  # 4.5 standard deviations


def make_draw(i: int) -> int:
    return int(Verification(4, frames=8).draw(150, generator(0, "test", i)).targets["order"])


def test_the_label_does_not_depend_on_the_length_of_the_video() -> None:
    made = make()
    for i in range(40):
        assert len({int(made.plan(n, generator(0, "plan", i)).targets["order"]) for n in (12, 25, 40, 300)}) == 1


def test_the_loss_and_its_gradient_are_the_literal_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    made = make().double()
    batch = doubled(noise(made, 4, targets={"order": torch.tensor([0, 1, 1, 0])}))
    output, features = made(batch), [made.network(view) for view in batch.views]
    loss = torch.zeros((), dtype=torch.float64)
    for b in range(4):
        logits = made.head.order.weight @ torch.cat([features[i][b] for i in range(3)]) + made.head.order.bias
        loss = loss - torch.log(logits[batch.targets["order"][b]].exp() / logits.exp().sum()) / 4
    same_gradients(output.losses["main"], loss, list(made.parameters()), atol=1e-7)


def test_scores_of_a_test_leave_out_what_training_has_more_of() -> None:
    made = make().eval()
    torch.nn.init.zeros_(made.head.order.weight)
    made.head.order.bias.data = torch.tensor([math.log(0.75), math.log(0.25)])  # knows the frequencies alone
    clips = [torch.rand(2, 3, 8, 32, 32) for _ in range(3)]
    torch.testing.assert_close(made.head.logits(made.network, clips, {}), torch.zeros(2, 2))


def scene(times: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Brightness grows with time: ``[3, T, 16, 16]``."""
    pixels = 0.1 + 0.7 * times[:, None, None] / 100 + 0.1 * rng.random((len(times), 16, 16))
    return torch.from_numpy(np.broadcast_to(pixels, (3, *pixels.shape)).copy()).float()


@pytest.mark.slow
def test_it_verifies_the_order_of_generated_videos_above_chance() -> None:
    made = make(**{"augment.size": 16, "data.resize": [20, 20], "method.positives": 0.5})
    optimizer = build_optimizer(made, optimizer="adamw", lr=3e-3, weight_decay=0.0)
    rng, hits = np.random.default_rng(0), []
    for step in range(250):
        plans = [made.plan(100, generator(1, "learn", step, i)) for i in range(16)]
        views = tuple(torch.stack([scene(plan.clips[k], rng) for plan in plans]) for k in range(3))
        aims = {"order": torch.tensor([int(plan.targets["order"]) for plan in plans])}
        output = made(MethodBatch(views, aims, torch.arange(16), torch.zeros(16, 0)))
        optimizer.zero_grad()
        output.losses["main"].backward()
        optimizer.step()
        hits.append(output.metrics["order_accuracy"].item())
    print(f"shuffle-learn: order right {np.mean(hits[-40:]):.2f} (chance .5)")
    assert np.mean(hits[-40:]) > 0.65, hits


@pytest.mark.slow
def test_two_processes_learn_the_same(in_processes: InProcesses, tmp_path: Path) -> None:
    same_in_two_processes("shuffle-learn", tmp_path, in_processes)


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_a_method_of_every_preset(preset: str) -> None:
    settings = resolve_settings(preset=preset, method="shuffle-learn").settings
    assert settings.method == ShuffleLearnSettings()
    assert settings.method.label({}) == "shuffle-learn"
