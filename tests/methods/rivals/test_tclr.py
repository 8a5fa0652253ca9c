"""TCLR: alignment of slices and clips, the three losses against loops, its own task."""

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
    same_gradients,
    same_in_two_processes,
    tiny_method,
)
from torch import Tensor

from cacl.data.randomness import generator
from cacl.methods.contract import MethodBatch
from cacl.methods.rivals.tclr import TCLR, TCLRSettings
from cacl.models.cnn3d import build_cnn3d
from cacl.presets import PRESETS
from cacl.training.optim import build_optimizer
from cacl.training.resolve import resolve_settings

NETWORK = build_cnn3d("r3d10", width=4)


def make(**changes: object) -> TCLR:
    made = tiny_method("tclr", **changes)
    assert isinstance(made, TCLR)
    return made


def test_of_the_paper_s_frames_each_slice_has_those_of_its_clip() -> None:
    made = TCLR(make().network, frames=16, stride=1)
    whole, *clips = made.plan(64, generator(0, "plan")).clips
    assert whole.tolist() == list(range(0, 64, 2))
    assert [clip.tolist() for clip in clips] == [list(range(16 * j, 16 * j + 16)) for j in range(4)]


def test_the_authors_network_sees_the_whole_in_16_frames_at_stride_4() -> None:
    made = TCLR(build_cnn3d("r3d18-tclr", width=4), frames=16, stride=1)
    assert made.plan(64, generator(0, "plan")).clips[0].tolist() == list(range(0, 64, 4))


@given(st.integers(1, 200), st.integers(2, 20), st.integers(1, 3), st.integers(2, 4), st.integers(0, 99))
def test_the_frames_of_a_slice_are_of_its_clip_in_any_video(
    n: int, frames: int, stride: int, count: int, seed: int
) -> None:
    made = TCLR.__new__(TCLR)
    torch.nn.Module.__init__(made)
    made.frames, made.stride, made.clips, made.network = frames, stride, count, NETWORK
    whole, *clips = made.plan(n, generator(seed, "plan")).clips
    assert len(whole) == 8 * count
    assert len(clips) == count
    assert all(len(clip) == frames and clip.max() < n for clip in clips)
    for j, clip in enumerate(clips):
        assert set(whole[8 * j : 8 * j + 8].tolist()) <= set(clip.tolist())


def test_the_network_s_slices_see_their_own_frames_most() -> None:
    made = make().eval()
    clip = torch.rand(1, 3, 32, 32, 32)
    for j in range(4):
        changed = clip.clone()
        changed[:, :, 8 * j + 2 : 8 * j + 6] = torch.rand(1, 3, 4, 32, 32)
        moved = (made.network.forward_features(changed) - made.network.forward_features(clip)).abs().mean((0, 1, 3, 4))
        assert moved.shape == (4,)
        assert moved[max(0, j - 1) : j + 2].max() == moved.max()


def test_views_are_both_of_the_whole_then_the_clips_of_each() -> None:
    views = make().views
    assert [view.clip for view in views] == [0, 0, 1, 2, 3, 4, 1, 2, 3, 4]
    assert len({view.draw for view in views}) == 10


def batch(size: int, *, side: int = 32) -> MethodBatch:
    rng = np.random.default_rng(size)
    shapes = [32] * 2 + [8] * 8
    views = tuple(torch.from_numpy(rng.random((size, 3, frames, side, side))).float() for frames in shapes)
    return MethodBatch(views, {}, torch.tensor([3, 1, 3, 0][:size]), torch.zeros(size, 0))


def entropy(own: Tensor, others: list[Tensor]) -> Tensor:
    """``-log(e^own / (e^own + sum))``."""
    return -torch.log(own.exp() / (own.exp() + sum(other.exp() for other in others)))


