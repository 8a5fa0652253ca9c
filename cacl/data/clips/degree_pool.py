"""Exactly uniform permutations at a given Levenshtein distance from the identity, listed or drawn many at once.

A permutation at distance d is got from an *alignment*: a word of matches M, substitutions S, deletions D and insertions
I that costs d and says which frames keep their place in the order, plus a filling of the places that it leaves free.
Words and fillings can be counted, so uniform pairs (word, filling) are easy; a permutation that arises from k cheapest
words is kept with probability 1/k, and one that is nearer than d is thrown away (Karp, Luby and Madras 1989).
"""

# B batch, N elements of a permutation, L letters of a word

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cacl.data.randomness import generator

Proposal = Literal["alignment", "uniform"]

_M, _S, _D, _I = range(4)
# Beyond it the counts of words leave 64 bits.
MOST_ELEMENTS = 32
_BATCH = 1 << 15
# A uniform candidate takes about a quarter of the time of an aligned one.
_ALIGNED_COST = 4
_POOL_DRAWS = 1 << 13
_POOL_SEED = 2022


def distances(permutations_BN: NDArray[np.int64]) -> NDArray[np.int64]:
    """Levenshtein distance of each permutation to the identity, int64 ``[B]`` (§3.3 Eq. 5, at most 63 elements).

    One bit for each row of Eq. 5's table, a column at a time (Myers 1999, Hyyrö 2003): +1 and -1 steps down the column
    are the bits of ``plus`` and ``minus``, and the bottom row is followed in ``distance``.
    """
    batch, n = permutations_BN.shape
    one, bottom = np.uint64(1), np.uint64(n - 1)
    plus, minus = np.full(batch, 2**n - 1, np.uint64), np.zeros(batch, np.uint64)
    distance = np.full(batch, n, np.int64)
    for column in permutations_BN.T.astype(np.uint64):
        equal = one << column
        diagonal = (((equal & plus) + plus) ^ plus) | equal | minus
        right_plus, right_minus = minus | ~(diagonal | plus), plus & diagonal
        distance += ((right_plus >> bottom) & one).astype(np.int64)
        distance -= ((right_minus >> bottom) & one).astype(np.int64)
        right_plus, right_minus = (right_plus << one) | one, right_minus << one
        below = equal | minus
        plus, minus = right_minus | ~(below | right_plus), right_plus & below
    return distance


def cheapest_words(permutations_BN: NDArray[np.int64]) -> NDArray[np.int64]:
    """In how many ways each permutation is aligned with the identity at the least cost, int64 ``[B]``.

    A word is fixed by the pairs (place, value) that it matches, which ascend in both; a gap between neighbouring pairs
    with a places and b values in it costs max(a, b). So: shortest paths over the pairs, counted.
    """
    batch, n = permutations_BN.shape
    values = np.concatenate([np.full((batch, 1), -1), permutations_BN, np.full((batch, 1), n)], axis=1)
    columns = np.ascontiguousarray(values.T.astype(np.int16))
    least = np.full((n + 2, batch), 4 * n, np.int16)
    ways = np.zeros((n + 2, batch), np.int64)
    least[0], ways[0] = 0, 1
    for k in range(1, n + 2):
        for j in range(k):
            step = columns[k] - columns[j] - 1
            cost = np.where(step < 0, np.int16(4 * n), least[j] + np.maximum(step, np.int16(k - j - 1)))
            ways[k] = np.where(cost < least[k], 0, ways[k]) + np.where(cost <= least[k], ways[j], 0)
            np.minimum(least[k], cost, out=least[k])
    cheapest: NDArray[np.int64] = ways[n + 1]
    return cheapest


