"""Spaces: centred, whitened, kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cacl.errors import UserError
from cacl.search.space import Space

ROWS = (np.random.default_rng(0).normal(size=(500, 12)) * np.geomspace(1, 0.2, 12) + 3).astype(np.float32)


def test_a_centred_space_gives_cosines_from_the_mean() -> None:
    space = Space.fit(ROWS)
    z, gain = space.prepared(ROWS.astype(np.float64))
    from_mean = ROWS.astype(np.float64) - ROWS.astype(np.float64).mean(0)
    assert np.allclose(z, from_mean / np.linalg.norm(from_mean, axis=1, keepdims=True))
    assert np.allclose(1 / gain, np.linalg.norm(from_mean, axis=1))


def test_a_whitened_space_has_about_equal_variance_in_all_directions() -> None:
    space = Space.fit(ROWS, whiten=True)
    assert space.matrix is not None
    assert np.allclose(space.matrix, space.matrix.T)
    white = (ROWS - space.mean) @ space.matrix
    variance = np.linalg.eigvalsh(np.cov(white.T))
    assert variance.min() > 0.5
    assert variance.max() < 1.05


def test_a_direction_without_variance_is_not_blown_up() -> None:
    flat = ROWS.copy()
    flat[:, 0] = 1
    white = (flat - (space := Space.fit(flat, whiten=True)).mean) @ space.matrix
    assert np.abs(white[:, 0]).max() < 1e-6


def test_towards_scores_vectors_as_they_are_stored() -> None:
    for space in (Space.plain(12), Space.plain(12, unit=True), Space.fit(ROWS), Space.fit(ROWS, whiten=True)):
        z, gain = space.prepared(ROWS.astype(np.float64))
        query = space.direction(ROWS[:3], ROWS[4])
        assert np.allclose(z @ query, (ROWS - space.mean) @ space.towards(query) * gain)


def test_a_space_is_kept(tmp_path: Path) -> None:
    for space in (Space.plain(12), Space.fit(ROWS), Space.fit(ROWS, whiten=True)):
        space.save(tmp_path / "space.npz")
        again = Space.load(tmp_path / "space.npz")
        assert again.fingerprint() == space.fingerprint()
        assert again.unit == space.unit
    assert len({Space.plain(12).fingerprint(), Space.plain(13).fingerprint(), Space.fit(ROWS).fingerprint()}) == 3


def test_a_damaged_space_is_named(tmp_path: Path) -> None:
    file = tmp_path / "space.npz"
    with pytest.raises(UserError, match=r"space\.npz is missing or damaged"):
        Space.load(file)
    Space.fit(ROWS, whiten=True).save(file)
    whole = file.read_bytes()
    for content in (b"", whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"space\.npz is missing or damaged"):
            Space.load(file)
    np.savez(file, mean=np.zeros(12), matrix=np.zeros((3, 3)), unit=np.array(True))
    with pytest.raises(UserError, match=r"space\.npz is damaged"):
        Space.load(file)


def test_examples_that_cancel_have_no_direction() -> None:
    assert Space.fit(ROWS).direction(ROWS[1], ROWS[1]).tolist() == [0] * 12
    with pytest.raises(UserError, match="at least one example"):
        Space.fit(ROWS).direction(np.zeros((0, 12)))
