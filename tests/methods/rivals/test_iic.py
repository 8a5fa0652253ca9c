"""IIC: residual frames, destroyed clips, banks and the loss against literal loops, and its own task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
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
from cacl.methods.rivals.iic import IIC, IICSettings, exchanged, repeated, residual
from cacl.presets import PRESETS
from cacl.training.optim import build_optimizer
from cacl.training.resolve import resolve_settings


def make(*, videos: int = 9, **changes: object) -> IIC:
    made = tiny_method("iic", videos=videos, **{"method.rows": 6, **changes})
    assert isinstance(made, IIC)
    return made


def test_residual_frames_are_differences_that_go_round() -> None:
    clip = torch.rand(2, 3, 5, 4, 4)
    found = residual(clip)
    for t in range(5):
        before = clip[:, :, t - 1] if t else clip[:, :, 4]
        torch.testing.assert_close(found[:, :, t], (clip[:, :, t] - before + 1) / 2)
    assert found.min() >= 0
    assert found.max() <= 1
    assert (residual(repeated(clip, torch.rand(2))) == 0.5).all()


def test_a_repeated_clip_is_one_of_its_frames() -> None:
    clip = torch.rand(4, 3, 8, 2, 2)
    uniforms = torch.tensor([0.0, 0.3, 0.51, 1 - 2**-24])
    for b, frame in enumerate((0, 2, 4, 7)):
        assert (repeated(clip, uniforms)[b] == clip[b, :, frame : frame + 1]).all()


@pytest.mark.parametrize("frames", [4, 8, 16, 18])
def test_an_exchange_keeps_the_frames_and_moves_two_quarters(frames: int) -> None:
    clip = torch.arange(frames).float().view(1, 1, frames, 1, 1).expand(600, 1, frames, 1, 1)
    found = exchanged(clip, torch.from_numpy(np.random.default_rng(0).random(600)).float())[:, 0, :, 0, 0]
    counts: dict[tuple[int, ...], int] = {}
    for row in found.long().tolist():
        assert sorted(row) == list(range(frames))
        moved = [t for t in range(frames) if row[t] != t]
        assert len(moved) == frames // 4 * 2
        assert [row[row[t]] for t in range(frames)] == list(range(frames)), "done twice it is undone"
        counts[tuple(row)] = counts.get(tuple(row), 0) + 1
    assert len(counts) == 6
    assert sum((n - 100) ** 2 / 100 for n in counts.values()) < 25.7  # chi-square of 5 degrees of freedom, p = 1e-4


def literal(made: IIC, batch: MethodBatch) -> Tensor:
    """Both cross entropies, sum by sum."""
    clips = (batch.views[0], (batch.views[0] - batch.views[0].roll(1, dims=2) + 1) / 2)
    loss = torch.zeros((), dtype=torch.float64)
    for kind in (0, 1):
        features = made.network(clips[kind])
        for b in range(len(features)):
            feature = features[b] / features[b].norm() if made.normalise else features[b]
            rows = [int(batch.video[b])] + [int(u * 9) for u in batch.uniforms[b, :6].tolist()]
            others = [made.bank[1 - kind, row] @ feature / made.temperature for row in rows]
            others += [made.bank[2, row] @ feature / made.temperature for row in rows if made.destroy != "none"]
            loss = loss + (-others[0] + torch.stack(others).exp().sum().log()) / len(features)
    return loss


@pytest.mark.parametrize(("destroy", "normalise"), [("repeat", True), ("shuffle", False), ("none", True)])
def test_the_loss_and_its_gradient_are_the_literal_sum(
    destroy: str, normalise: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    made = make(**{"method.destroy": destroy, "method.normalise": normalise, "method.temperature": 0.5}).double()
    batch = doubled(noise(made, 4, targets={}))
    output = made(batch)
    assert ("destroyed" in output.state) == (destroy != "none")
    assert not any(value.requires_grad for value in output.state.values()), "banks get no gradient"
    same_gradients(output.losses["main"], literal(made, batch), list(made.parameters()), atol=1e-7)


def test_nothing_goes_back_through_the_destroyed_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make()
    batch = noise(made, 4, targets={})
    destroyed = torch.rand(4, 3, 8, 32, 32, requires_grad=True)
    monkeypatch.setattr(made, "destroyed", lambda batch: destroyed)
    made(batch).losses["main"].backward()
    assert destroyed.grad is None


def test_rows_of_the_banks_are_those_of_a_loop() -> None:
    made = make()
    loop = {kind: [row.clone() for row in made.bank[kind]] for kind in range(3)}
    rng = np.random.default_rng(0)
    for step in range(7):
        video = torch.from_numpy(rng.integers(0, 9, 5))  # some videos twice
        state = {name: torch.from_numpy(rng.normal(size=(5, 32))).float() for name in ("clip", "residual", "destroyed")}
        untouched = [row for row in range(9) if row not in video.tolist()]
        before = made.bank.clone()
        made.after_step(state, video, (step + 1) / 7)
        assert torch.equal(made.bank[:, untouched], before[:, untouched])
        for kind, name in enumerate(("clip", "residual", "destroyed")):
            old = [row.clone() for row in loop[kind]]
            for b, row in enumerate(video.tolist()):
                mixed = 0.5 * old[row] + 0.5 * state[name][b] / state[name][b].norm()
                loop[kind][row] = mixed / mixed.norm()
            torch.testing.assert_close(made.bank[kind], torch.stack(loop[kind]))
    torch.testing.assert_close(made.bank.norm(dim=2), torch.ones(3, 9))


def test_the_random_rows_are_uniform_and_the_same_for_both_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    made, seen = make(**{"method.rows": 900}), []
    cosines = made.cosines
    monkeypatch.setattr(made, "cosines", lambda f, kind, rows: (seen.append(rows), cosines(f, kind, rows))[1])
    batch = noise(made, 4, targets={})
    made(batch)
    assert len(seen) == 4
    assert all(torch.equal(rows, seen[0]) for rows in seen)
    assert torch.equal(seen[0][:, 0], batch.video)
    counts = np.bincount(seen[0][:, 1:].flatten().numpy(), minlength=9)
    assert ((counts - 400) ** 2 / 400).sum() < 31.8  # chi-square of 8 degrees of freedom, p = 1e-4


def moving(videos: Tensor, rng: np.random.Generator) -> Tensor:
    """A colour and a brightness that pulsates at a frequency of the video: ``[B, 3, 8, 16, 16]``."""
    colour = np.random.default_rng(5).random((24, 3, 1, 1, 1))[videos]
    wave = np.sin(2 * np.pi * (1 + videos.numpy() % 4)[:, None] * (np.arange(8) / 8 + rng.random((len(videos), 1))))
    pixels = 0.4 * colour + 0.2 * (1 + wave[:, None, :, None, None]) + 0.2 * rng.random((len(videos), 3, 8, 16, 16))
    return torch.from_numpy(pixels).float()


@pytest.mark.slow
def test_it_finds_the_rows_of_its_videos() -> None:
    made = make(videos=24, **{"augment.size": 16, "data.resize": [20, 20], "method.rows": 24})
    optimizer = build_optimizer(made, optimizer="adamw", lr=3e-3, weight_decay=0.0)
    rng = np.random.default_rng(0)
    for step in range(90):
        video = torch.from_numpy(rng.permutation(24)[:12])
        numbers = torch.from_numpy(rng.random((12, made.uniforms))).float()
        batch = MethodBatch((moving(video, rng),), {}, video, numbers)
        output = made(batch)
        optimizer.zero_grad()
        output.losses["main"].backward()
        optimizer.step()
        made.after_step(output.detached().state, video, (step + 1) / 90)
    every = torch.arange(24)
    clips = moving(every, np.random.default_rng(999))
    with torch.no_grad():
        kinds = [F.normalize(made.network(clip), dim=1) for clip in (clips, residual(clips))]
    found = [((kinds[k] @ made.bank[1 - k].T).argmax(dim=1) == every).double().mean().item() for k in (0, 1)]
    frequency = [
        ((kinds[k] @ made.bank[1 - k].T).argmax(dim=1) % 4 == every % 4).double().mean().item() for k in (0, 1)
    ]
    print(f"iic: rows found by clips {found[0]:.2f}, by residual frames {found[1]:.2f} (chance .04); of the right")
    print(f"     frequency {frequency[0]:.2f} and {frequency[1]:.2f} (chance .25)")
    assert min(frequency) > 0.6  # the colour is not in residual frames: by frequency alone one of six is found


def test_without_the_third_kind_there_is_one_pass_less() -> None:
    made = make(**{"method.destroy": "none"})
    output = made(noise(made, 4, targets={}))
    assert output.state.keys() == {"clip", "residual"}
    third = made.bank[2].clone()
    made.after_step(replace(output.detached()).state, torch.arange(4), 0.5)
    assert torch.equal(made.bank[2], third)


def test_its_clip_is_one() -> None:
    assert len(make().plan(60, generator(0, "plan")).clips) == 1


@pytest.mark.slow
def test_two_processes_learn_the_same(in_processes: InProcesses, tmp_path: Path) -> None:
    same_in_two_processes("iic", tmp_path, in_processes, **{"method.rows": 20})


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_a_method_of_every_preset(preset: str) -> None:
    settings = resolve_settings(preset=preset, method="iic").settings
    assert settings.method == IICSettings()
    assert settings.method.label({}) == "iic"
