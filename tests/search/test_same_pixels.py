"""Copies of made scenes, changed as people change them, against other takes of the same place."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from search.scenes import FPS, render

from cacl.search.alignment import Line
from cacl.search.closer_look import NOISE_BESIDE, SURE, SURE_THROUGHOUT, _agreement, _beside, _reached
from cacl.search.register import HEIGHT, WHOLE, _Edges, grey, register, resized
from cacl.search.same_pixels import PixelMatch, compare_pixels
from cacl.search.sketches import Sketches

Frames = NDArray[np.uint8]


def resize(frames: Frames, height: int, width: int) -> Frames:
    planes = [resized(torch.from_numpy(frames[..., c].astype(np.float32)), height, width) for c in range(3)]
    changed: Frames = torch.stack(planes, dim=3).round().clamp(0, 255).to(torch.uint8).numpy()
    return changed


def boxed(frames: Frames) -> Frames:
    return np.pad(frames, ((0, 0), (12, 12), (0, 0), (0, 0)), constant_values=2)


def marked(frames: Frames) -> Frames:
    frames = frames.copy()
    frames[:, 3:14, 60:77] = 240
    return frames


CHANGES: dict[str, Callable[[Frames], Frames]] = {
    "none": lambda frames: frames,
    "scaled": lambda frames: resize(frames, 40, 54),
    "letterboxed": boxed,
    "pillarboxed": lambda frames: np.pad(frames, ((0, 0), (0, 0), (14, 14), (0, 0))),
    "cropped": lambda frames: resize(frames[:, 5:53, 10:74], 60, 80),
    "colours": lambda frames: ((frames / 255) ** 0.7 * [200, 240, 150] + 10).astype(np.uint8),
    "logo": marked,
    "noise": lambda frames: np.clip(frames + np.random.default_rng(0).normal(0, 8, frames.shape), 0, 255).astype("u1"),
}


def reader(frames: Frames) -> Callable[[Any], Frames]:
    return lambda times: frames[np.clip((np.asarray(times) * FPS + 1e-6).astype(int), 0, len(frames) - 1)]


def compared(first: Frames, second: Frames, line: Line) -> PixelMatch:
    videos = first, second
    sketches = Sketches(lambda number, times: reader(videos[number])(times), [len(video) / FPS for video in videos])
    return compare_pixels(line, sketches.film(0), sketches.film(1))


ALIGNED = Line((0.3, 7.6), (0.5, 7.8), 1.0, 0.9, 4)  # .2 s beside the truth


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_a_copy(change: str, mirrored: bool) -> None:
    original = render(1, 0)
    copy = CHANGES[change](original[:, :, ::-1] if mirrored else original)
    found = compared(original, copy, ALIGNED)
    assert found.kind == "copy"
    assert found.mirrored == mirrored
    assert found.a == pytest.approx((0, 8), abs=0.5)
    assert found.b == pytest.approx((0, 8), abs=0.5)


@pytest.mark.parametrize("place", range(4))
def test_another_take_of_the_same_place_is_a_similar_scene(place: int) -> None:
    found = compared(render(place, 0), render(place, 1), ALIGNED)
    assert found.kind == "similar scene"
    assert found.score < 0.35


PERFORM = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "actors.py"))["perform"]


def performed(place: int, actor: int) -> Frames:
    frames: Frames = PERFORM(render(place, 0, 0.1)[0], place, actor, 6.0, FPS)
    return frames


@pytest.mark.parametrize("place", [3, 4])
def test_somebody_else_who_does_the_same_before_the_same_camera_is_no_sure_copy(place: int) -> None:
    line = Line((0.3, 5.6), (0.3, 5.6), 1.0, 0.9, 4)
    original = performed(place, 0)
    assert not compared(original, performed(place, 1), line).sure
    copy = compared(original, marked(CHANGES["cropped"](original[:, :, ::-1])), line)
    assert copy.kind == "copy"
    assert copy.mirrored
    assert copy.sure


def test_a_copy_that_is_spoiled_at_all_moments_alike_is_sure() -> None:
    line = Line((0.3, 5.6), (0.3, 5.6), 1.0, 0.9, 4)
    original = performed(4, 0)
    noise = np.random.default_rng(0).normal(0, 6, original.shape)
    spoiled = np.clip(original + noise, 0, 255).astype(np.uint8)
    copy = compared(original, spoiled, line)
    assert SURE_THROUGHOUT < copy.score < SURE
    assert copy.sure
    assert not compared(performed(4, 1), spoiled, line).sure


@pytest.mark.parametrize("speed", [1.0, 2.0])
def test_a_copy_with_frames_left_out_is_sure(speed: float) -> None:
    original = np.repeat(performed(3, 0), 2, axis=0)
    original[1:-1:2] = performed_finely(3, 0)[1:-1:2]
    copy = original[::2] if speed == 2.0 else np.repeat(original[::2], 2, axis=0)
    end = 11.6 / speed
    line = Line((0.3, 11.6), (0.3 / speed, end), 1 / speed, 0.9, 4)
    for first, second, way in ((original, copy, line), (copy, original, Line(line.b, line.a, speed, 0.9, 4))):
        found = compared(first, second, way)
        assert found.score > SURE
        assert found.sure


def performed_finely(place: int, actor: int) -> Frames:
    frames: Frames = PERFORM(render(place, 0, 0.1)[0], place, actor, 6.0, 2 * FPS)
    return frames


def test_a_copy_whose_grey_is_another_is_sure() -> None:
    original = performed(3, 0)
    mixture = np.array([[0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.7, 0.1, 0.2]])
    found = compared(original, (original @ mixture).astype(np.uint8), Line((0.3, 5.6), (0.3, 5.6), 1.0, 0.9, 4))
    assert found.kind == "copy"
    assert found.sure


def test_the_most_alike_mixture_of_colours_is_taken() -> None:
    mine = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    turned = torch.tensor([[0.0, 1.0, 0.5], [1.0, 0.0, 0.0], [0.0, 0.3, 1.0]])
    agreement = _agreement(mine, torch.einsum("tcij,cd->tdij", mine, turned))
    assert agreement.half == pytest.approx(1, abs=1e-4)
    alone = mine[:, :1].expand(-1, 3, -1, -1)  # a picture that is grey has one colour to mix
    assert _agreement(mine, alone).half == pytest.approx(0.299 / np.hypot(np.hypot(0.299, 0.587), 0.114), abs=0.05)


def test_a_shift_and_a_change_of_light_are_told_from_noise() -> None:
    rng = torch.Generator().manual_seed(0)
    wide = resized(torch.rand(5, 18, 18, generator=rng), 70, 70)
    picture, shifted = wide[:, 3:67, 3:67], wide[:, 3:67, 4:68]
    assert _beside(picture, shifted) > 0.8
    light = torch.rand(5, 8, 8, generator=rng).repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
    assert _beside(picture, picture + 0.1 * light) > 0.8
    noise = torch.randn(5, 64, 64, generator=rng)
    assert _beside(picture, picture + 0.05 * noise) < 0.5 * NOISE_BESIDE


def test_what_is_reached_at_a_share_of_the_weight() -> None:
    values, weights = torch.tensor([0.9, 0.1, 0.5, 0.7]), torch.tensor([4.0, 1.0, 2.0, 3.0])
    reached = [_reached(values, weights, share) for share in (0.35, 0.5, 0.65, 0.85, 0.95)]
    assert reached == pytest.approx([0.9, 0.7, 0.7, 0.5, 0.1])


@pytest.mark.parametrize("place", range(4))
def test_another_place_is_different(place: int) -> None:
    assert compared(render(place, 0), render(place + 50, 0), ALIGNED).kind == "different"


def test_ends_are_found_beyond_what_vectors_said() -> None:
    original = render(2, 0, 16)
    copy = np.concatenate([render(60, 0, 3), original[round(4 * FPS) : round(12 * FPS)], render(61, 0, 3)])
    found = compared(original, copy, Line((4.8, 11.4), (3.9, 10.5), 1.0, 0.9, 4))
    assert found.kind == "copy"
    assert found.a == pytest.approx((4, 12), abs=0.5)
    assert found.b == pytest.approx((3, 11), abs=0.5)


@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
def test_a_speed_that_is_a_little_wrong_is_put_right(speed: float) -> None:
    original = render(3, 0)
    copy = original[(np.arange(len(original) * speed) / speed).astype(int)]
    found = compared(original, copy, Line((0.2, 7.8), (0.3, 0.3 + 7.6 * speed * 1.02), speed * 1.02, 0.9, 4))
    assert found.kind == "copy"
    assert found.speed == pytest.approx(speed, rel=0.03)


def test_a_picture_that_stays_is_no_proof() -> None:
    still = np.repeat(render(4, 0)[:1], 100, axis=0)
    assert compared(still, still, ALIGNED).kind == "similar scene"
    black = np.zeros_like(still)
    assert compared(black, black, ALIGNED).kind != "copy"


def test_moments_that_show_one_frame_are_that_frame() -> None:
    frames, shown = render(1, 0)[:3], [0, 0, 1, 2, 2, 2]
    expected = torch.cat([grey(frames[[number]], HEIGHT, WHOLE) for number in shown])
    assert torch.equal(grey(frames[shown], HEIGHT, WHOLE), expected)


def test_registration_says_how_a_picture_lies() -> None:
    original = render(5, 0)[:6]
    original[:, [0, -1]] = original[:, :, [0, -1]] = np.random.default_rng(0).integers(0, 255, (1, 1, 1, 3))
    original[:, ::2, [0, -1]] = original[:, [0, -1], ::2] = 0  # no bars
    pictures = [grey(frames, HEIGHT, WHOLE) for frames in (original, CHANGES["cropped"](original))]
    found = register(*pictures)
    assert found is not None
    assert found.scale == pytest.approx(0.8, abs=0.03)
    assert found.shift == pytest.approx((5 * 0.8, 10 * 0.8), abs=1.5)
    assert not found.mirrored


@pytest.mark.parametrize(("own", "other"), [((20, 31), (17, 40)), ((24, 32), (30, 25)), ((21, 21), (21, 21))])
def test_the_best_shift_is_that_of_all_shifts_tried_one_by_one(own: tuple[int, int], other: tuple[int, int]) -> None:
    rng = np.random.default_rng(sum(own))
    scene = rng.normal(size=(3, 60, 60))
    first, second = scene[:, 5 : 5 + own[0], 5 : 5 + own[1]], scene[:, 7 : 7 + other[0], 2 : 2 + other[1]]
    second = second + rng.normal(0, 0.5, second.shape)
    best, least = (-1.0, (0, 0)), 0.75 * min(own[0] * own[1], other[0] * other[1])
    for down in range(-other[0] + 1, own[0]):
        for right in range(-other[1] + 1, own[1]):
            rows = slice(max(0, down), min(own[0], down + other[0]))
            columns = slice(max(0, right), min(own[1], right + other[1]))
            ours = first[:, rows, columns]
            theirs = second[:, rows.start - down : rows.stop - down, columns.start - right : columns.stop - right]
            if ours[0].size >= least:
                alike = float((ours * theirs).sum() / np.sqrt((ours**2).sum() * (theirs**2).sum()))
                best = max(best, (alike, (down, right)))
    two = torch.from_numpy(np.stack([rng.normal(size=second.shape), second]))
    _, (agreement, shift) = _Edges(torch.from_numpy(first), other).best_shifts(two)
    assert shift == best[1]
    assert agreement == pytest.approx(best[0], abs=1e-9)
