from __future__ import annotations

import colorsys
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage  # type: ignore[import-untyped]
from torch import Tensor

from cacl.data.clips import augment as module
from cacl.data.clips import colour
from cacl.data.clips.augment import AUGMENT_DRAWS, AugmentDraw, augment, centre_crop, draw_augmentation
from cacl.data.clips.normalise import normalise_, standard_frames
from cacl.data.randomness import uniform
from cacl.errors import UserError

NOTHING: dict[str, Any] = {"flip": 0.0, "jitter_p": 0.0, "gray_p": 0.0, "blur_p": 0.0}


def draws(batch: int, *, seed: int = 0, **settings: Any) -> AugmentDraw:
    return draw_augmentation(uniform(seed, "augment", 0, np.arange(batch), AUGMENT_DRAWS), **settings)


def clips(batch: int, frames: int, height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, frames, height, width, 3), generator=generator, dtype=torch.uint8)


def slow_jitter(frame_HWC: np.ndarray, factors: list[float], order: list[int]) -> np.ndarray:
    """The usual colour jitter on one frame, float64, hue pixel by pixel with colorsys."""
    x = frame_HWC.astype(np.float64)
    for kind in order:
        grey = (x @ np.array([0.299, 0.587, 0.114]))[..., None]
        factor = factors[kind]
        if kind == 0:
            x = np.clip(factor * x, 0, 1)
        elif kind == 1:
            x = np.clip(factor * x + (1 - factor) * grey.mean(), 0, 1)
        elif kind == 2:
            x = np.clip(factor * x + (1 - factor) * grey, 0, 1)
        else:
            hsv = [colorsys.rgb_to_hsv(*pixel) for pixel in x.reshape(-1, 3)]
            x = np.array([colorsys.hsv_to_rgb((h + factor) % 1, s, v) for h, s, v in hsv]).reshape(x.shape)
    return x


def slow_blur(frame_HWC: np.ndarray, sigma: float) -> np.ndarray:
    radius = math.ceil(3 * sigma)
    kernel = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        frame_HWC = ndimage.correlate1d(frame_HWC, kernel, axis=axis, mode="mirror")
    return frame_HWC


def test_everything_equals_a_slow_reference_frame_by_frame() -> None:
    frames = clips(12, 2, 14, 18)
    draw = draws(12, height=14, width=18, size=12, jitter_p=0.7, gray_p=0.3, blur_p=0.6, blur_sigma=(0.3, 1.5))
    for flag in (draw.flip, draw.jitter, draw.grey, draw.sigma > 0):
        assert 0 < int(flag.sum()) < 12, "the draw exercises both sides of every switch"
    result = augment(frames, draw)
    assert result.shape == (12, 3, 2, 12, 12)
    assert result.dtype == torch.float32
    for b in range(12):
        top, left, height, width = draw.box[b].tolist()
        for t in range(2):
            x = frames[b, t, top : top + height, left : left + width].double().numpy() / 255
            x = x[:, ::-1] if draw.flip[b] else x
            if draw.jitter[b]:
                x = slow_jitter(x, draw.factor[b].double().tolist(), draw.order[b].tolist())
            if draw.grey[b]:
                x = np.repeat((x @ np.array([0.299, 0.587, 0.114]))[..., None], 3, axis=-1)
            if draw.sigma[b] > 0:
                x = slow_blur(x, float(draw.sigma[b]))
            assert np.abs(result[b, :, t].permute(1, 2, 0).numpy() - x).max() < 2e-6


def test_hue_equals_colorsys_on_every_kind_of_colour() -> None:
    levels = np.linspace(0, 1, 6)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    for shift in (-0.5, -0.37, -0.1, 0.0, 1 / 6, 0.25, 0.5):
        x = torch.from_numpy(colours.T.astype(np.float32).copy()).view(1, 3, 1, 1, -1)
        colour.hue_(x, torch.tensor([shift]))
        hsv = [colorsys.rgb_to_hsv(*c) for c in colours]
        wanted = np.array([colorsys.hsv_to_rgb((h + shift) % 1, s, v) for h, s, v in hsv])
        assert np.abs(x.view(3, -1).T.numpy() - wanted).max() < 1e-6


