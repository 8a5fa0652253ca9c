"""The search copy: kept, used again, and never believed where it is damaged or of something else."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cacl.errors import UserError
from cacl.files import partial_name
from cacl.search import copy_file, neighbours, quantise
from cacl.search.neighbours import Neighbours
from cacl.search.space import Space


def rows_of(seed: int = 0, count: int = 400) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, 24)).astype(np.float32)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "vectors.8bit.npz"


def count_quantisings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    done: list[int] = []
    for module in (copy_file, neighbours):

        def counted(*args: object) -> object:
            done.append(1)
            return quantise.blocks(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(module, "blocks", counted)
    return done


def test_a_copy_is_made_once_and_finds_the_same(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "v.npy", rows_of())
    expected = Neighbours(rows_of()).search(rows_of()[3], 20)
    done = count_quantisings(monkeypatch)
    for times in (1, 1):
        found = Neighbours(tmp_path / "v.npy", copy=copy)
        assert found.kept
        assert len(done) == times
        again = found.search(rows_of()[3], 20)
        assert again.rows.tolist() == expected.rows.tolist()
        assert again.scores.tolist() == expected.scores.tolist()
    few = Neighbours(tmp_path / "v.npy", copy=copy, few=True).search(rows_of()[3], 20)
    assert few.way == "float32"
    assert few.rows.tolist() == expected.rows.tolist()
    assert len(done) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v.npy", copy.name]


def test_the_same_vectors_make_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        copy_file.write_copy(tmp_path / name, rows_of(), Space.fit(rows_of()), made_of="x")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_copy_of_something_else_is_made_anew(copy: Path) -> None:
    Neighbours(rows_of(), copy=copy)
    changed = rows_of()
    changed[200, 3] += 1e-3
    for rows, space in ((changed, None), (rows_of(count=399), None), (rows_of(), Space.plain(24))):
        before = copy.read_bytes()
        found = Neighbours(rows, copy=copy, space=space)
        assert copy.read_bytes() != before
        assert found.search(rows[7], 5).rows.tolist() == Neighbours(rows, space=space).search(rows[7], 5).rows.tolist()


def test_a_version_is_taken_at_its_word(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = count_quantisings(monkeypatch)
    for version, times in (("1", 1), ("1", 1), ("2", 2)):
        Neighbours(rows_of(), copy=copy, version=version)
        assert len(done) == times


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_copy_is_made_anew(seed: int, copy: Path) -> None:
    """Half of it, or one byte or bit of it changed: wherever it matters, it is noticed."""
    rows = rows_of()
    Neighbours(rows, copy=copy)
    whole = copy.read_bytes()
    rng = np.random.default_rng(seed)
    damaged = bytearray(whole[: int(rng.integers(len(whole)))] if seed % 4 == 0 else whole)
    if seed % 4:
        damaged[int(rng.integers(len(damaged)))] ^= 1 << int(rng.integers(8)) if seed % 4 == 1 else 0xFF
    if seed % 4 == 3:
        damaged += b"more"
    copy.write_bytes(damaged)
    expected = Neighbours(rows).search(rows[9], 30)
    found = Neighbours(rows, copy=copy)
    assert found.kept
    assert found.search(rows[9], 30).rows.tolist() == expected.rows.tolist()


def test_what_a_kill_left_beside_it_does_not_matter(copy: Path) -> None:
    partial = copy.with_name(partial_name(copy.name))
    partial.write_bytes(b"half")
    assert Neighbours(rows_of(), copy=copy).kept
    assert not partial.exists()


def test_a_full_disk_keeps_nobody_from_searching(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    found = Neighbours(rows_of(), copy=copy)
    assert not found.kept
    assert not copy.exists()
    assert found.search(rows_of()[3], 1).rows.tolist() == [3]


def test_a_bad_vector_is_no_full_disk(copy: Path) -> None:
    rows = rows_of()
    rows[5] = np.nan
    with pytest.raises(UserError, match="vector 5 holds nan"):
        Neighbours(rows, copy=copy, space=Space.plain(24))
