"""Space-time puzzles: pieces against slices, targets by brute force, the loss against a literal one, its own task."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
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
from cacl.methods.rivals.st_puzzle import Puzzle, STPuzzle, STPuzzleSettings
from cacl.presets import PRESETS
from cacl.training.optim import build_optimizer
from cacl.training.resolve import resolve_settings

ORDERS = list(itertools.permutations(range(4)))


def make(**changes: object) -> STPuzzle:
    made = tiny_method("st-puzzle", **{"method.hidden": 16, **changes})
    assert isinstance(made, STPuzzle)
    return made


def targets(size: int, *, seed: int = 0) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)
    place = np.stack([rng.permutation(4) if rng.random() < 0.5 else np.full(4, rng.integers(4)) for _ in range(size)])
    found = {"order": rng.integers(0, 24, size), "turned": rng.integers(0, 2, size), "place": place}
    return {name: torch.from_numpy(value) for name, value in found.items()}


def test_pieces_are_slices_of_their_cells() -> None:
    clip = torch.rand(200, 3, 2, 28, 28)
    rng = np.random.default_rng(0)
    place, channel, turned = (torch.from_numpy(rng.integers(0, n, 200)) for n in (4, 3, 2))
    corner = torch.from_numpy(rng.random((200, 2)))
    whole = Puzzle(4, piece=1.0).cut(clip, place, corner, channel, turned)
    for b in range(200):
        y, x = 14 * (int(place[b]) // 2), 14 * (int(place[b]) % 2)
        cell = clip[b, int(channel[b]), :, y : y + 14, x : x + 14]
        cell = cell.flip(1, 2) if turned[b] else cell
        torch.testing.assert_close(
            whole[b], torch.nn.functional.interpolate(cell[None], size=28, mode="bilinear").expand(3, -1, -1, -1)
        )


def test_smaller_pieces_lie_within_their_cells_and_everywhere_in_them() -> None:
    # a clip that is its own coordinates: what a piece shows says where it was cut
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    seen = {(place, axis): set() for place in range(4) for axis in (0, 1)}
    rng = np.random.default_rng(0)
    puzzle = Puzzle(4, piece=10 / 14)
    for axis, picture in enumerate((y, x)):
        clip = picture.expand(400, 3, 1, 28, 28)
        place = torch.from_numpy(rng.integers(0, 4, 400))
        corner = torch.from_numpy(rng.random((400, 2)))
        piece = puzzle.cut(clip, place, corner, torch.zeros(400, dtype=torch.int64), torch.zeros(400))
        for b in range(400):
            low, high = float(piece[b].min()), float(piece[b].max())
            start = 14 * (int(place[b]) // 2 if axis == 0 else int(place[b]) % 2)
            assert start - 1e-4 <= low
            assert high <= start + 13 + 1e-4
            assert high - low == pytest.approx(9, abs=1e-4)  # ten pixels
            assert torch.equal(piece[b, 0], piece[b, 1])
            seen[int(place[b]), axis].add(round(low) - start)
    assert all(found == {0, 1, 2, 3, 4} for found in seen.values())


def test_puzzles_are_of_space_or_of_time_and_the_target_is_their_order() -> None:
    method, counts, kinds, turns = make(), np.zeros(24), np.zeros(2), np.zeros(2)
    for i in range(2400):
        plan = method.plan(60, generator(0, "plan", i))
        starts = [int(clip[0]) for clip in plan.clips]
        place = plan.targets["place"].tolist()
        in_time = len(set(place)) == 1
        kinds[int(in_time)] += 1
        order = tuple(sorted(starts).index(start) for start in starts) if in_time else tuple(place)
        assert ORDERS[int(plan.targets["order"])] == order
        if in_time:
            gaps = np.diff(sorted(starts))
            assert (gaps == 8).all(), "one after the other"
        else:
            assert len(set(starts)) == 1
        counts[int(plan.targets["order"])] += 1
        turns[int(plan.targets["turned"])] += 1
    assert ((counts - 100) ** 2 / 100).sum() < 60  # chi-square of 23 degrees of freedom, p = 4e-5
    assert abs(kinds[0] - 1200) < 110
    assert abs(turns[0] - 1200) < 110  # 4.5 standard deviations


def test_the_target_does_not_depend_on_the_length_of_the_video() -> None:
    method = make()
    for i in range(40):
        plans = [method.plan(n, generator(0, "plan", i)) for n in (3, 25, 40, 300)]
        for name in ("order", "turned", "place"):
            assert len({tuple(np.atleast_1d(plan.targets[name])) for plan in plans}) == 1


@pytest.mark.parametrize("training", [True, False])
def test_the_loss_and_its_gradient_are_the_literal_sum(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    made = make(**{"method.dropout": 0.4}).double().train(training)
    batch = doubled(noise(made, 5, targets=targets(5)))
    output, head = made(batch), made.puzzle
    features = [made.network(piece) for piece in made.pieces(batch)]
    loss = torch.zeros((), dtype=torch.float64)
    for b in range(5):
        hidden = head.together.weight @ torch.cat([features[i][b] for i in range(4)]) + head.together.bias
        hidden = torch.where(hidden > 0, hidden, 0 * hidden)
        if training:
            kept = [0.0 if u < 0.4 else 1 / 0.6 for u in batch.uniforms[b, 9:].tolist()]
            hidden = hidden * torch.tensor(kept, dtype=torch.float64)
        for part, name in ((head.order, "order"), (head.turn, "turned")):
            logits = part.weight @ hidden + part.bias
            loss = loss - torch.log(logits[batch.targets[name][b]].exp() / logits.exp().sum()) / 5
    same_gradients(output.losses["main"], loss, list(made.parameters()), atol=1e-7)


def test_a_head_that_knows_nothing_has_the_loss_ln_24_and_ln_2() -> None:
    made = make()
    for part in (made.puzzle.order, made.puzzle.turn):
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.zeros_(part.bias)
    loss = made(noise(made, 4, targets=targets(4))).losses["main"].item()
    assert loss == pytest.approx(math.log(24) + math.log(2))


def scene(times: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Brightness grows with time, contrast of stripes from place to place: ``[3, T, 16, 16]``."""
    place = np.kron([[0.0, 1.0], [2.0, 3.0]], np.ones((8, 8)))
    stripes = np.where(np.arange(16) % 2 > 0, 0.1 * place, -0.1 * place)
    pixels = 0.3 + 0.5 * times[:, None, None] / 60 + 0.5 * stripes + 0.05 * rng.random((len(times), 16, 16))
    return torch.from_numpy(np.broadcast_to(pixels, (3, *pixels.shape)).copy()).float()


