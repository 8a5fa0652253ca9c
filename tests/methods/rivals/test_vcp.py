"""VCP: every operation by hand, where clips from elsewhere lie, the loss as a loop, its task on moving squares."""

from __future__ import annotations

import itertools
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

from cacl.data.clips.sampling import spaced_clips
from cacl.data.randomness import generator
from cacl.errors import UserError
from cacl.methods.contract import MethodBatch
from cacl.methods.rivals.vcp import (
    NONE,
    PERMUTED,
    QUADRANTS,
    REMOTE,
    ROTATED,
    SHUFFLED,
    VCP,
    Operation,
    VCPSettings,
    exchanged_chunks,
    operated,
    remote_clip,
)
from cacl.models.cnn3d import build_cnn3d
from cacl.presets import PRESETS
from cacl.training.resolve import resolve_settings

FRAMES = 8


def make() -> VCP:
    torch.manual_seed(0)
    network = build_cnn3d("r3d10", width=4)
    return VCP(network, Operation(network.num_features, frames=FRAMES))


def test_operations_are_uniform_over_videos_of_all_lengths_and_only_the_middle_clip_changes() -> None:
    head, counts, how = Operation(4), np.zeros(5, dtype=int), {ROTATED: np.zeros(3, int), PERMUTED: np.zeros(23, int)}
    lengths = np.random.default_rng(0).choice([9, 40, 64, 90, 120, 180, 400], size=3000)
    for i, n in enumerate(lengths.tolist()):
        plan = head.draw(n, generator(0, "plan", i))
        operation = int(plan.targets["operation"])
        counts[operation] += 1
        assert int(head.draw(33, generator(0, "plan", i)).targets["operation"]) == operation
        first, middle, last = plan.clips
        if operation in how:
            how[operation][int(plan.targets["how"]) - 1] += 1
        else:
            assert int(plan.targets["how"]) == 0
        assert max(clip.max() for clip in plan.clips) < n
        if n < 64:
            continue
        assert last[0] - first[0] == 48
        assert np.diff(first).tolist() == np.diff(last).tolist() == [1] * 15
        between = np.arange(first[0] + 24, first[0] + 40)
        if operation in (NONE, ROTATED, PERMUTED):
            assert middle.tolist() == between.tolist()
        elif operation == SHUFFLED:
            assert sorted(middle) == between.tolist()
            assert (middle != between).sum() == 8
        else:
            assert np.diff(middle).tolist() == [1] * 15
    assert uniform_classes(counts), counts
    assert all(uniform_classes(found) for found in how.values()), how


def test_pairs_of_chunks_change_places() -> None:
    clip, seen = np.arange(16), set()
    for i, j in itertools.combinations(range(4), 2):
        blocks = [list(range(4 * k, 4 * k + 4)) for k in range(4)]
        blocks[i], blocks[j] = blocks[j], blocks[i]
        assert exchanged_chunks(clip, i, j).tolist() == list(itertools.chain(*blocks))
    for i in range(400):
        plan = Operation(4).draw(64, generator(0, "plan", i))
        if int(plan.targets["operation"]) == SHUFFLED:
            seen.add(tuple(plan.clips[1].tolist()))
    assert len(seen) == 6
    assert sorted(exchanged_chunks(np.arange(6), 0, 2).tolist()) == list(range(6))


@pytest.mark.parametrize(("n", "stride"), [(64, 1), (95, 1), (96, 1), (130, 1), (200, 1), (300, 2), (20, 1)])
def test_a_clip_from_elsewhere_lies_sixteen_frames_away_or_is_told(n: int, stride: int) -> None:
    for i in range(150):
        rng = generator(0, "plan", i)
        clips = spaced_clips(n, rng, clips=3, stride=stride)
        side, place = rng.random(2)
        clip, too_near = remote_clip(n, clips, distance=16, side=side, place=place)
        assert 0 <= clip.min() <= clip.max() < n
        taken = set(range(int(clips[0, 0]), int(clips[2, -1]) + 1))
        fitting = [
            start
            for start in range(n - 15 * stride)
            if n >= 48 and all(frame not in taken for frame in range(start - 16, start + 15 * stride + 17))
        ]
        assert too_near == (not fitting)
        if fitting:
            assert int(clip[0]) in fitting
            assert np.diff(clip).tolist() == [stride] * 15
        elif n >= 48:
            ends = [0, n - 15 * stride - 1]
            middle = int(clips[1, 0])
            assert abs(int(clip[0]) - middle) == max(abs(end - middle) for end in ends)


def test_either_side_is_taken_and_every_start() -> None:
    clips = spaced_clips(64, generator(0, "t"), clips=3) + 100  # 100 … 163 of 264 frames
    rng = np.random.default_rng(0)
    starts = [int(remote_clip(264, clips, distance=16, side=a, place=b)[0][0]) for a, b in rng.random((4000, 2))]
    assert set(starts) == {*range(69), *range(180, 249)}
    assert abs(np.mean(np.array(starts) < 100) - 0.5) < 0.04