@cache
def _word_counts(n: int) -> NDArray[np.int64]:
    """``[last, m, s, d, i]``: words that can still follow when m M, s S, d D and i I remain.

    ``last`` is 0 after M or S, 1 after D, 2 after I. That D and I are followed by themselves, by M or by the end gives
    each alignment one spelling. The last place of each axis stays zero: index -1 (one letter too many) finds it.
    """
    moves = n // 2
    counts = np.zeros((3, n + 2, n + 2, moves + 2, moves + 2), np.int64)
    counts[:, 0, 0, 0, 0] = 1
    for m, s, d, i in itertools.product(range(n + 1), range(n + 1), range(moves + 1), range(moves + 1)):
        if 0 < m + s + max(d, i) <= n:
            after_m, after_s = counts[0, m - 1, s, d, i], counts[0, m, s - 1, d, i]
            after_d, after_i = counts[1, m, s, d - 1, i], counts[2, m, s, d, i - 1]
            counts[:, m, s, d, i] = after_m + after_s + after_d + after_i, after_m + after_d, after_m + after_i
    return counts


def _families(n: int, degree: int) -> list[tuple[int, int, int, int]]:
    """``(m, s, x, words)`` for every number x of deletions, which is that of insertions: m + s + x = n, s + 2x = d."""
    counts = _word_counts(n)
    sizes = [(n - degree + x, degree - 2 * x, x) for x in range(max(0, degree - n), degree // 2 + 1)]
    return [(m, s, x, int(counts[0, m, s, x, x])) for m, s, x in sizes if counts[0, m, s, x, x]]


def pair_count(n: int, degree: int) -> int:
    """How many pairs (word of cost ``degree``, filling) there are: an upper bound of the permutations at it."""
    return sum(words * math.factorial(n - m) for m, _, _, words in _families(n, degree))


def _spell(n: int, family: tuple[int, int, int, int], ranks_B: NDArray[np.int64]) -> NDArray[np.int64]:
    """The words of a family with these ranks in 0 … words - 1, int64 ``[B, L]``."""
    counts = _word_counts(n)
    m, s, d, i = (np.full(len(ranks_B), left) for left in (family[0], family[1], family[2], family[2]))
    last, rank = np.zeros(len(ranks_B), np.int64), ranks_B.copy()
    word_LB = np.empty((family[0] + family[1] + 2 * family[2], len(ranks_B)), np.int64)
    for letter_B in word_LB:
        after_m, after_s = counts[0, m - 1, s, d, i], counts[0, m, s - 1, d, i] * (last == 0)
        after_d, after_i = counts[1, m, s, d - 1, i] * (last != 2), counts[2, m, s, d, i - 1] * (last != 1)
        bounds = np.cumsum([np.zeros_like(rank), after_m, after_s, after_d, after_i], axis=0)
        letter_B[:] = (rank >= bounds[1:]).sum(axis=0)
        rank -= np.take_along_axis(bounds, letter_B[None], axis=0)[0]
        m, s, d, i = m - (letter_B == _M), s - (letter_B == _S), d - (letter_B == _D), i - (letter_B == _I)
        last = np.where(letter_B == _D, 1, np.where(letter_B == _I, 2, 0))
    return word_LB.T


def _fill(n: int, words_BL: NDArray[np.int64], orders_BF: NDArray[np.int64]) -> NDArray[np.int64]:
    """The permutations that match as the words say and put the free values, in these orders, on the free places."""
    value, place = np.cumsum(words_BL != _I, axis=1) - 1, np.cumsum(words_BL != _D, axis=1) - 1
    row, letter = np.nonzero(words_BL == _M)
    permutations = np.full((len(words_BL), n), -1)
    used = np.zeros((len(words_BL), n), bool)
    permutations[row, place[row, letter]] = value[row, letter]
    used[row, value[row, letter]] = True
    free = np.nonzero(~used)[1].reshape(orders_BF.shape)
    permutations[permutations < 0] = np.take_along_axis(free, orders_BF, axis=1).ravel()
    return permutations


def list_degree(n: int, degree: int) -> NDArray[np.int64]:
    """Every permutation of n at distance ``degree`` once, in lexical order, int64 ``[count, n]``."""
    found = []
    for family in _families(n, degree):
        words = _spell(n, family, np.arange(family[3]))
        orders = np.array(list(itertools.permutations(range(n - family[0]))), np.int64)
        each_word = np.repeat(words, len(orders), axis=0)
        candidates = _fill(n, each_word, np.tile(orders, (len(words), 1)))
        found.append(candidates[distances(candidates) == degree])
    return np.unique(np.concatenate(found), axis=0)


def draw_aligned(n: int, degree: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """What passes of ``count`` candidates, int64 ``[passed, n]``: exactly uniform at the distance.

    A candidate passes with probability (permutations at the distance) / ``pair_count``, which estimates the former.
    """
    families = _families(n, degree)
    weights = np.array([words * math.factorial(n - m) for m, _, _, words in families], np.float64)
    kept = []
    for family, share in zip(families, rng.multinomial(count, weights / weights.sum()), strict=True):
        words = _spell(n, family, rng.integers(family[3], size=share))
        orders = rng.permuted(np.tile(np.arange(n - family[0]), (share, 1)), axis=1)
        candidates = _fill(n, words, orders)
        candidates = candidates[distances(candidates) == degree]
        kept.append(candidates[rng.random(len(candidates)) * cheapest_words(candidates) < 1])
    # Shuffled: the families stand in blocks, and the caller may cut the surplus off.
    return rng.permutation(np.concatenate(kept), axis=0)


def draw_exact(
    n: int, degree: int, count: int, rng: np.random.Generator, *, proposal: Proposal | None = None
) -> NDArray[np.int64]:
    """``count`` independent permutations, each exactly uniform over those at Levenshtein distance ``degree``.

    Args:
        n: elements, 1 to ``MOST_ELEMENTS``.
        degree: a distance that occurs at this n (``possible_degrees``).
        count: how many to draw.
        rng: the only source of randomness.
        proposal: draw candidates as alignments of this cost or as uniform permutations, kept where the distance is
            right; None takes the quicker one.

    Returns:
        int64 ``[count, n]``, each row a permutation of 0 … n - 1.
    """
    by_alignment = proposal == "alignment" if proposal else _ALIGNED_COST * pair_count(n, degree) < math.factorial(n)
    found: list[NDArray[np.int64]] = []
    while sum(map(len, found)) < count:
        if by_alignment:
            found.append(draw_aligned(n, degree, _BATCH, rng))
        else:
            candidates = rng.permuted(np.tile(np.arange(n), (_BATCH, 1)), axis=1)
            found.append(candidates[distances(candidates) == degree])
    return np.concatenate(found)[:count]


@dataclass(frozen=True)
class DegreePool:
    """Permutations at one distance: ``rows`` uint8 ``[count, n]``, all of them once where ``complete``."""

    rows: NDArray[np.uint8]
    complete: bool


@cache
def degree_pool(n: int, degree: int, list_up_to: int) -> DegreePool:
    """What draws at one distance start from; always the same for the same arguments, built once a process.

    Where there are at most ``list_up_to`` pairs (word, filling) the permutations are listed in full. Otherwise 8192
    exactly uniform draws are taken, each with its inverse, its reversal (time runs backwards in clip and twin) and
    both, which are at the same distance: 32768 rows, each exactly uniform.
    """
    if pair_count(n, degree) <= list_up_to:
        return DegreePool(list_degree(n, degree).astype(np.uint8), complete=True)
    drawn = draw_exact(n, degree, _POOL_DRAWS, generator(_POOL_SEED, "degree pool", n, degree))
    inverse = np.argsort(drawn, axis=1)
    rows = np.concatenate([drawn, inverse, n - 1 - drawn[:, ::-1], n - 1 - inverse[:, ::-1]])
    return DegreePool(rows.astype(np.uint8), complete=False)
