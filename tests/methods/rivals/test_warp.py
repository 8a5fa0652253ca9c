"""Warps against literal pixels and what is known of splines."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cacl.methods.rivals.warp import pushed, spline_basis, splined


@pytest.mark.parametrize("size", [224, 112, 56])
def test_a_push_is_its_literal_transcription(size: int) -> None:
    rng = np.random.default_rng(size)
    for number in (1, 2, 3):
        uniforms = torch.tensor([(number - 0.5) / 3, *rng.random(12)], dtype=torch.float64)
        x = torch.from_numpy(rng.random((1, 3, 1, size, size)))
        expected = x[0, 0, 0].numpy().copy()
        scale, outside = size / 224, np.ones((size, size), bool)
        for i in range(number):
            u = uniforms[1 + 4 * i : 5 + 4 * i].tolist()
            cy, cx = (60 + math.floor(80 * value) for value in u[:2])
            vy, vx = (10 + math.floor(10 * value) for value in u[2:])
            cy, cx, vy, vx = (value * scale for value in (cy, cx, vy, vx))
            before = expected.copy()
            for row in range(math.ceil(cy - 3 * vy), math.floor(cy + 3 * vy) + 1):
                for column in range(math.ceil(cx - 3 * vx), math.floor(cx + 3 * vx) + 1):
                    if not (0 <= row < size and 0 <= column < size):
                        continue
                    outside[row, column] = False
                    away = math.hypot(row - cy - vy, column - cx - vx) / math.hypot(vy, vx)
                    pull = 0.5 / (3 * away**4 + 1)
                    r, c = (min(max(math.trunc(p - pull * v), 0), size - 1) for p, v in ((row, vy), (column, vx)))
                    expected[row, column] = before[r, c]
        found = pushed(x, uniforms)[0, 0, 0].numpy()
        assert (found == expected).mean() > 0.9999  # a truncation may fall on the other side of a whole number
        assert (found[outside] == x[0, 0, 0].numpy()[outside]).all()
        assert (found != x[0, 0, 0].numpy()).any()


def test_a_spline_takes_each_control_point_where_it_is_to_go_and_planes_to_planes() -> None:
    line = torch.linspace(-1, 1, 5, dtype=torch.float64)
    points = torch.stack([x.flatten() for x in torch.meshgrid(line, line, indexing="xy")], dim=1)
    torch.testing.assert_close(spline_basis(points), torch.eye(25, dtype=torch.float64), atol=1e-9, rtol=0)
    places = torch.rand(30, 2, dtype=torch.float64) * 2 - 1
    slope = torch.randn(2, 2, dtype=torch.float64)
    torch.testing.assert_close(spline_basis(places) @ (points @ slope + 0.3), places @ slope + 0.3)
    x = torch.rand(1, 3, 1, 17, 17)
    torch.testing.assert_close(splined(x, torch.full((1, 1, 50), 0.5)), x)  # no point moves
    ramp = torch.linspace(-1, 1, 17).expand(1, 3, 1, 17, 17)  # brightness is x
    shifted = torch.full((1, 1, 50), 0.5)
    shifted[..., ::2] = 1.0  # every point by .1 to the right
    found = splined(ramp, shifted)
    torch.testing.assert_close(found[..., :-1], (ramp + 0.1).clamp(max=1)[..., :-1], atol=1e-5, rtol=0)


def test_a_warp_is_the_same_in_low_precision() -> None:
    x, numbers = torch.rand(2, 3, 2, 16, 16), torch.rand(2, 2, 50)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(splined(x, numbers), _full(x, numbers))


def _full(x: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", enabled=False):
        return splined(x, numbers)