@pytest.mark.slow
def test_it_solves_generated_puzzles_above_chance() -> None:
    made = make(**{"augment.size": 16, "data.resize": [20, 20], "method.dropout": 0.0, "method.hidden": 64})
    optimizer = build_optimizer(made, optimizer="adamw", lr=3e-3, weight_decay=0.0)
    rng, hits = np.random.default_rng(0), []
    for step in range(150):
        plans = [made.plan(60, generator(1, "learn", step, i)) for i in range(16)]
        views = tuple(torch.stack([scene(plan.clips[k], rng) for plan in plans]) for k in range(4))
        names = plans[0].targets
        aims = {name: torch.from_numpy(np.stack([plan.targets[name] for plan in plans])) for name in names}
        numbers = torch.from_numpy(rng.random((16, made.uniforms))).float()
        output = made(MethodBatch(views, aims, torch.arange(16), numbers))
        optimizer.zero_grad()
        output.losses["main"].backward()
        optimizer.step()
        hits.append(output.metrics["order_accuracy"].item())
    print(f"st-puzzle: order right {np.mean(hits[-20:]):.2f} (chance .04)")
    assert np.mean(hits[-20:]) > 0.15, hits


@pytest.mark.slow
def test_two_processes_learn_the_same(in_processes: InProcesses, tmp_path: Path) -> None:
    same_in_two_processes("st-puzzle", tmp_path, in_processes)


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_a_method_of_every_preset(preset: str) -> None:
    settings = resolve_settings(preset=preset, method="st-puzzle").settings
    assert settings.method == STPuzzleSettings()
    assert settings.method.label({}) == "st-puzzle"