@given(st.integers(0, 10_000), st.floats(-0.5, 0.5, width=32))
@settings(max_examples=30, deadline=None)
def test_hue_and_its_opposite_undo_each_other(seed: int, shift: float) -> None:
    x = torch.rand(1, 3, 1, 4, 5, generator=torch.Generator().manual_seed(seed))
    y = x.clone()
    colour.hue_(y, torch.tensor([shift]))
    assert torch.allclose(y.amax(1), x.amax(1), atol=1e-6)
    assert torch.allclose(y.amin(1), x.amin(1), atol=1e-6)
    colour.hue_(y, torch.tensor([-shift]))
    assert torch.allclose(x, y, atol=2e-5)


def test_yiq_matrix_equals_the_operators_done_one_after_another() -> None:
    x = 0.4 + 0.2 * torch.rand(2, 3, 3, 4, 5, generator=torch.Generator().manual_seed(0))  # far from clipping
    factors = torch.tensor([[1.1, 0.8, 1.2, 0.0], [0.9, 1.2, 0.7, 0.07]])
    fast = x.clone()
    colour.yiq_jitter_(fast, factors)
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
    for b in range(2):
        for t in range(3):
            y = slow_jitter(x[b, :, t].permute(1, 2, 0).double().numpy(), factors[b].tolist(), [2, 0, 1])
            yiq = y @ to_yiq.T
            chroma = (yiq[..., 1] + 1j * yiq[..., 2]) * np.exp(-2j * np.pi * factors[b, 3].item())
            y = np.stack([yiq[..., 0], chroma.real, chroma.imag], -1) @ np.linalg.inv(to_yiq).T
            assert np.abs(fast[b, :, t].permute(1, 2, 0).numpy() - y).max() < 1e-5


def test_yiq_turns_the_same_way_as_hsv() -> None:
    red = torch.tensor([0.6, 0.4, 0.4]).view(1, 3, 1, 1, 1)
    for shift in (-1 / 3, 1 / 3):
        exact, fast = red.clone(), red.clone()
        colour.hue_(exact, torch.tensor([shift]))
        colour.yiq_jitter_(fast, torch.tensor([[1.0, 1.0, 1.0, shift]]))
        assert exact.argmax() == fast.argmax() == (1 if shift > 0 else 2)


def test_identity_draw_is_the_plain_crop() -> None:
    frames = clips(3, 4, 10, 13)
    draw = draws(3, height=10, width=13, size=8, **NOTHING)
    result = augment(frames, draw)
    for b, (top, left, height, width) in enumerate(draw.box.tolist()):
        assert (height, width) == (8, 8)
        wanted = frames[b, :, top : top + 8, left : left + 8].permute(3, 0, 1, 2).float() / 255
        assert torch.equal(result[b], wanted)
    neutral = draws(3, height=10, width=13, size=8, jitter=(0, 0, 0, 0), jitter_p=1, flip=0, blur_p=0)
    assert torch.allclose(augment(frames, neutral), result, atol=1e-6)
    assert torch.allclose(augment(frames, neutral, hue="yiq"), result, atol=1e-6)


def test_flipping_twice_changes_nothing() -> None:
    frames = clips(4, 2, 8, 8)
    flipped = draws(4, height=8, width=8, size=8, **{**NOTHING, "flip": 1.0})
    once = (augment(frames, flipped) * 255).round().byte().permute(0, 2, 3, 4, 1)
    assert torch.equal(once, frames.flip(3))
    assert torch.equal((augment(once, flipped) * 255).round().byte().permute(0, 2, 3, 4, 1), frames)


