"""MoCo+BE: the mix, the three clips, the loss against a literal loop, and its own task."""

from __future__ import annotations

from dataclasses import replace
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
from cacl.methods.rivals.moco_be import MoCoBE, MoCoBESettings
from cacl.presets import PRESETS
from cacl.training.optim import build_optimizer
from cacl.training.resolve import resolve_settings

BOTH = {"method.intra_negative": True, "data.moments": 1}


def make(**changes: object) -> MoCoBE:
    made = tiny_method("moco+be", **{"method.queue_size": 7, **BOTH, **changes})
    assert isinstance(made, MoCoBE)
    return made


@pytest.mark.parametrize("mixed", ["batch", "sample"])
def test_motion_shrinks_by_the_share_and_the_frame_itself_stays(mixed: str) -> None:
    made = make(**{"method.mixed": mixed})
    batch = doubled(noise(made, 5, targets={}))
    clip, found = batch.views[0], made.erased(batch)
    for b in range(5):
        share = 0.3 * float(batch.shared[0] if mixed == "batch" else batch.uniforms[b, 0])
        frame = int(8 * batch.uniforms[b, 1])
        assert 0 < share < 0.3
        torch.testing.assert_close(found[b, :, frame], clip[b, :, frame])
        torch.testing.assert_close(found[b].diff(dim=1), (1 - share) * clip[b].diff(dim=1))
        for t in range(8):
            torch.testing.assert_close(found[b, :, t], (1 - share) * clip[b, :, t] + share * clip[b, :, frame])


def test_the_share_and_the_frame_are_uniform_and_a_share_of_nothing_changes_nothing() -> None:
    made = make()
    batch = noise(made, 3, targets={})
    assert torch.equal(make(**{"method.most": 0.0}).erased(batch), batch.views[0])
    still = replace(batch, shared=torch.zeros(1))
    assert torch.equal(made.erased(still), batch.views[0])
    last = replace(batch, uniforms=torch.full((3, 3), 1 - 2**-24))
    torch.testing.assert_close(made.erased(last)[:, :, 7], batch.views[0][:, :, 7])


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 3), st.integers(0, 99))
def test_the_other_clip_starts_elsewhere_wherever_there_is_a_place(n: int, frames: int, stride: int, seed: int) -> None:
    made = MoCoBE.__new__(MoCoBE)
    torch.nn.Module.__init__(made)
    made.frames, made.stride, made.moments, made.intra_negative = frames, stride, 1, True
    clip, other = made.plan(n, generator(seed, "plan")).clips
    assert len(clip) == len(other) == frames
    assert max(clip.max(), other.max()) < n
    steps = set(np.diff(clip).tolist()) | set(np.diff(other).tolist())
    assert n < frames or len(steps) <= 1, "no clip runs over the end"
    starts = n - (max(steps, default=0) * (frames - 1)) if n >= frames else 1
    if starts >= 2:
        assert clip[0] != other[0]
    if starts >= 4:
        assert abs(clip[0] - other[0]) >= 2


def test_query_and_key_are_the_same_frames_and_the_starts_uniform() -> None:
    made = make()
    assert [view.clip for view in made.views] == [0, 0, 1]
    plans = [made.plan(27, generator(0, "plan", i)).clips for i in range(4000)]  # 20 starts
    assert all(len(clips) == 2 for clips in plans)
    first = np.bincount([clips[0][0] for clips in plans], minlength=20)
    assert ((first - 200) ** 2 / 200).sum() < 49  # chi-square of 19 degrees of freedom, p = 2e-4
    moments = make(**{"data.moments": 2, "method.intra_negative": False})
    assert [view.clip for view in moments.views] == [0, 1]
    assert len(moments.plan(27, generator(0, "plan")).clips) == 2


