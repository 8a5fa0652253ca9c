"""DSM: which frames, what is warped alike, losses against loops, where gradients go, motion of moving squares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from methods.rivals.harness import Moving, built, same_gradients, same_in_two_processes, settings_for, trained
from pydantic import ValidationError

from cacl.data.randomness import generator
from cacl.methods.contract import MethodBatch
from cacl.methods.rivals.dsm import DSM, DSMSettings, triplets
from cacl.models.cnn3d import build_cnn3d
from cacl.presets import PRESETS
from cacl.training.resolve import resolve_settings

FRAMES = 8


def make(**options: Any) -> DSM:
    torch.manual_seed(0)
    method = DSM(build_cnn3d("r3d10", width=4), frames=FRAMES, **{"queue_size": 12, **options})
    with torch.no_grad():
        for parameter in method.key.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return method


def batch(method: DSM, size: int, *, seed: int = 0) -> MethodBatch:
    rng = np.random.default_rng(seed)
    views = tuple(torch.from_numpy(rng.random((size, 3, FRAMES, 16, 16))) for _ in method.views)
    numbers = torch.from_numpy(rng.random((size, method.uniforms)))
    return MethodBatch(views, {}, torch.arange(size) % 4, numbers, torch.from_numpy(rng.random(method.shared)))


def test_anchor_and_positive_are_the_same_frames_and_the_negative_another_start() -> None:
    method, moved = make(), 0
    assert [view.clip for view in method.views] == [0, 0, 1]
    assert len({view.draw for view in method.views}) == 3
    for i in range(500):
        rng = generator(0, "plan", i)
        first, second = (int(clip[0]) for clip in method.plan(40, rng).clips)
        a, b = generator(0, "plan", i).integers(33, size=2)
        if abs(a - b) < 2:
            b, moved = (b + 11) % 33, moved + 1
        assert (first, second) == (a, b)
        assert abs(first - second) >= 2
    assert 5 < moved < 100  # about 500 * 3 / 33
    assert method.plan(3, generator(0, "plan")).clips[1].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert len(make(negative="none").plan(40, generator(0, "plan")).clips) == 1
    assert len(make(negative="tps_per_frame").plan(40, generator(0, "plan")).clips) == 1


@pytest.mark.parametrize("starts", range(2, 12))
def test_the_negative_of_a_short_video_is_another_clip(starts: int) -> None:
    """Not the very frames that the anchor is to find."""
    method = make()
    length = len(method.plan(100, generator(0, "plan")).clips[0])
    for i in range(100):
        first, second = (clip[0] for clip in method.plan(length + starts - 1, generator(0, "plan", i)).clips)
        assert abs(first - second) >= (2 if starts >= 4 else 1)


@pytest.mark.parametrize("warp", ["push", "tps"])
def test_a_warp_is_the_same_for_all_frames(warp: Any) -> None:
    method = make(warp=warp)
    given = batch(method, 3)
    found = method.warped(given)
    order = torch.randperm(FRAMES)
    turned = method.warped(replace(given, views=(given.views[0][:, :, order], *given.views[1:])))
    torch.testing.assert_close(turned, found[:, :, order])
    assert not torch.equal(found, given.views[0])
    one = torch.rand(1, 3, 1, 16, 16, dtype=torch.float64).expand(3, -1, FRAMES, -1, -1)
    still = method.warped(replace(given, views=(one, *given.views[1:])))
    assert (still - still[:, :, :1]).abs().max() == 0
    assert bool((still[0] == still[1]).all()) == (warp == "push")  # one draw for the batch


def test_a_warp_of_every_frame_breaks_the_motion() -> None:
    method = make(negative="tps_per_frame")
    given = batch(method, 2)
    still = torch.rand(2, 3, 1, 16, 16, dtype=torch.float64).expand(-1, -1, FRAMES, -1, -1)
    found = method.disturbed(replace(given, views=(*given.views[:2], still)))
    change = (found - found[:, :, :1]).abs().amax((1, 3, 4))[:, 1:]
    assert change.min() > 0.01


@pytest.mark.parametrize("loss", ["contrastive", "triplet"])
@pytest.mark.parametrize("negative", ["other_clip", "tps_per_frame", "none"])
@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_is_a_loop(loss: Any, negative: Any, masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if (loss, negative) == ("triplet", "none") or (loss == "triplet" and masked):
        return
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    method = make(
        loss=loss, negative=negative, mask_own_keys=masked, batch_negatives=masked, temperature=0.4, margin=0.1
    )
    method = method.double()
    method.queue.videos[:5] = torch.tensor([0, 1, 2, 3, 0])
    given = batch(method, 5)
    output = method(given)

    def unit(encoder: Any, view: torch.Tensor) -> list[torch.Tensor]:
        return [row / row.norm() for row in encoder(view)]

    q = unit(method.query, method.warped(given))
    with torch.no_grad():
        k = unit(method.key, given.views[1])
    n = [] if negative == "none" else unit(method.query, method.disturbed(given))
    total = torch.zeros((), dtype=torch.float64)
    for b in range(5):
        if loss == "triplet":
            for other in (n[b], n[4 - b]):
                gap = (q[b] - k[b]).norm() - (q[b] - other).norm() + 0.1
                total = total + torch.clamp(gap, min=0) / 5
            continue
        own = torch.exp(q[b] @ k[b] / 0.4)
        rest = [torch.exp(q[b] @ n[b] / 0.4)] if n else []
        for key, video in zip(method.queue.keys, method.queue.videos.tolist(), strict=True):
            if not (masked and video == int(given.video[b])):
                rest.append(torch.exp(q[b] @ key / 0.4))
        if masked:  # and of the batch
            rest += [torch.exp(q[b] @ k[i] / 0.4) for i in range(5) if int(given.video[i]) != int(given.video[b])]
        total = total - torch.log(own / (own + sum(rest))) / 5
    same_gradients(output.losses["main"], total, [p for p in method.parameters() if p.requires_grad])


def test_gradients_go_through_the_negative_and_not_through_the_key() -> None:
    method = make()
    views = tuple(torch.rand(3, 3, FRAMES, 16, 16, requires_grad=True) for _ in range(3))
    method(MethodBatch(views, {}, torch.arange(3), torch.zeros(3, 0), torch.rand(13))).losses["main"].backward()
    assert [view.grad is not None and bool(view.grad.abs().sum() > 0) for view in views] == [True, False, True]
    assert all(parameter.grad is None for parameter in method.key.parameters())


def test_equal_distances_leave_the_margin() -> None:
    q, n = (torch.nn.functional.normalize(torch.randn(4, 6), dim=1) for _ in range(2))
    assert triplets(q, n, n, margin=0.5) > 0.5
    assert triplets(q, q, -q, margin=0.5) == 0.0 + triplets(q, q, (-q).flip(0).flip(0), margin=0.5)
    same = n[:1].expand(4, -1)
    assert triplets(q, same, same, margin=0.5).item() == pytest.approx(1.0)  # twice the margin


def test_the_queue_holds_the_clean_clips_keys_past_its_end() -> None:
    method, seen = make(), []
    for number in range(4):
        given = batch(method, 5, seed=number)
        given = replace(given, views=tuple(view.float() for view in given.views))
        output = method(given)
        method.after_step(output.state, given.video, 0.5)
        seen += [(row, int(v)) for row, v in zip(output.state["key"], given.video, strict=True)]
    held = {place % 12: pair for place, pair in enumerate(seen)}
    assert len(held) == 12
    for place, (key, video) in held.items():
        assert torch.equal(method.queue.keys[place], key)
        assert int(method.queue.videos[place]) == video


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{}, {"method__warp": "tps", "method__negative": "tps_per_frame"}, {"method__loss": "triplet"}],
    ids=["released", "splines", "triplet"],
)
def test_two_processes_are_one(changes: dict[str, Any], tmp_path: Path, in_processes: Callable[..., list[Any]]) -> None:
    same_in_two_processes("dsm", tmp_path, in_processes, method__queue_size=40, **changes)


@pytest.mark.slow
def test_it_learns_that_motion_is_nearer_in_videos_that_it_never_saw() -> None:
    settings = settings_for("dsm", model__width=8, optim__batch_size=16, method__queue_size=64)
    method = built(settings)
    said = trained(method, settings, Moving(count=64), steps=240)
    right = np.mean([row["motion_accuracy"] for row in trained(method, settings, Moving(seed=1), steps=8, lr=1e-9)])
    print(f"dsm: loss {said[0]['loss']:.2f} to {said[-1]['loss']:.2f}, motion nearer than scene in {right:.0%}")
    assert right > 0.65  # chance 1/2


def test_a_triplet_without_a_negative_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"method\.loss triplet needs a negative"):
        DSMSettings(loss="triplet", negative="none")


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_a_method_of_every_preset(preset: str) -> None:
    found = resolve_settings(preset=preset, method="dsm").settings.method
    small: dict[str, Any] = {"momentum": 0.99, "momentum_schedule": "cosine", "queue_size": "auto", "temperature": 0.1}
    small |= {"mask_own_keys": True, "batch_negatives": True}
    assert found == DSMSettings(**(small if preset == "small" else {}))
    assert found.label({}) == "dsm"
