"""Measures without labels, against their definitions taken literally; random numbers win none but the rank."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from array_videos import data_of
from hypothesis import given
from hypothesis import strategies as st

from cacl.data.randomness import generator
from cacl.evaluation.choice.label_free import chance_rank, effective_rank, found_among_all, measure, paired_interval
from cacl.evaluation.choice.moments import Moments, change, video_moments
from cacl.models.clip_encoder import ClipSpec


def literal_ranks(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Sort all other clips by cosine, walk down to the first of the same video; ties are met half-way."""
    V, M, _ = query.shape
    found = np.empty((V, M))
    for v in range(V):
        for m in range(M):
            q = query[v, m] / np.linalg.norm(query[v, m])
            near = []
            for w in range(V):
                for n in range(M):
                    if (v, m) != (w, n):
                        near.append((float(np.float32(q @ gallery[w, n] / np.linalg.norm(gallery[w, n]))), w == v))
            best = max(cosine for cosine, same in near if same)
            before = sum(c > best for c, same in near if not same) + 0.5 * sum(c == best for c, s in near if not s)
            found[v, m] = 1 / (1 + before)
    return found


def test_reciprocal_ranks_are_the_literal_ones():
    rng = np.random.default_rng(0)
    query, gallery = rng.standard_normal((2, 9, 3, 6)).astype(np.float32)
    gallery[3, 1] = gallery[5, 0]
    np.testing.assert_allclose(found_among_all(query, gallery), literal_ranks(query, gallery))


def test_vectors_that_are_all_alike_find_nothing():
    same = np.ones((10, 3, 4), np.float32)
    np.testing.assert_allclose(found_among_all(same, same), 1 / (1 + 27 / 2))


def moments_of(content: np.ndarray, noise: float, seed: int = 0) -> Moments:
    """Vectors that say which video it is, ``content [V, D]``, and so much else."""
    rng = np.random.default_rng(seed)
    plain, changed = (
        (content[:, None] + noise * rng.standard_normal((len(content), 4, content.shape[1]))).astype(np.float32)
        for _ in range(2)
    )
    return Moments(plain, changed, np.arange(len(content)))


def test_random_numbers_win_the_rank_and_lose_the_measure():
    rng = np.random.default_rng(1)
    known = measure(moments_of(rng.standard_normal((40, 8)) @ rng.standard_normal((8, 64)), noise=1.0))
    random = measure(moments_of(np.zeros((40, 64)), noise=1.0))
    assert random.rank > known.rank
    assert random.changed < 15 < 80 < known.changed
    assert (random.knows, random.score, known.knows, known.score) == (False, 0, True, known.changed)


def test_the_chance_of_a_reciprocal_rank_is_that_of_many_random_orders():
    """By hand: the only one of two others is first or second, 3/4; of 2 among 3, first in 2 of 3 orders: 5/6."""
    assert chance_rank(2, 1) == pytest.approx(3 / 4)
    assert chance_rank(3, 2) == pytest.approx(5 / 6)
    rng = np.random.default_rng(0)
    ranks = [1 / (1 + np.sort(rng.permutation(20)[:3])[0]) for _ in range(20000)]
    assert chance_rank(20, 3) == pytest.approx(np.mean(ranks), rel=0.02)


@given(st.integers(1, 6), st.integers(0, 99))
def test_effective_rank_of_equal_directions_is_their_number(rank: int, seed: int):
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((12, rank)))[0].T
    both = np.concatenate([axes, -axes])
    assert math.isclose(effective_rank(both.astype(np.float32)), rank, rel_tol=1e-3)
    assert effective_rank(np.ones((5, 3), np.float32)) == pytest.approx(1)


def test_an_interval_over_sources_is_wider_than_one_over_their_clips():
    rng = np.random.default_rng(0)
    a, b = (rng.random((2, 30)) < 0.6).repeat(5, axis=1).astype(float)
    groups = [f"film {i // 5}" for i in range(150)]
    mean, low, high = paired_interval(a, b, groups)
    _, low_clips, high_clips = paired_interval(a, b, [str(i) for i in range(150)])
    assert mean == pytest.approx((a - b).mean())
    assert low < mean < high
    expected = np.std([(a - b)[i * 5] for i in range(30)]) / math.sqrt(30) * 1.96 * 2
    assert high - low == pytest.approx(expected, rel=0.15)
    assert high - low > 1.5 * (high_clips - low_clips)


def test_a_changed_clip_keeps_its_shape_and_its_stillness():
    """The same box and colours for every frame: what does not move does not move; another draw is another change."""
    still = np.random.default_rng(0).integers(0, 256, (1, 20, 30, 3), dtype=np.uint8).repeat(4, axis=0)
    one = change(still, generator(0, "changed", 1, 0))
    assert (one.shape, one.dtype) == (still.shape, np.uint8)
    assert (one == one[0]).all()
    assert not np.array_equal(one, still)
    assert np.array_equal(one, change(still, generator(0, "changed", 1, 0)))
    assert not np.array_equal(one, change(still, generator(0, "changed", 1, 1)))


def test_moments_of_videos(make_videos):
    source, videos = make_videos(count=4, frames=40, broken=(2,))
    seen = []

    def mean_colour(clips: np.ndarray) -> torch.Tensor:
        seen.append(clips)
        return torch.from_numpy(clips.mean(axis=(1, 2, 3), dtype=np.float64))

    clip = ClipSpec(frames=4, stride=2, resize=(20, 26), size=20)
    found = video_moments({"a": mean_colour}, clip, data_of(source, videos), moments=3)["a"]
    assert found.plain.shape == found.changed.shape == (3, 3, 3)
    assert found.kept.tolist() == [0, 1, 3]
    assert [item.path for item in found.skipped] == ["v2.mp4"]
    starts = [0, 16, 33]  # round half to even of 16.5
    expected = [source.videos[1][s : s + 8 : 2].mean(axis=(0, 1, 2)) for s in starts]
    np.testing.assert_allclose(found.plain[1], expected, atol=1e-3)
    assert {len(clips) for clips in seen} == {6}
