"""OPN: classes of orders up to reversal, one channel, the loss against a literal one, its own task."""

from __future__ import annotations

import itertools
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

from cacl.data.randomness import generator
from cacl.methods.contract import MethodBatch
from cacl.methods.rivals.opn import OPN, OPNSettings, OrderUpToReversal, one_channel
from cacl.presets import PRESETS
from cacl.training.optim import build_optimizer
from cacl.training.resolve import resolve_settings


def make(**changes: object) -> OPN:
    made = tiny_method("opn", **{"method.hidden": 16, **changes})
    assert isinstance(made, OPN)
    return made


def test_every_order_and_its_reversal_share_one_of_twelve_classes() -> None:
    orders = OrderUpToReversal(4).orders
    classes: dict[tuple[int, ...], list[int]] = {order: [] for order in itertools.permutations(range(4))}
    for number, order in enumerate(orders):
        classes[order].append(number)
        classes[order[::-1]].append(number)
    assert len(orders) == 12
    assert all(len(found) == 1 for found in classes.values())


def test_all_24_orders_are_shown_equally_often_and_the_target_is_their_class() -> None:
    made, counts = make(), dict.fromkeys(itertools.permutations(range(4)), 0)
    for i in range(2400):
        plan = made.plan(90, generator(0, "plan", i))
        starts = [int(clip[0]) for clip in plan.clips]
        shown = tuple(sorted(starts).index(start) for start in starts)
        assert made.head.orders[int(plan.targets["order"])] in (shown, shown[::-1])
        assert (np.diff(sorted(starts)) == 8 + 8).all()
        counts[shown] += 1
    assert sum((n - 100) ** 2 / 100 for n in counts.values()) < 60  # chi-square of 23 degrees of freedom, p = 4e-5


def test_the_target_does_not_depend_on_the_length_of_the_video() -> None:
    made = make()
    for i in range(40):
        assert len({int(made.plan(n, generator(0, "plan", i)).targets["order"]) for n in (5, 25, 40, 300)}) == 1


def test_one_channel_takes_the_place_of_all() -> None:
    clip = torch.rand(3, 3, 2, 4, 4)
    found = one_channel(clip, torch.tensor([0, 2, 1]))
    for b, channel in enumerate((0, 2, 1)):
        for c in range(3):
            assert torch.equal(found[b, c], clip[b, channel])


@pytest.mark.parametrize(("training", "split"), [(True, True), (False, False)])
def test_the_loss_and_its_gradient_are_the_literal_sum(
    training: bool, split: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    made = make(**{"method.dropout": 0.4, "method.split_channels": split}).double().train(training)
    batch = doubled(noise(made, 4, targets={"order": torch.tensor([0, 11, 5, 7])}))
    views = [view.clone() for view in batch.views]
    if split:
        for view in views:
            for b in range(4):
                view[b] = view[b, int(3 * batch.uniforms[b, -1])]
    output, features, head = made(batch), [made.network(view) for view in views], made.head
    loss = torch.zeros((), dtype=torch.float64)
    for b in range(4):
        hidden = []
        for i, j in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)):
            h = head.pair.weight @ torch.cat([features[i][b], features[j][b]]) + head.pair.bias
            hidden.append(torch.where(h > 0, h, 0 * h))
        row = torch.cat(hidden)
        if training:
            kept = [0.0 if u < 0.4 else 1 / 0.6 for u in batch.uniforms[b, :-1].tolist()]
            row = row * torch.tensor(kept, dtype=torch.float64)
        logits = head.order.weight @ row + head.order.bias
        loss = loss - torch.log(logits[batch.targets["order"][b]].exp() / logits.exp().sum()) / 4
    same_gradients(output.losses["main"], loss, list(made.parameters()), atol=1e-7)


def test_a_head_that_knows_nothing_has_the_loss_ln_12() -> None:
    made = make()
    torch.nn.init.zeros_(made.head.order.weight)
    torch.nn.init.zeros_(made.head.order.bias)
    loss = made(noise(made, 4, targets={"order": torch.zeros(4, dtype=torch.int64)})).losses["main"].item()
    assert loss == pytest.approx(math.log(12))


def test_every_clip_has_a_crop_of_its_own() -> None:
    assert [(view.clip, view.draw) for view in make().views] == [(0, 0), (1, 1), (2, 2), (3, 3)]


def scene(times: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Brightness grows with time: ``[3, T, 16, 16]``."""
    pixels = 0.1 + 0.8 * times[:, None, None] / 70 + 0.05 * rng.random((len(times), 16, 16))
    return torch.from_numpy(np.broadcast_to(pixels, (3, *pixels.shape)).copy()).float()


@pytest.mark.slow
def test_it_orders_generated_clips_above_chance() -> None:
    made = make(**{"augment.size": 16, "data.resize": [20, 20], "method.dropout": 0.0, "method.hidden": 64})
    optimizer = build_optimizer(made, optimizer="adamw", lr=3e-3, weight_decay=0.0)
    rng, hits = np.random.default_rng(0), []
    for step in range(150):
        plans = [made.plan(70, generator(1, "learn", step, i)) for i in range(16)]
        views = tuple(torch.stack([scene(plan.clips[k], rng) for plan in plans]) for k in range(4))
        aims = {"order": torch.tensor([int(plan.targets["order"]) for plan in plans])}
        output = made(MethodBatch(views, aims, torch.arange(16), torch.rand(16, made.uniforms)))
        optimizer.zero_grad()
        output.losses["main"].backward()
        optimizer.step()
        hits.append(output.metrics["order_accuracy"].item())
    print(f"opn: order right {np.mean(hits[-20:]):.2f} (chance .08)")
    assert np.mean(hits[-20:]) > 0.25, hits


@pytest.mark.slow
def test_two_processes_learn_the_same(in_processes: InProcesses, tmp_path: Path) -> None:
    same_in_two_processes("opn", tmp_path, in_processes)


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_a_method_of_every_preset(preset: str) -> None:
    settings = resolve_settings(preset=preset, method="opn").settings
    assert settings.method == OPNSettings()
    assert settings.method.label({}) == "opn"
