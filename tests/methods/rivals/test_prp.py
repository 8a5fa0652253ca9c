"""PRP: windows, masks and the loss against literal loops, its rates on moving squares."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
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

from cacl.data.clips.sampling import TooShort
from cacl.data.randomness import generator
from cacl.methods.contract import MethodBatch
from cacl.methods.rivals.prp import PRP, ClipRate, PRPSettings, between_means, decoder, motion_mask
from cacl.models.cnn3d import build_cnn3d
from cacl.presets import PRESETS
from cacl.training.resolve import resolve_settings


def make(*, head: dict[str, Any] | None = None, network: str = "r3d10", **options: Any) -> PRP:
    torch.manual_seed(0)
    net = build_cnn3d(network, width=4)  # type: ignore[arg-type]
    return PRP(net, ClipRate(net.num_features, **(head or {})), **options)


def batch(size: int, *, frames: int = 8, side: int = 16, rates: list[int] | None = None) -> MethodBatch:
    rng = np.random.default_rng(0)
    views = tuple(torch.from_numpy(rng.random((size, 3, t, side, side))) for t in (frames, 2 * frames, 32))
    return MethodBatch(views, {"rate": torch.tensor(rates or [0, 3, 1])}, torch.arange(size), torch.zeros(size, 0))


@pytest.mark.parametrize("stride", [1, 2])
def test_clip_denser_clip_and_chunks_are_those_of_the_window(stride: int) -> None:
    method, counts, starts = make(head={"stride": stride}), np.zeros(4, dtype=int), []
    for i in range(1200):
        plan = method.plan(300, generator(0, "plan", i))
        clip, denser, chunks = plan.clips
        rate = int(plan.targets["rate"])
        s = 2**rate
        counts[rate] += 1
        window = [int(clip[0]) + stride * k for k in range(16 * s)]
        assert clip.tolist() == window[::s]
        assert denser[::2].tolist() == clip.tolist()
        if s > 1:
            assert denser.tolist() == window[:: s // 2]
        else:
            assert denser[1::2].tolist() == clip.tolist()
        per_chunk = 32 // s  # target frames of each chunk of 16
        for t in range(32):
            chunk = window[16 * (t // per_chunk) : 16 * (t // per_chunk) + 16]
            group = t // 4
            assert chunks[4 * group : 4 * group + 4].tolist() == [chunk[k] for k in (0, 5, 10, 15)]
        if s == 1:
            starts.append(window[0])
    assert uniform_classes(counts), counts
    assert min(starts) < 20
    assert 300 - 16 * stride - 20 < max(starts) <= 300 - 15 * stride - 1


def test_a_short_video_is_replaced_at_the_same_rate_or_wrapped() -> None:
    strict, loose = ClipRate(4), ClipRate(4, wrap=True)
    for i in range(60):
        rate = int(loose.draw(5, generator(0, "plan", i)).targets["rate"])
        fits = 16 * 2**rate < 40
        if fits:
            assert int(strict.draw(40, generator(0, "plan", i)).targets["rate"]) == rate
        else:
            with pytest.raises(TooShort, match=f"rate {2**rate}"):
                strict.draw(40, generator(0, "plan", i))
        clip = loose.draw(40, generator(0, "plan", i)).clips[0]
        assert clip.max() < 40
        assert set(np.diff(clip) % 40) == {2**rate}
    assert strict.draw(17, np.random.default_rng(_of_rate_0(strict))).clips[0].tolist() in (
        list(range(16)),
        list(range(1, 17)),
    )


def _of_rate_0(head: ClipRate) -> int:
    return next(s for s in range(99) if int(head.draw(999, np.random.default_rng(s)).targets["rate"]) == 0)


def test_between_the_frames_of_rate_1_are_means() -> None:
    denser = torch.rand(2, 3, 8, 4, 4).repeat_interleave(2, dim=2)
    found = between_means(denser, torch.tensor([True, False]))
    assert torch.equal(found[1], denser[1])
    x = denser[0, :, ::2]
    for i in range(8):
        assert torch.equal(found[0, :, 2 * i], x[:, i])
        torch.testing.assert_close(found[0, :, 2 * i + 1], (x[:, i] + x[:, min(i + 1, 7)]) / 2)


def test_the_mask_is_its_literal_transcription_and_peaks_on_what_moves() -> None:
    size = 112
    chunks = torch.zeros(1, 3, 8, size, size)
    for k in range(4):
        chunks[0, :, k, 20:30, 30 + 3 * k : 40 + 3 * k] = 1  # group 0: a square moves; group 1: noise
    chunks[0, :, 4:] = torch.rand(3, 4, size, size)
    mask = motion_mask(chunks, frames=6)
    assert mask.shape == (1, 1, 6, size, size)
    assert torch.equal(mask[0, 0, 0], mask[0, 0, 2])
    assert not torch.equal(mask[0, 0, 2], mask[0, 0, 3])
    for group, frame in ((0, 0), (1, 3)):
        x = chunks[0, :, 4 * group : 4 * group + 4].numpy()
        score = {}
        for top in range(0, size - 27, 7):
            for left in range(0, size - 27, 7):
                p = x[:, :, top : top + 28, left : left + 28]
                score[top, left] = sum(((p[:, k + 1] - p[:, k]) ** 2).mean() for k in range(3))
        top, left = max(score, key=lambda corner: score[corner])
        y, z = np.mgrid[:size, :size]
        bell = np.exp(-((y - top - 13.5) ** 2 + (z - left - 13.5) ** 2) / (2 * 14**2))
        expected = 0.8 + 1.2 * (bell - bell.min()) / (bell.max() - bell.min())
        np.testing.assert_allclose(mask[0, 0, frame].numpy(), expected, atol=1e-5)
        assert mask[0, 0, frame].min() == pytest.approx(0.8)
        assert mask[0, 0, frame].max() == pytest.approx(2.0)
    peak = np.unravel_index(int(mask[0, 0, 0].argmax()), (size, size))
    assert 10 <= peak[0] <= 40
    assert 20 <= peak[1] <= 60


def test_a_still_clip_and_a_small_one_have_a_finite_mask() -> None:
    for size in (16, 56, 17):
        mask = motion_mask(torch.full((2, 3, 32, size, size), 0.5), frames=32)
        assert mask.isfinite().all()
        assert mask.min() == pytest.approx(0.8)


@pytest.mark.parametrize("network", ["r3d10", "c3d", "r2plus1d10"])
def test_the_decoder_gives_a_clip_twice_as_dense(network: str) -> None:
    method = make(network=network)
    decoded = method.decoder(method.network.forward_features(torch.rand(1, 3, 16, 112, 112)))
    assert decoded.shape == (1, 3, 32, 112, 112)
    assert decoded.min() >= 0
    assert decoder(16, output="linear")(torch.randn(2, 16, 1, 1, 1)).min() < 0


@pytest.mark.parametrize(("side", "output"), [(16, "relu"), (20, "linear")])
def test_the_loss_is_its_literal_transcription(side: int, output: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    method = make(head={"frames": 8}, output=output, class_weight=0.1).double()
    given = batch(3, side=side)
    found = method(given)
    features = method.network.forward_features(given.views[0])
    decoded = method.decoder(features)
    assert (decoded.shape[-1] == side) == (side == 16)
    decoded = torch.nn.functional.interpolate(decoded, size=(16, side, side), mode="trilinear")
    rate, logits = given.targets["rate"].tolist(), method.head(features)
    mask, loss = motion_mask(given.views[2], frames=16), torch.zeros((), dtype=torch.float64)
    for b in range(3):
        for t in range(16):
            target = given.views[1][b, :, t]
            if rate[b] == 0 and t % 2 == 1:
                target = (given.views[1][b, :, t - 1] + given.views[1][b, :, min(t + 1, 14)]) / 2
            loss = loss + (mask[b, 0, t] * (decoded[b, :, t] - target) ** 2).sum() / decoded.numel()
        scores = torch.exp(logits[b])
        loss = loss - 0.1 * torch.log(scores[rate[b]] / scores.sum()) / 3
    same_gradients(found.losses["main"], loss, list(method.parameters()))
    assert found.losses["main"].item() == pytest.approx(
        found.terms["reconstruction_loss"].item() + 0.1 * found.terms["rate_loss"].item()
    )


def test_the_last_layer_learns_ten_times_as_fast() -> None:
    method = make()
    groups = method.parameter_groups()["main"]
    assert [group.scale for group in groups] == [1.0, 10.0]
    assert {id(p) for p in groups[1].parameters} == {id(p) for p in method.head.linear.parameters()}
    assert sum(len(list(group.parameters)) for group in groups) == len(list(method.parameters()))


def test_it_is_not_augmented_unless_it_is_to_be() -> None:
    assert [(view.clip, view.crop, view.draw) for view in make().views] == [(i, "centre", 0) for i in range(3)]
    assert {view.crop for view in make(crop="train").views} == {"train"}


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path, in_processes: Callable[..., list[Any]]) -> None:
    same_in_two_processes("prp", tmp_path, in_processes)


@pytest.mark.slow
def test_it_learns_rates_and_gives_back_frames_of_videos_that_it_never_saw() -> None:
    settings = settings_for("prp", model__width=8, optim__batch_size=16)
    method = built(settings)
    said = trained(method, settings, Moving(count=64), steps=240)
    right = task_accuracy(method, settings, Moving(seed=1))
    first, last = (np.mean([row["reconstruction_loss"] for row in part]) for part in (said[:10], said[-20:]))
    print(f"prp: error {first:.3f} to {last:.3f}, {right:.0%} of rates right")
    assert right > 0.45  # chance 1/4
    assert last < 0.9 * first


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_a_method_of_every_preset(preset: str) -> None:
    method = resolve_settings(preset=preset, method="prp").settings.method
    small: dict[str, Any] = {"crop": "train", "short": "wrap", "output": "linear", "linear_rate": 1.0}
    assert method == PRPSettings(**(small if preset == "small" else {}))
    assert method.label({}) == "prp"
    assert math.isclose(PRPSettings().class_weight, 0.1)