@pytest.mark.parametrize("crop", ["fixed", "area"])
@pytest.mark.parametrize("hue", ["hsv", "yiq"])
def test_a_result_depends_on_its_own_row_alone(crop: Any, hue: Any) -> None:
    # 256-pixel crops of 4 frames: blocks of the CPU hold 64 clips, so the batch of 80 is coloured in two.
    frames = clips(80, 4, 20, 24)
    made = {"height": 20, "width": 24, "size": 16, "crop": crop, "gray_p": 0.2, "blur_sigma": (0.1, 2.0)}
    whole = augment(frames, draws(80, **made), hue=hue)
    for b in (0, 7, 41, 79):
        alone = uniform(0, "augment", 0, np.array([b]), AUGMENT_DRAWS)
        result = augment(frames[b : b + 1], draw_augmentation(alone, **made), hue=hue)
        assert (result - whole[b]).abs().max() <= 1e-6


def test_long_clips_are_the_same_bit_for_bit_alone_and_in_a_batch() -> None:
    frames = clips(4, 16, 64, 86)
    made = {"height": 64, "width": 86, "size": 56, "gray_p": 0.2}
    whole = augment(frames, draws(4, **made))
    for b in range(4):
        alone = uniform(0, "augment", 0, np.array([b]), AUGMENT_DRAWS)
        assert torch.equal(augment(frames[b : b + 1], draw_augmentation(alone, **made))[0], whole[b])


@pytest.mark.parametrize("crop", ["fixed", "area"])
@pytest.mark.parametrize("hue", ["hsv", "yiq"])
def test_one_draw_holds_for_all_frames(crop: Any, hue: Any) -> None:
    frames = clips(6, 5, 20, 24)
    draw = draws(6, height=20, width=24, size=12, crop=crop, gray_p=0.2)
    order = torch.tensor([3, 0, 4, 1, 2])
    result = augment(frames, draw, hue=hue)
    assert torch.allclose(augment(frames[:, order], draw, hue=hue), result[:, :, order], atol=1e-6)
    same = augment(frames[:, :1].expand(-1, 5, -1, -1, -1), draw, hue=hue)
    assert torch.allclose(same, same[:, :, :1].expand_as(same), atol=1e-6)


def test_area_crop_resizes_as_pillow_does() -> None:
    yy, xx = np.mgrid[0:60, 0:80]
    picture = np.stack([xx * 3, yy * 4, (xx + yy) % 17 * 15], axis=-1).astype(np.uint8)
    frames = torch.from_numpy(picture)[None, None].repeat(6, 1, 1, 1, 1)
    draw = draws(6, height=60, width=80, size=24, crop="area", **NOTHING)
    result = augment(frames, draw)
    for b, (top, left, height, width) in enumerate(draw.box.tolist()):
        box = (left, top, left + width, top + height)
        wanted = np.asarray(Image.fromarray(picture).crop(box).resize((24, 24), Image.Resampling.BILINEAR))
        assert np.abs(result[b, :, 0].permute(1, 2, 0).numpy() * 255 - wanted).max() <= 1.01


def test_resizing_on_other_devices_agrees_within_a_level() -> None:
    box = clips(1, 3, 30, 41)[0].permute(0, 3, 1, 2)
    fast = module._resize(box, 20).float()
    exact = torch.nn.functional.interpolate(box.float(), size=(20, 20), mode="bilinear", antialias=True)
    assert (fast - exact).abs().max() <= 1


@given(st.integers(4, 60), st.integers(4, 60), st.integers(0, 1000), st.floats(0.05, 1.0))
@settings(max_examples=50, deadline=None)
def test_area_boxes_fit_and_keep_area_and_aspect(height: int, width: int, seed: int, smallest: float) -> None:
    draw = draws(20, seed=seed, height=height, width=width, size=4, crop="area", area=(smallest, 1.0))
    for top, left, h, w in draw.box.tolist():
        assert top >= 0
        assert left >= 0
        assert h >= 1
        assert w >= 1
        assert top + h <= height
        assert left + w <= width
        # rounding moves each side by at most half a pixel
        assert (w + 0.5) / max(h - 0.5, 0.5) >= 3 / 4
        assert (w - 0.5) / (h + 0.5) <= 4 / 3
        assert (h + 0.5) * (w + 0.5) >= smallest * height * width or h == height or w == width