def literal(made: TCLR, given_batch: MethodBatch) -> tuple[Tensor, Tensor, Tensor]:
    """The three losses, sum by sum."""
    maps = made.network.forward_features(torch.cat(given_batch.views[:2])).mean((3, 4))
    dense = made.network(torch.cat(given_batch.views[2:]))
    size, t = len(given_batch.video), made.temperature
    feature = {("slice", u, j, b): maps[u * size + b, :, j] for u in (0, 1) for j in range(4) for b in range(size)}
    feature |= {("clip", u, j, b): dense[(4 * u + j) * size + b] for u in (0, 1) for j in range(4) for b in range(size)}
    whole = {("whole", u, 0, b): maps[u * size + b].mean(1) for u in (0, 1) for b in range(size)}
    kinds = [{key: value for key, value in feature.items() if key[0] == kind} for kind in ("slice", "clip")]
    z: dict[tuple[str, int, int, int], Tensor] = {}
    for part in (whole, *kinds):  # BatchNorm over the rows of each
        rows = made.contrast(torch.stack(list(part.values())))
        z |= {key: row / row.norm() for key, row in zip(part, rows, strict=True)}
    video = given_batch.video.tolist()

    def between_videos(kind: str, j: int) -> Tensor:
        losses = []
        for u in (0, 1):
            for b in range(size):
                query = z[kind, u, j, b]
                others = [query @ z[kind, v, j, c] / t for v in (0, 1) for c in range(size) if video[c] != video[b]]
                losses.append(entropy(query @ z[kind, 1 - u, j, b] / t, others))
        return torch.stack(losses).mean()

    videos = between_videos("whole", 0) + sum(between_videos("clip", j) for j in range(4)) / 4
    clips, slices = [], []
    for b in range(size):
        for u in (0, 1):
            for j in range(4):
                query = z["clip", u, j, b]
                others = [query @ z["clip", v, k, b] / t for v in (0, 1) for k in range(4) if k != j]
                clips.append(entropy(query @ z["clip", 1 - u, j, b] / t, others))
                for v in (0, 1):
                    for one, other in (("slice", "clip"), ("clip", "slice")):
                        query = z[one, u, j, b]
                        others = [query @ z[other, v, k, b] / t for k in range(4) if k != j]
                        slices.append(entropy(query @ z[other, v, j, b] / t, others))
    return videos, torch.stack(clips).mean(), torch.stack(slices).mean()


def test_the_losses_and_their_gradient_are_the_literal_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    made = make(**{"method.between_clips": 0.7, "method.between_slices": 0.4}).double()
    given_batch = doubled(batch(3, side=16))
    output, (videos, clips, slices) = made(given_batch), literal(made, given_batch)
    for name, expected in (("video_loss", videos), ("clip_loss", clips), ("slice_loss", slices)):
        assert output.terms[name].item() == pytest.approx(expected.item(), rel=1e-9), name
    total = videos + 0.7 * clips + 0.4 * slices
    same_gradients(output.losses["main"], total, list(made.parameters()), atol=1e-7)


def test_where_all_is_alike_the_losses_are_known() -> None:
    made = make()
    for layer in (made.contrast[0], made.contrast[3]):
        torch.nn.init.zeros_(layer.weight)
    torch.nn.init.ones_(made.contrast[4].bias)
    terms = made(batch(2)).terms
    assert terms["video_loss"].item() == pytest.approx(2 * math.log(3))  # one positive among it and two negatives
    assert terms["clip_loss"].item() == pytest.approx(math.log(7))
    assert terms["slice_loss"].item() == pytest.approx(math.log(4))


def scene(times: np.ndarray, hue: np.ndarray, rng: np.random.Generator) -> Tensor:
    """A colour of the video that grows brighter with time: ``[3, T, 16, 16]``."""
    pixels = 0.4 * hue[:, None, None, None] + 0.5 * times[:, None, None] / 40 + 0.05 * rng.random((len(times), 16, 16))
    return torch.from_numpy(pixels).float()


@pytest.mark.slow
def test_slices_find_the_clips_of_their_time_above_chance() -> None:
    made = make(**{"augment.size": 16, "data.resize": [20, 20]})
    optimizer = build_optimizer(made, optimizer="adamw", lr=3e-3, weight_decay=0.0)
    rng, hits, losses = np.random.default_rng(0), [], []
    for step in range(60):
        plans, hues = [made.plan(40, generator(1, "learn", step, i)) for i in range(8)], rng.random((8, 3))
        views = tuple(
            torch.stack([scene(plan.clips[view.clip], hues[i], rng) for i, plan in enumerate(plans)])
            for view in made.views
        )
        output = made(MethodBatch(views, {}, torch.arange(8), torch.zeros(8, 0)))
        optimizer.zero_grad()
        output.losses["main"].backward()
        optimizer.step()
        hits.append(output.metrics["slice_accuracy"].item())
        losses.append(output.terms["video_loss"].item())
    print(f"tclr: slices that find their clip {np.mean(hits[-15:]):.2f} (chance .25); video loss {losses[-1]:.2f}")
    assert np.mean(hits[-15:]) > 0.5, hits
    assert np.mean(losses[-15:]) < 0.7 * 2 * math.log(15)  # ln 15: all videos alike


@pytest.mark.slow
def test_two_processes_learn_the_same(in_processes: InProcesses, tmp_path: Path) -> None:
    same_in_two_processes("tclr", tmp_path, in_processes, **{"data.frames": 4, "method.clips": 2})


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_a_method_of_every_preset(preset: str) -> None:
    settings = resolve_settings(preset=preset, method="tclr").settings
    assert settings.method == TCLRSettings()
    assert settings.method.label({}) == "tclr"