def picture(size: int) -> torch.Tensor:
    return torch.arange(3 * 4 * size * size).float().view(1, 3, 4, size, size)


def test_four_quarter_turns_are_none_and_three_differ() -> None:
    x, label = picture(6), torch.tensor([ROTATED])
    turned = x
    for _ in range(4):
        turned = operated(turned, label, torch.tensor([1]))
    assert torch.equal(turned, x)
    for quarters in (1, 2, 3):
        found = operated(x, label, torch.tensor([quarters]))
        assert np.array_equal(found[0, 1, 2].numpy(), np.rot90(x[0, 1, 2].numpy(), quarters))
        assert not torch.equal(found, x)


def test_quadrants_change_places_and_are_never_as_they_were() -> None:
    x = picture(4)
    for number in range(1, 24):
        found = operated(x, torch.tensor([PERMUTED]), torch.tensor([number]))
        corner = [(0, 0), (0, 2), (2, 0), (2, 2)]
        for j, (row, column) in enumerate(corner):
            r, c = corner[QUADRANTS[number][j]]
            assert torch.equal(found[..., row : row + 2, column : column + 2], x[..., r : r + 2, c : c + 2])
        assert sorted(found[0, 0, 0].flatten().tolist()) == sorted(x[0, 0, 0].flatten().tolist())
        assert not torch.equal(found, x)


def test_a_batch_is_operated_on_row_by_row() -> None:
    x = torch.rand(7, 3, 4, 8, 8).contiguous(memory_format=torch.channels_last_3d)
    label = torch.tensor([NONE, ROTATED, PERMUTED, SHUFFLED, REMOTE, ROTATED, PERMUTED])
    how = torch.tensor([0, 3, 20, 0, 0, 1, 5])
    found = operated(x, label, how)
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    for b in range(7):
        assert torch.equal(found[b : b + 1], operated(x[b : b + 1], label[b : b + 1], how[b : b + 1]))
        assert torch.equal(found[b], x[b]) == (b in (0, 3, 4))


def test_the_loss_is_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    method, rng = make().double(), np.random.default_rng(0)
    views = tuple(torch.from_numpy(rng.random((5, 3, FRAMES, 16, 16))) for _ in range(3))
    label, how = torch.tensor([2, 1, 0, 4, 3]), torch.tensor([7, 2, 0, 0, 0])
    targets = {"operation": label, "how": how, "too_near": torch.tensor([0, 0, 0, 1, 0])}
    output = method(MethodBatch(views, targets, torch.arange(5), torch.zeros(5, 0)))
    features = [method.network(x) for x in (views[0], operated(views[1], label, how), views[2])]
    loss = torch.zeros((), dtype=torch.float64)
    for b in range(5):
        logits = method.head.linear.weight @ torch.cat([f[b] for f in features]) + method.head.linear.bias
        loss = loss - torch.log(torch.exp(logits[label[b]]) / torch.exp(logits).sum()) / 5
    same_gradients(output.losses["main"], loss, list(method.parameters()))
    assert output.metrics["too_near"].item() == pytest.approx(0.2)


def test_an_odd_crop_has_no_quadrants() -> None:
    with pytest.raises(UserError, match=r"augment\.size is 17; method vcp cuts clips into quadrants"):
        built(settings_for("vcp", augment__size=17))


def test_its_task_sees_what_training_sees() -> None:
    method, given = make().eval(), torch.rand(3, 2, 3, FRAMES, 16, 16)
    targets = {"operation": torch.tensor([1, 4]), "how": torch.tensor([1, 0]), "too_near": torch.zeros(2)}
    logits = method.head.logits(method.network, list(given), targets)
    turned = given[1].clone()
    turned[0] = turned[0].rot90(1, (2, 3))
    expected = method.head([method.network(x) for x in (given[0], turned, given[2])])
    torch.testing.assert_close(logits, expected)
    one = {name: value[0].numpy() for name, value in targets.items()}
    numbers = method.head.differences([clip[0] for clip in given], one)
    assert numbers.shape == (10,)
    meeting = (given[0, 0, :, -1] - turned[0, :, 0]).abs().mean().item()
    assert numbers[7] == pytest.approx(np.log(meeting + 0.1 / 255), abs=1e-5)


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path, in_processes: Callable[..., list[Any]]) -> None:
    same_in_two_processes("vcp", tmp_path, in_processes)


@pytest.mark.slow
def test_it_learns_operations_on_videos_that_it_never_saw() -> None:
    settings = settings_for("vcp", model__width=8, optim__batch_size=16)
    method = built(settings)
    said = trained(method, settings, Moving(count=64), steps=200)
    right = task_accuracy(method, settings, Moving(seed=1))
    print(f"vcp: loss {said[0]['loss']:.2f} to {np.mean([r['loss'] for r in said[-20:]]):.2f}, {right:.0%} right")
    assert right > 0.35  # chance 1/5


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_a_method_of_every_preset(preset: str) -> None:
    found = resolve_settings(preset=preset, method="vcp").settings.method
    assert found == VCPSettings()
    assert found.label({}) == "vcp"