def test_area_and_aspect_follow_their_distributions() -> None:
    draw = draws(20_000, height=1000, width=1000, size=10, crop="area", area=(0.2, 0.5))
    h, w = draw.box[:, 2].double(), draw.box[:, 3].double()  # nothing is rejected: the largest side is 817 of 1000
    share = ((h * w / 1e6) - 0.2) / 0.3
    aspect = (w / h).log() / math.log(4 / 3)
    for numbers, low in ((share, 0.0), (aspect, -1.0)):
        scaled = ((numbers - low) / (1 - low)).sort().values
        assert (scaled - torch.linspace(0, 1, len(scaled))).abs().max() < 0.02


def test_draws_have_the_probabilities_and_ranges_asked_for() -> None:
    n = 40_000
    draw = draws(n, height=20, width=23, size=16, gray_p=0.2, blur_sigma=(0.5, 1.5), jitter=(0.4, 1.5, 0.2, 0.1))
    for flag, p in ((draw.flip, 0.5), (draw.jitter, 0.8), (draw.grey, 0.2), (draw.sigma > 0, 0.5)):
        assert abs(float(flag.double().mean()) - p) < 5 * math.sqrt(p * (1 - p) / n)
    ranges = [(0.6, 1.4), (0.0, 2.5), (0.8, 1.2), (-0.1, 0.1)]
    for column, (low, high) in zip(draw.factor.T.double(), ranges, strict=True):
        assert low - 1e-6 <= float(column.min()) < low + 0.01 * (high - low)
        assert high + 1e-6 >= float(column.max()) > high - 0.01 * (high - low)
        assert abs(float(column.mean()) - (low + high) / 2) < 0.01 * (high - low)
    sigma = draw.sigma[draw.sigma > 0]
    assert 0.5 <= float(sigma.min()) < 0.51
    assert 1.49 < float(sigma.max()) <= 1.5
    corners = torch.bincount(draw.box[:, 0] * 8 + draw.box[:, 1], minlength=40).double()
    assert ((corners - n / 40) ** 2 / (n / 40)).sum() < 39 + 5 * math.sqrt(2 * 39)
    orders = torch.unique(draw.order, dim=0, return_counts=True)[1].double()
    assert len(orders) == 24
    assert ((orders - n / 24) ** 2 / (n / 24)).sum() < 23 + 5 * math.sqrt(2 * 23)


def test_switches_are_independent_of_one_another() -> None:
    draw = draws(40_000, height=20, width=20, size=16, gray_p=0.5, jitter_p=0.5, crop="area")
    flags = [draw.flip, draw.jitter, draw.grey, draw.sigma > 0]
    columns = [f.double() for f in flags] + [
        *draw.factor.T.double(),
        *draw.order.T.double()[:1],
        draw.box[:, 2].double(),
    ]
    correlation = torch.corrcoef(torch.stack(columns)) - torch.eye(len(columns))
    assert correlation.abs().max() < 5 / math.sqrt(40_000)


def test_centre_crop_takes_the_middle() -> None:
    frames = clips(2, 3, 128, 171)
    result = centre_crop(frames, 112)
    assert torch.equal(result, frames[:, :, 8:120, 30:142].permute(0, 4, 1, 2, 3).float() / 255)
    assert torch.equal(
        centre_crop(frames[:, :, :112, :112], 112), frames[:, :, :112, :112].permute(0, 4, 1, 2, 3) / 255
    )