def literal(made: MoCoBE, batch: MethodBatch) -> Tensor:
    query = F.normalize(made.query(made.erased(batch)), dim=1)
    other = F.normalize(made.query(batch.views[2]), dim=1)
    key = F.normalize(made.key(batch.views[1]), dim=1).detach()
    loss = torch.zeros((), dtype=query.dtype)
    for b in range(len(query)):
        positive = torch.exp(query[b] @ key[b] / 0.2)
        others = torch.exp(query[b] @ other[b] / 0.2)
        for k, kept in enumerate(made.queue.keys):
            if made.queue.videos[k] != batch.video[b]:
                others = others + torch.exp(query[b] @ kept / 0.2)
        loss = loss - torch.log(positive / (positive + others)) / len(query)
    return loss


def test_the_loss_and_its_gradient_are_the_literal_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    made = make(**{"method.temperature": 0.2, "method.batch_negatives": False}).double()
    made.queue.videos[:3] = torch.tensor([1, 1, 3])
    batch = doubled(noise(made, 4, targets={}))
    batch.views[2].requires_grad_()
    output = made(batch)
    same_gradients(output.losses["main"], literal(made, batch), list(made.query.parameters()), atol=1e-7)
    assert output.state.keys() == {"key"}, "the other clip is not kept"
    (through_other,) = torch.autograd.grad(output.losses["main"], batch.views[2], retain_graph=True)
    assert through_other.abs().max() > 0
    assert all(parameter.grad is None for parameter in made.key.parameters())


def test_without_erasing_and_the_other_clip_it_is_moco() -> None:
    made = make(**{"method.most": 0.0, "method.intra_negative": False})
    batch = noise(made, 4, targets={})
    plain = super(MoCoBE, made).forward(batch)
    assert made(batch).losses["main"].item() == plain.losses["main"].item()


@pytest.mark.slow
def test_it_tells_unseen_videos_apart_and_what_flickers_from_what_is_still() -> None:
    made = make(**{"augment.size": 16, "data.resize": [20, 20], "method.queue_size": 96})

    def batch(seed: int) -> MethodBatch:
        """A colour for each video, that flickers; the third view shows it at rest."""
        rng = np.random.default_rng(seed)
        colour, views = rng.random((12, 3, 1, 1, 1)), []
        for moves in (1, 1, 0):
            dark = (np.arange(8) + rng.integers(2, size=(12, 1))) % 2 if moves else np.full((12, 8), 0.5)
            pixels = 0.6 * colour + 0.3 * dark[:, None, :, None, None] + 0.1 * rng.random((12, 3, 8, 16, 16))
            views.append(torch.from_numpy(pixels).float())
        video = torch.arange(12 * seed, 12 * seed + 12)
        numbers, share = rng.random((12, 3)), rng.random(1)
        return MethodBatch(tuple(views), {}, video, torch.from_numpy(numbers).float(), torch.from_numpy(share).float())

    optimizer = build_optimizer(made, optimizer="adamw", lr=3e-3, weight_decay=0.0)
    for step in range(60):
        output = made(batch(step))
        optimizer.zero_grad()
        output.losses["main"].backward()
        optimizer.step()
        made.after_step(output.detached().state, batch(step).video, (step + 1) / 60)
    unseen = batch(999)
    with torch.no_grad():
        query, key, other = (made.queried(made.pixels(view))[1] for view in (made.erased(unseen), *unseen.views[1:]))
    nearer = ((query * key).sum(dim=1) > (query * other).sum(dim=1)).double().mean().item()
    found = ((query @ key.T).argmax(dim=1) == torch.arange(12)).double().mean().item()
    print(f"moco+be: own clip nearer than the still one {nearer:.2f} (chance .5), video found {found:.2f} (chance .08)")
    assert nearer > 0.65
    assert found > 0.3


@pytest.mark.slow
def test_two_processes_learn_the_same(in_processes: InProcesses, tmp_path: Path) -> None:
    same_in_two_processes("moco+be", tmp_path, in_processes, **{"method.queue_size": 20, **BOTH})


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_a_method_of_every_preset(preset: str) -> None:
    settings = resolve_settings(preset=preset, method="moco+be").settings
    assert isinstance(settings.method, MoCoBESettings)
    assert settings.method.intra_negative == (preset != "small")
    assert settings.method.label({}) == "moco+be"
