"""The map: neighbours beside brute force, neighbours that stay near, the same map each time, kept and computed anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import cacl
from cacl.exploring.layout import layout, principal
from cacl.exploring.map import FOLDER, maps_of
from cacl.exploring.near import LEAF, near


def groups(count: int, kinds: int = 25, width: int = 40) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    random = np.random.default_rng(0)
    kind = random.integers(0, kinds, count)
    centres = random.normal(size=(kinds, width))
    return (centres[kind] + 0.35 * random.normal(size=(count, width))).astype(np.float32), kind


def brute(points: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    exact = points.astype(np.float64)
    distance = (exact**2).sum(axis=1)[:, None] + (exact**2).sum(axis=1) - 2 * exact @ exact.T
    np.fill_diagonal(distance, np.inf)
    return np.argsort(distance, axis=1, kind="stable")[:, :k]


def test_neighbours_of_few_points_are_exact():
    points, _ = groups(LEAF)
    assert np.array_equal(near(points, 5), brute(points, 5))


def test_neighbours_of_many_points_are_nearly_all_found():
    points = principal(groups(1500)[0])
    found, true = near(points, 10), brute(points, 10)
    assert (found >= 0).all()
    assert not (found == np.arange(1500)[:, None]).any()
    assert all(len(set(row)) == 10 for row in found.tolist())
    share = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), true.tolist(), strict=True)])
    assert share > 0.8


def test_principal_axes_are_those_of_a_decomposition():
    x = groups(300)[0]
    left, size, _ = np.linalg.svd(x.astype(np.float64) - x.mean(axis=0), full_matrices=False)
    found = principal(x, 3)
    np.testing.assert_allclose(np.abs(found), np.abs(left * size)[:, :3], atol=1e-3)


def test_neighbours_stay_near_in_the_layout_and_pca_mixes_them():
    x, kind = groups(900)
    axes = principal(x)
    drawn = layout(axes)
    assert np.array_equal(drawn, layout(axes))

    def same(points: NDArray[np.float32]) -> float:
        return float((kind[brute(points, 10)] == kind[:, None]).mean())

    assert same(drawn) > 0.97
    assert same(axes[:, :2]) < 0.8


def test_a_map_is_kept_for_its_state_of_the_index(small_index: Path):
    with cacl.Index(small_index) as index:
        first = list(maps_of(index))
        assert [(one.kind, one.points.shape, one.stride) for one in first] == [
            ("pca", (len(index), 2), 1),
            ("neighbours", (len(index), 2), 1),
        ]
        assert all(0 <= one.points.min() <= one.points.max() <= 1 for one in first)
        again = list(maps_of(index))
        assert [one.kind for one in again] == ["neighbours"]
        assert np.array_equal(again[0].points, first[1].points)
        (kept,) = (small_index / FOLDER).iterdir()
        kept.write_bytes(kept.read_bytes()[:100])
        (small_index / FOLDER / "old.npz").write_bytes(b"")
        assert np.array_equal(list(maps_of(index))[1].points, first[1].points)
        assert list((small_index / FOLDER).iterdir()) == [kept]