def test_mean_and_std_come_last() -> None:
    frames = clips(2, 3, 20, 20)
    draw = draws(2, height=20, width=20, size=16)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    wanted = (augment(frames, draw) - torch.tensor(mean).view(3, 1, 1, 1)) / torch.tensor(std).view(3, 1, 1, 1)
    assert torch.allclose(augment(frames, draw, mean=mean, std=std), wanted, atol=1e-6)
    middle = (centre_crop(frames, 16) - torch.tensor(mean).view(3, 1, 1, 1)) / torch.tensor(std).view(3, 1, 1, 1)
    assert torch.allclose(centre_crop(frames, 16, mean=mean, std=std), middle, atol=1e-6)


def test_frames_stay_as_they_are_and_values_in_range() -> None:
    frames = clips(8, 2, 20, 20)
    before = frames.clone()
    draw = draws(8, height=20, width=20, size=16, jitter=(0.9, 0.9, 0.9, 0.5))
    result = augment(frames, draw)
    assert torch.equal(frames, before)
    assert float(result.min()) >= 0
    assert float(result.max()) <= 1 + 1e-6
    assert "8 clips to 16 x 16" in repr(draw)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_blur_wider_than_the_crop_works(size: int) -> None:
    frames = clips(2, 1, 6, 6)
    draw = draws(2, height=6, width=6, size=size, blur_p=1, blur_sigma=(3.0, 3.0))
    assert torch.isfinite(augment(frames, draw)).all()


def test_wrong_input_is_refused() -> None:
    with pytest.raises(UserError, match="112 x 112 pixels does not fit frames of 64 x 86"):
        draws(1, height=64, width=86, size=112)
    with pytest.raises(UserError, match="112 x 112 pixels does not fit frames of 64 x 86"):
        centre_crop(clips(1, 1, 64, 86), 112)
    with pytest.raises(ValueError, match="uniforms must be"):
        draw_augmentation(np.zeros((2, 3)), height=9, width=9, size=8)
    draw = draws(2, height=9, width=9, size=8)
    with pytest.raises(ValueError, match="3 clips but 2 draws"):
        augment(clips(3, 1, 9, 9), draw)
    with pytest.raises(ValueError, match="uint8"):
        augment(clips(2, 1, 9, 9).float(), draw)


@pytest.mark.parametrize("kind", ["clip", "motion"])
def test_standardised_clips_keep_neither_contrast_nor_the_order_of_frames(kind):
    x = torch.rand(3, 3, 8, 6, 7, dtype=torch.float64)
    once = normalise_(x.clone(), standardise=kind)
    assert once.std(dim=(1, 2, 3, 4), correction=0).sub(1).abs().max() < (0.3 if kind == "clip" else 0.15)
    torch.testing.assert_close(once.mean(dim=(1, 2, 3, 4)), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
    if kind == "motion":
        torch.testing.assert_close(once.mean(dim=2), torch.zeros(3, 3, 6, 7, dtype=torch.float64), atol=1e-12, rtol=0)
        static = normalise_(x[:, :, :1].expand(-1, -1, 8, -1, -1).clone(), standardise=kind)
        assert static.abs().max() < 1e-12  # what stands still is gone
        background = torch.rand(3, 3, 1, 6, 7, dtype=torch.float64)
        torch.testing.assert_close(normalise_(x + background, standardise=kind), once)
    order = torch.randperm(8)
    torch.testing.assert_close(normalise_(x[:, :, order].clone(), standardise=kind), once[:, :, order])
    by_one = torch.cat([normalise_(clip[None].clone(), standardise=kind) for clip in x])
    torch.testing.assert_close(by_one, once)


def test_standard_frames_are_standardised_one_by_one():
    x = torch.rand(2, 3, 4, 5, 5)
    frames = standard_frames(x, standardise=True)
    for number, frame in enumerate(frames):
        plain = x[number // 4, :, number % 4]
        expected = (plain - plain.mean()) / (plain.std(correction=0) + 0.05)
        torch.testing.assert_close(frame, expected)
    assert torch.equal(standard_frames(x, standardise=False), x.transpose(1, 2).flatten(0, 1))
