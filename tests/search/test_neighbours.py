"""Neighbours against a full scan in float64, on vectors made to mislead it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cacl.errors import UserError
from cacl.search import int8
from cacl.search.neighbours import Found, Neighbours
from cacl.search.space import Space

Rows = NDArray[np.float32]


def brute(rows: Rows, space: Space, query: NDArray[Any], k: int, floor: float = -np.inf) -> list[int]:
    """Every score in float64 by the definition, sorted by score and number."""
    z = space.prepared(query.astype(np.float64)[None])[0][0]
    y = z if space.matrix is None else space.matrix.T @ z
    gains = space.prepared(rows.astype(np.float64))[1]
    scores = [(((row.astype(np.float64) - space.mean) * y).sum() * gain) for row, gain in zip(rows, gains, strict=True)]
    order = sorted(range(len(rows)), key=lambda i: (-scores[i], i))
    return [i for i in order if scores[i] >= floor][:k]


def made(kind: str, count: int = 3000, width: int = 48) -> Rows:
    rng = np.random.default_rng(len(kind))
    rows = rng.normal(size=(count, width))
    if kind == "crowded":  # as embeddings are: median cosine above .96
        rows = rows * 0.15 + rng.normal(size=width) * 0.9
    elif kind == "clusters":  # nearer to each other than 8 bits tell
        rows = rng.normal(size=(20, width))[rng.integers(0, 20, count)] + 1e-4 * rows
    elif kind == "near ties":  # about as near as float32 tells
        rows = rng.normal(size=width) + 1e-7 * rows
    elif kind == "duplicates":
        rows = rows[rng.integers(0, 60, count)]
    elif kind == "lengths":
        rows *= 10.0 ** rng.uniform(-6, 6, (count, 1))
    elif kind == "one dimension":
        rows = np.outer(rng.normal(size=count), rng.normal(size=width))
    elif kind == "whole numbers":  # many exact ties
        rows = rng.integers(-1, 2, (count, width)).astype(np.float64)
    elif kind == "spikes":
        rows *= 1e-3
        rows[np.arange(count), rng.integers(0, width, count)] = 1
    return rows.astype(np.float32)


KINDS = [
    "plain",
    "crowded",
    "clusters",
    "near ties",
    "duplicates",
    "lengths",
    "one dimension",
    "whole numbers",
    "spikes",
]
SPACES: dict[str, Callable[[Rows], Space]] = {
    "inner": lambda rows: Space.plain(rows.shape[1]),
    "cosine": lambda rows: Space.plain(rows.shape[1], unit=True),
    "centred": Space.fit,
    "whitened": lambda rows: Space.fit(rows, whiten=True),
}


@pytest.mark.parametrize("space_name", SPACES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_nearest_are_those_of_a_full_scan(kind: str, space_name: str) -> None:
    rows = made(kind)
    space = SPACES[space_name](rows)
    found = Neighbours(rows, space=space)
    rng = np.random.default_rng(1)
    queries = np.concatenate([rows[:3], rows[5:7] + 1e-3, rng.normal(size=(2, rows.shape[1])), rows[8:9] * 0])
    for query, many in zip(queries, found.search_many(queries, 10), strict=True):
        one = found.search(query, 10)
        if space_name == "whitened":  # the mean of one example is that example, but for an ulp
            assert np.allclose(one.scores, many.scores, atol=1e-9)
            scores = found.search(query, len(rows)).scores
            assert np.allclose(one.scores, scores[:10], atol=1e-12)
            continue
        assert one.rows.tolist() == many.rows.tolist() == brute(rows, space, query, 10)


def test_eight_bits_are_used_and_leave_few_in_question() -> None:
    assert int8.usable(48) is not None
    rows = made("crowded", 20_000)
    found = Neighbours(rows).search(rows[7], 10)
    assert found.way == "8 bits"
    assert found.rows[0] == 7
    assert found.scored < 1000


def test_where_the_bound_does_not_suffice_all_are_scanned_and_it_is_said() -> None:
    rng = np.random.default_rng(0)  # two crowds, each nearer together than 8 bits tell
    crowds = np.outer(rng.choice([-1, 1], 20_000), rng.normal(size=48))
    rows = (crowds + rng.normal(size=(20_000, 48)) * 1e-4).astype(np.float32)
    found = Neighbours(rows, space=Space.plain(48)).search(rows[7], 10)
    assert found.way == "float32"
    assert found.rows.tolist() == brute(rows, Space.plain(48), rows[7], 10)


def test_several_blocks_are_one() -> None:
    rows = made("plain", 2 * int8.BLOCK + 100, 8)
    space = Space.fit(rows)
    for query in (rows[3], rows[int8.BLOCK + 3], rows[-1]):
        found = Neighbours(rows, space=space).search(query, 25)
        scores = space.prepared(rows.astype(np.float64))[0] @ space.prepared(query.astype(np.float64)[None])[0][0]
        assert found.rows.tolist() == np.lexsort((np.arange(len(rows)), -scores))[:25].tolist()


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 9),
    st.integers(1, 50),
    st.floats(-8, 8),
    st.floats(0, 6),
    st.booleans(),
)
def test_any_small_archive(seed: int, count: int, width: int, k: int, size: float, shared: float, unit: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(-2, 3, (count, width)) + 10.0**shared * rng.integers(-1, 2, width)
    rows = (rows * 10.0**size).astype(np.float32)
    space = Space.plain(width, unit=unit) if seed % 2 else Space.fit(rows)
    query = rows[rng.integers(count)] if seed % 3 else rng.normal(size=width)
    assert Neighbours(rows, space=space).search_many(query, k)[0].rows.tolist() == brute(rows, space, query, k)


def test_equal_scores_come_lowest_number_first() -> None:
    rows = np.repeat(np.random.default_rng(0).normal(size=(4, 33)).astype(np.float32), 500, axis=0)
    for space in (Space.plain(33), Space.fit(rows), Space.fit(rows, whiten=True)):
        assert Neighbours(rows, space=space).search(rows[600], 40).rows.tolist() == list(range(500, 540))


def test_more_are_asked_for_than_there_are() -> None:
    rows = made("plain", 5)
    found = Neighbours(rows, space=Space.fit(rows)).search(rows[2], 50)
    assert found.rows.tolist() == brute(rows, Space.fit(rows), rows[2], 50)
    assert found.scored == 5


def test_an_archive_of_nothing_finds_nothing(tmp_path: Path) -> None:
    rows = np.zeros((0, 16), np.float32)
    np.save(tmp_path / "v.npy", rows)
    for vectors in (rows, tmp_path / "v.npy"):
        assert not len(Neighbours(vectors, copy=tmp_path / "c.npz").search(np.ones(16), 3).rows)


def test_vectors_without_a_direction_score_nothing() -> None:
    rows = np.repeat(np.random.default_rng(0).normal(size=(1, 20)).astype(np.float32), 100, axis=0)
    found = Neighbours(rows).search(rows[0], 5)  # all are the mean
    assert found.rows.tolist() == [0, 1, 2, 3, 4]
    assert found.scores.tolist() == [0] * 5
    rows = made("plain", 50)
    rows[10:20] = 0
    assert Neighbours(rows, space=Space.plain(48, unit=True)).search(rows[10], 5).scores.tolist() == [0] * 5


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["plain", "clusters"])
def test_only_those_asked_for_are_found(kind: str, share: float) -> None:
    rows = made(kind)
    space = Space.fit(rows)
    found = Neighbours(rows, space=space)
    mask = np.random.default_rng(2).random(len(rows)) < share
    numbers = np.flatnonzero(mask)
    expected = numbers[brute(rows[mask], space, rows[9], 12)].tolist()
    assert found.search(rows[9], 12, within=mask).rows.tolist() == expected
    assert found.search(rows[9], 12, within=numbers[::-1]).rows.tolist() == expected
    assert not len(found.search(rows[9], 12, within=[]).rows)


def test_a_floor_leaves_out_who_is_below() -> None:
    rows = made("crowded")
    space = Space.fit(rows)
    found = Neighbours(rows, space=space)
    scores = found.search(rows[4], 8).scores
    at = found.search(rows[4], 8, floor=float(scores[3]))
    assert at.rows.tolist() == brute(rows, space, rows[4], 4)
    assert found.search(rows[4], 8, floor=1.1).rows.tolist() == []


def test_examples_for_and_against() -> None:
    rows = made("crowded")
    space = Space.fit(rows)
    z = space.prepared(rows.astype(np.float64))[0]
    wanted = z[[1, 2]].mean(0) - z[[3]].mean(0)
    found = Neighbours(rows, space=space).search(rows[[1, 2]], 10, unlike=rows[3])
    assert found.rows.tolist() == np.argsort(-(z @ wanted), kind="stable")[:10].tolist()
    assert np.allclose(found.scores, np.sort(-(z @ wanted / np.linalg.norm(wanted)))[:10] * -1)


def test_arrays_of_any_layout_are_the_same() -> None:
    rows = made("plain", 2000)
    wide = np.zeros((4000, 96), np.float32)
    wide[::2, ::2] = rows
    expected = Neighbours(rows).search(rows[1], 9)
    for other in (wide[::2, ::2], np.asfortranarray(rows), rows[::-1][::-1]):
        found = Neighbours(other).search(rows[1], 9)
        assert found.rows.tolist() == expected.rows.tolist()
        assert np.allclose(found.scores, expected.scores, atol=1e-12)


@pytest.mark.parametrize("engine", ["none", "wrong"])
def test_without_an_exact_kernel_all_are_scanned(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if engine == "none":
        monkeypatch.setattr(int8.torch, "quantize_per_tensor", None)
    else:
        right = int8.Kernel.products
        monkeypatch.setattr(int8.Kernel, "products", lambda *args: right(*args) + 1)
    int8._usable.cache_clear()
    try:
        rows = made("crowded")
        found = Neighbours(rows).search(rows[11], 10)
    finally:
        int8._usable.cache_clear()
    assert found.way == "float32"
    assert found.rows.tolist() == brute(rows, Space.fit(rows), rows[11], 10)


def test_every_engine_of_this_machine_finds_the_same() -> None:
    import torch

    rows = made("crowded")
    expected = brute(rows, Space.fit(rows), rows[11], 10)
    before = torch.backends.quantized.engine
    try:
        for engine in torch.backends.quantized.supported_engines:
            if engine != "none":
                torch.backends.quantized.engine = engine
                found: Found = Neighbours(rows).search(rows[11], 10)
                assert found.rows.tolist() == expected
                assert found.way == "8 bits"
    finally:
        torch.backends.quantized.engine = before


@pytest.mark.parametrize(("bad", "word"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (1e20, "e\\+20")])
def test_a_vector_that_is_no_vector_is_refused_by_number(bad: float, word: str, tmp_path: Path) -> None:
    rows = made("plain")
    rows[1234, 5] = bad
    for space in (None, Space.plain(48)):
        for copy in (None, tmp_path / "copy.npz"):
            with pytest.raises(UserError, match=f"vector 1234 holds .*{word}"):
                Neighbours(rows, space=space, copy=copy)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="query 0 holds"):
        Neighbours(made("plain")).search(rows[1234], 3)


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    rows = made("plain", 30)
    found = Neighbours(rows)
    with pytest.raises(UserError, match="a query of 47 numbers was asked of vectors of 48"):
        found.search(rows[0, 1:], 3)
    with pytest.raises(UserError, match="k is 0"):
        found.search(rows[0], 0)
    with pytest.raises(UserError, match="'within' says yes or no 29 times"):
        found.search(rows[0], 1, within=np.ones(29, bool))
    with pytest.raises(UserError, match="0 to 29"):
        found.search(rows[0], 1, within=[30])
    with pytest.raises(UserError, match="the space is of 47"):
        Neighbours(rows, space=Space.plain(47))
    with pytest.raises(UserError, match="float64"):
        Neighbours(rows.astype(np.float64))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"v\.npy is not there"):
        Neighbours(tmp_path / "v.npy")
    for content in (b"", b"\x93NUMPY", b"no vectors at all"):
        (tmp_path / "v.npy").write_bytes(content)
        with pytest.raises(UserError, match=r"v\.npy is damaged"):
            Neighbours(tmp_path / "v.npy")
    np.save(tmp_path / "v.npy", rows)
    (tmp_path / "v.npy").write_bytes((tmp_path / "v.npy").read_bytes()[:-1])
    with pytest.raises(UserError, match=r"v\.npy is damaged"):
        Neighbours(tmp_path / "v.npy")
