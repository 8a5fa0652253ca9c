"""VideoMoCo: the masked frames, the ages of keys, both objectives against literal loops, and its own task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
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

from cacl.data.randomness import generator
from cacl.methods.contract import MethodBatch
from cacl.methods.rivals.videomoco import AgedQueue, Generator, VideoMoCo, VideoMoCoSettings, dropped
from cacl.presets import PRESETS
from cacl.training.optim import build_optimizer
from cacl.training.resolve import resolve_settings


def make(**changes: object) -> VideoMoCo:
    made = tiny_method("videomoco", **{"method.queue_size": 7, "data.moments": 1, **changes})
    assert isinstance(made, VideoMoCo)
    return made


@given(st.integers(1, 20), st.integers(0, 99))
def test_a_quarter_of_the_frames_is_constant_and_the_rest_untouched(frames: int, seed: int) -> None:
    torch.manual_seed(seed)
    clip, scores = torch.rand(3, 3, frames, 4, 5), torch.rand(3, frames).softmax(dim=1)
    masked = dropped(clip, scores, 0.25)
    for b in range(3):
        worst = sorted(range(frames), key=lambda t: float(scores[b, t]))[: frames // 4]
        for t in range(frames):
            if t in worst:
                assert (masked[b, :, t] == masked[b, 0, t, 0, 0]).all()
                assert masked[b, 0, t, 0, 0].item() == pytest.approx(clip[b, :, t].mean().item(), abs=1e-6)
            else:
                assert torch.equal(masked[b, :, t], clip[b, :, t])


def test_the_choice_passes_the_gradient_straight_through() -> None:
    torch.manual_seed(0)
    clip = torch.rand(2, 3, 8, 4, 4, dtype=torch.float64)
    scores = torch.rand(2, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(2, 3, 8, 4, 4, dtype=torch.float64)
    (found,) = torch.autograd.grad((dropped(clip, scores, 0.25) * weight).sum(), scores)
    for b in range(2):
        for t in range(8):  # d/dz of x (1 - z) + mean z, with dz = - d score
            expected = -((clip[b, :, t].mean() - clip[b, :, t]) * weight[b, :, t]).sum()
            assert found[b, t].item() == pytest.approx(expected.item(), abs=1e-12)


def test_ages_are_those_of_a_loop_past_the_end_of_the_queue() -> None:
    torch.manual_seed(0)
    queue = AgedQueue(7, decay=0.9)
    loop = [(key.clone(), 0) for key in queue.keys]
    place, query = 0, F.normalize(torch.randn(4, 128), dim=1)
    for step in range(9):
        expected = torch.tensor([[float(q @ key) * 0.9**age for key, age in loop] for q in query])
        torch.testing.assert_close(queue.cosines(query), expected, rtol=1e-5, atol=1e-6)
        new = F.normalize(torch.randn(3, 128), dim=1)
        queue.enqueue(new, torch.full((3,), step))
        loop = [(key, age + 1) for key, age in loop]
        for key in new:
            loop[place] = (key, 1)
            place = (place + 1) % 7
        assert queue.age.tolist() == [age for _, age in loop]
    assert queue.age.max() == 3


def literal(made: VideoMoCo, batch: MethodBatch) -> tuple[Tensor, Tensor]:
    """Both objectives of one batch, sum by sum."""
    clip, t = batch.views[0], made.queue.decay
    scores = made.generator(clip)
    frames = clip.shape[2]
    masked = []
    for b in range(len(clip)):
        worst = sorted(range(frames), key=lambda i: scores[b, i].item())[: frames // 4]
        # z is 1 or 0, and moves against the score
        z = [(1.0 if i in worst else 0.0) - (scores[b, i] - scores[b, i].detach()) for i in range(frames)]
        masked.append(torch.stack([clip[b, :, i] * (1 - z[i]) + clip[b, :, i].mean() * z[i] for i in range(frames)], 1))
    query = F.normalize(made.query(torch.stack(masked)), dim=1)
    whole = F.normalize(made.query(clip), dim=1).detach()
    key = F.normalize(made.key(batch.views[1]), dim=1).detach()
    nce = torch.zeros((), dtype=query.dtype)
    for b in range(len(query)):
        positive = torch.exp(query[b] @ key[b] / made.temperature)
        others = torch.zeros((), dtype=query.dtype)
        for k in range(len(made.queue.keys)):
            logit = (query[b] @ made.queue.keys[k]) * t ** made.queue.age[k].item() / made.temperature
            others = others + torch.exp(logit)
        nce = nce - torch.log(positive / (positive + others)) / len(query)
    apart = sum((query[b, e] - whole[b, e]).abs() for b in range(len(query)) for e in range(query.shape[1]))
    return nce, -100 * apart / query.numel()


def test_both_objectives_and_their_gradients_are_the_literal_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    flags = {"method.mask_own_keys": False, "method.batch_negatives": False, "method.decay": 0.9}
    made = make(**flags).double()
    made.queue.age += torch.arange(7)
    batch = doubled(noise(made, 4, targets={}))
    output, (nce, apart) = made(batch), literal(made, batch)
    same_gradients(output.losses["main"], nce, list(made.query.parameters()), atol=1e-7)
    same_gradients(output.losses["generator"], apart, list(made.generator.parameters()), atol=1e-7)


def test_without_decay_and_without_a_mask_it_is_moco(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(**{"method.decay": 1.0})
    made.queue.age += 50
    made.drop = 0.01  # of eight frames none
    batch = noise(made, 4, targets={})
    plain = super(VideoMoCo, made).forward(batch)
    assert made(batch).losses["main"].item() == pytest.approx(plain.losses["main"].item(), rel=1e-6)
    aged = make(**{"method.decay": 0.5})
    aged.queue.age += 50
    assert aged(batch).losses["main"].item() != pytest.approx(plain.losses["main"].item(), rel=1e-3)


def test_each_objective_moves_its_own_part_alone() -> None:
    made = make()
    groups = made.parameter_groups()
    own = {name: [p for group in groups[name] for p in group.parameters] for name in groups}
    assert {id(p) for p in own["main"]} == {id(p) for p in made.query.parameters()}
    assert {id(p) for p in own["generator"]} == {id(p) for p in made.generator.parameters()}
    losses = made(noise(made, 4, targets={})).losses
    losses["main"].backward(inputs=own["main"], retain_graph=True)
    assert all(p.grad is None for p in made.generator.parameters())
    losses["generator"].backward(inputs=own["generator"])
    assert all(p.grad is not None for p in made.generator.parameters())
    assert max(float(p.grad.abs().max()) for p in made.generator.parameters() if p.grad is not None) > 0


def test_as_released_the_generator_stays_as_it_was() -> None:
    settings = resolve_settings(preset="released", method="videomoco").settings.method
    assert isinstance(settings, VideoMoCoSettings)
    assert (settings.adversary, settings.jitter) == ("fixed", "frame")
    made = make(**{"method.adversary": "fixed"})
    output = made(noise(made, 4, targets={}))
    assert output.losses.keys() == made.parameter_groups().keys() == {"main"}
    output.losses["main"].backward()
    assert all(p.grad is None and not p.requires_grad for p in made.generator.parameters())
    optimised = build_optimizer(made, optimizer="sgd", lr=0.1, weight_decay=0.1).param_groups
    assert sum(len(group["params"]) for group in optimised) == len(list(made.query.parameters()))


@pytest.mark.parametrize(("size", "side"), [(112, 13), (56, 6), (16, 1)])
def test_the_generator_pools_to_so_many_places(size: int, side: int) -> None:
    made = Generator(frames=4, size=size)
    assert made.lstm.input_size == side * side
    scores = made(torch.rand(2, 3, 4, size, size))
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(2))


def test_query_and_key_show_the_same_frames_unless_two_moments_are_asked_for() -> None:
    made = make()
    assert [view.clip for view in made.views] == [0, 0]
    assert len(made.plan(60, generator(0, "plan")).clips) == 1
    two = make(**{"data.moments": 2})
    assert [view.clip for view in two.views] == [0, 1]
    assert len(two.plan(60, generator(0, "plan")).clips) == 2


@pytest.mark.slow
def test_it_tells_videos_it_has_never_seen_apart_although_frames_are_missing() -> None:
    made = make(**{"augment.size": 16, "data.resize": [20, 20], "method.queue_size": 96})

    def batch(seed: int) -> MethodBatch:
        """A colour for each video; both views with noise of their own."""
        rng = np.random.default_rng(seed)
        colour = rng.random((12, 3, 1, 1, 1))
        views = [0.8 * colour + 0.2 * rng.random((12, 3, 8, 16, 16)) for _ in (0, 1)]
        video = torch.arange(12 * seed, 12 * seed + 12)
        return MethodBatch(tuple(torch.from_numpy(v).float() for v in views), {}, video, torch.zeros(12, 1))

    optimizer = build_optimizer(made, optimizer="adamw", lr=3e-3, weight_decay=0.0)
    groups = made.parameter_groups()
    for step in range(60):
        output = made(batch(step))
        optimizer.zero_grad()
        for name, loss in output.losses.items():
            loss.backward(inputs=[p for group in groups[name] for p in group.parameters], retain_graph=name == "main")
        optimizer.step()
        made.after_step(output.detached().state, batch(step).video, (step + 1) / 60)
    unseen = batch(999)
    with torch.no_grad():
        query = made.queried(dropped(unseen.views[0], made.generator(unseen.views[0]), 0.25))[1]
        nearest = (query @ made.queried(unseen.views[1])[1].T).argmax(dim=1)
    right = (nearest == torch.arange(12)).double().mean().item()
    print(f"videomoco: {right:.2f} of unseen videos found, by chance 0.08")
    assert right > 0.5


@pytest.mark.slow
def test_two_processes_learn_the_same(in_processes: InProcesses, tmp_path: Path) -> None:
    same_in_two_processes("videomoco", tmp_path, in_processes, **{"method.queue_size": 20})


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_a_method_of_every_preset(preset: str) -> None:
    settings = resolve_settings(preset=preset, method="videomoco").settings
    assert isinstance(settings.method, VideoMoCoSettings)
    assert settings.method.queue_size == ("auto" if preset == "small" else 65536)
    assert not settings.wants_frame_encoder
