"""VCOP against literal loops, hand-worked clips, and its own task on generated videos."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cacl.data.clips.batch import ClipBatch
from cacl.data.clips.sampling import spaced_clips
from cacl.data.randomness import generator
from cacl.methods.contract import MethodBatch
from cacl.methods.vcop import VCOP, ClipOrder, VCOPSettings
from cacl.models.cnn3d import build_cnn3d
from cacl.presets import PRESETS
from cacl.settings import settings_of
from cacl.training.optim import build_optimizer
from cacl.training.resolve import resolve_settings
from cacl.training.step import Step
from cacl.training.wiring import build_method, initial_network

FRAMES = 8


def make(**options) -> VCOP:
    torch.manual_seed(0)
    network = build_cnn3d("r3d10", width=4)
    return VCOP(network, ClipOrder(network.num_features, frames=FRAMES, **{"hidden": 16, **options}))


def batch(size: int, *, seed: int = 0) -> MethodBatch:
    rng = np.random.default_rng(seed)
    views = tuple(torch.from_numpy(rng.random((size, 3, FRAMES, 16, 16))).float() for _ in range(3))
    order = torch.from_numpy(rng.integers(0, 6, size))
    return MethodBatch(views, {"order": order}, torch.arange(size), torch.from_numpy(rng.random((size, 48))).float())


def test_clips_of_the_authors_code_by_hand() -> None:
    clips = spaced_clips(64, generator(0, "t"), clips=3)  # the shortest video that they take: one start
    assert [list(clip) for clip in clips] == [list(range(s, s + 16)) for s in (0, 24, 48)]
    starts = {int(spaced_clips(70, generator(0, "t", i), clips=3)[0, 0]) for i in range(200)}
    assert starts == set(range(7))
    first, second = spaced_clips(200, generator(0, "t"), clips=2, frames=4, stride=3, gap=5)
    assert second[0] - first[0] == 4 * 3 + 5
    assert np.diff(first).tolist() == [3, 3, 3]


@given(
    st.integers(1, 90), st.integers(1, 4), st.integers(1, 9), st.integers(1, 3), st.integers(0, 9), st.integers(0, 99)
)
def test_short_videos_lose_the_gap_then_the_stride_and_never_a_clip(n, clips, frames, stride, gap, seed) -> None:
    found = spaced_clips(n, generator(seed, "t"), clips=clips, frames=frames, stride=stride, gap=gap)
    assert found.shape == (clips, frames)
    assert found.min() >= 0
    assert found.max() < n
    flat = found.reshape(-1)
    if n >= clips * frames:
        assert (np.diff(flat) > 0).all(), "disjoint and in the order of time"
        steps = set(np.diff(found, axis=1).reshape(-1).tolist())
        assert len(steps) <= 1
        assert steps <= set(range(1, stride + 1))
    else:
        assert (flat == (flat[0] + np.arange(clips * frames)) % n).all()


def test_the_target_is_the_lexicographic_rank_and_position_j_shows_clip_pi_j() -> None:
    method, counts = make(), np.zeros(6)
    for i in range(1200):
        plan = method.plan(60, generator(0, "plan", i))
        starts = [int(clip[0]) for clip in plan.clips]
        pi = tuple(sorted(starts).index(start) for start in starts)
        assert list(itertools.permutations(range(3)))[int(plan.targets["order"])] == pi
        assert sorted(starts)[1] - sorted(starts)[0] == FRAMES + 8
        counts[int(plan.targets["order"])] += 1
    assert ((counts - 200) ** 2 / 200).sum() < 25.7  # chi-square of 5 degrees of freedom, p = 1e-4
    assert ClipOrder(4).orders[0] == (0, 1, 2)


def test_the_target_does_not_depend_on_the_length_of_the_video() -> None:
    method = make()
    for i in range(40):
        ranks = {int(method.plan(n, generator(0, "plan", i)).targets["order"]) for n in (5, 25, 40, 300)}
        assert len(ranks) == 1


@pytest.mark.parametrize("training", [True, False])
def test_the_loss_is_its_literal_transcription(training, monkeypatch) -> None:
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    method, given_batch = make(dropout=0.4).double().train(training), batch(5)
    given_batch = MethodBatch(
        tuple(v.double() for v in given_batch.views), given_batch.targets, given_batch.video, given_batch.uniforms
    )
    output = method(given_batch)
    features = [method.network(view) for view in given_batch.views]
    head, loss = method.head, 0.0
    for b in range(5):
        hidden = []
        for i, j in ((0, 1), (0, 2), (1, 2)):
            h = head.pair.weight @ torch.cat([features[i][b], features[j][b]]) + head.pair.bias
            hidden.append(torch.where(h > 0, h, 0 * h))
        row = torch.cat(hidden)
        if training:
            keep = [0.0 if u < 0.4 else 1 / 0.6 for u in given_batch.uniforms[b].tolist()]
            row = row * torch.tensor(keep, dtype=row.dtype)
        logits = head.order.weight @ row + head.order.bias
        loss = loss - torch.log(torch.exp(logits[given_batch.targets["order"][b]]) / torch.exp(logits).sum())
    loss = loss / 5
    assert output.losses["main"].item() == pytest.approx(loss.item(), abs=1e-9)
    parameters = list(method.parameters())
    found = torch.autograd.grad(output.losses["main"], parameters)
    for a, b in zip(found, torch.autograd.grad(loss, parameters), strict=True):
        assert (a - b).abs().max() <= 1e-6 * max(1.0, b.abs().max().item())


def test_a_head_that_knows_nothing_has_the_loss_ln_6() -> None:
    method = make()
    torch.nn.init.zeros_(method.head.order.weight)
    torch.nn.init.zeros_(method.head.order.bias)
    assert method(batch(4)).losses["main"].item() == pytest.approx(math.log(6))


def ramp(position: NDArray, rng: np.random.Generator) -> NDArray:
    """A bright bar whose place says how late it is, on noise: uint8 ``[T, 20, 40, 3]``."""
    frames = rng.integers(0, 60, (len(position), 20, 40, 3))
    for t, x in enumerate(position):
        frames[t, :, int(x) : int(x) + 6] += 150
    return frames.astype(np.uint8)


def test_it_learns_the_order_of_generated_videos_above_chance() -> None:
    settings = resolve_settings(
        method="vcop",
        flags={"model.width": 4, "data.frames": FRAMES, "data.stride": 1, "method.gap": 2, "method.dropout": 0.0}
        | {"augment.size": 16, "data.resize": [20, 40]},
    ).settings
    method = build_method(settings, network=initial_network(settings), videos=8).train()
    step = Step(
        method,
        build_optimizer(method, optimizer="adamw", lr=3e-3, weight_decay=0.0),
        lambda b: MethodBatch(
            tuple(c[:, :, 2:18, ::2][:, :, :, :16].permute(0, 4, 1, 2, 3).float() / 255 for c in b.clips),
            b.targets,
            b.video,
            torch.zeros(len(b), method.uniforms),
        ),
        torch.device("cpu"),
    )
    rng, hits = np.random.default_rng(0), []
    for number in range(60):
        plans = [method.plan(34, generator(1, "learn", number, i)) for i in range(12)]
        clips = tuple(torch.from_numpy(np.stack([ramp(plan.clips[k] * 0.95, rng) for plan in plans])) for k in range(3))
        targets = {"order": torch.tensor([int(plan.targets["order"]) for plan in plans])}
        order = torch.arange(12)
        result = step(ClipBatch(clips, targets, order, order, 0), progress=1.0)
        hits.append(result.scalars["order_accuracy"].item())
    assert np.mean(hits[-15:]) > 2.5 / 6, np.mean(hits[-15:])


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_a_method_of_every_preset(preset) -> None:
    settings = resolve_settings(preset=preset, method="vcop").settings
    assert isinstance(settings, settings_of("vcop"))
    assert settings.method == VCOPSettings()
    assert settings.method.label({}) == "vcop"
    assert not settings.wants_frame_encoder
