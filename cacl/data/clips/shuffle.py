"""The shuffle degree of a twin clip: Eq. 5, and permutations of the frames whose degree is uniform (paper, §3.3).

A permutation of n frames is an int64 array ``[n]`` of 0 … n - 1: frame t of the twin is frame ``permutation[t]`` of the
clip. Its degree is the Levenshtein distance to the unshuffled order: 0, or 2 … n; distance 1 is impossible.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cacl.data.clips.degree_pool import MOST_ELEMENTS, DegreePool, degree_pool

# With it degrees 0, 2, 3 and 4 of 16 frames are listed in full.
_LIST_UP_TO = 1 << 18
_MOVES = 4


def shuffle_degree(permutation: Sequence[int] | NDArray[np.int64]) -> int:
    """The Levenshtein distance of a permutation to the identity (paper §3.3, Eq. 5).

    The least number of elements to insert, delete or replace, bit-parallel.

    Args:
        permutation: 0 … n - 1 in any order.

    Raises:
        ValueError: it is no permutation of 0 … n - 1.
    """
    values = [int(value) for value in permutation]
    if sorted(values) != list(range(len(values))):
        raise ValueError(f"{values} is no permutation of 0 … {len(values) - 1}")
    return _distance(values)


def degree_class(degree: int) -> int:
    """The class of a degree in the cross entropy of Eq. 6: 0 → 0, 2 → 1, 3 → 2 … 16 → 15.

    Raises:
        ValueError: the degree is 1 or negative, which no permutation has.
    """
    if degree < 0 or degree == 1:
        raise ValueError(f"no permutation has shuffle degree {degree}: degrees are 0, 2, 3, …")
    return max(degree - 1, 0)


class DegreeSampler:
    """Uniform shuffle-degree sampling (paper, §3.3): first the degree, then a permutation of exactly that degree.

    Both are uniform: within a degree every permutation has the same chance. Where they are few (16 frames: degrees 0,
    2, 3, 4) one is taken from the list of all. Otherwise the start is one of 32768 precomputed exactly uniform draws,
    and four times a random frame is moved to a random other place wherever this leaves the degree as it is. The moves
    are symmetric, so they keep the uniform distribution; they make repeated draws differ.

    A draw depends on nothing but the generator handed in. The precomputed material depends on n alone, is built when a
    degree is first drawn (16 frames: some two seconds for all 16 degrees), and shared by all samplers of the process.

    Args:
        n: frames of a clip, 1 to 32.
        list_up_to: a degree is listed in full where a bound on its number of permutations is at most this; 0 never
            lists, for measuring.

    Raises:
        ValueError: n is out of range.
    """

    def __init__(self, n: int, *, list_up_to: int = _LIST_UP_TO) -> None:
        if not 1 <= n <= MOST_ELEMENTS:
            raise ValueError(f"shuffle degrees of {n} frames cannot be drawn: 1 to {MOST_ELEMENTS} frames can")
        self.n = n
        self.degrees = possible_degrees(n)
        self._list_up_to = list_up_to

    def __repr__(self) -> str:
        return f"DegreeSampler(n={self.n}, degrees={self.degrees})"

    def pool(self, degree: int) -> DegreePool:
        """The precomputed permutations of one degree; ``complete`` says that they are all there are.

        Raises:
            ValueError: no permutation of n frames has this degree.
        """
        if degree not in self.degrees:
            raise ValueError(f"no permutation of {self.n} frames has shuffle degree {degree}: one of {self.degrees}")
        return degree_pool(self.n, degree, self._list_up_to)

    def sample(self, degree: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """A permutation, int64 ``[n]``, at exactly this degree.

        Raises:
            ValueError: no permutation of n frames has this degree.
        """
        pool = self.pool(degree)
        start, *places = rng.random(1 + 2 * _MOVES).tolist()
        permutation = pool.rows[int(start * len(pool.rows))].tolist()
        if not pool.complete:
            permutation = _wander(permutation, degree, places)
        return np.array(permutation, np.int64)

    def draw(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], int]:
        """``(permutation, degree)``: the degree uniform over ``degrees``, then a permutation of it, int64 ``[n]``."""
        degree = self.degrees[int(rng.random() * len(self.degrees))]
        return self.sample(degree, rng), degree


def possible_degrees(n: int) -> tuple[int, ...]:
    """The shuffle degrees that permutations of n frames have, ascending: from n = 4 on 0, 2, 3 … n."""
    return {1: (0,), 2: (0, 2), 3: (0, 2)}.get(n, (0, *range(2, n + 1)))


def uniform_permutation(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """A permutation, int64 ``[n]``, uniform over all n!: SDP* of Table 1, whose degree is whatever results."""
    return rng.permutation(n)


def subset_shuffle(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The released code's shuffle, int64 ``[n]``: m uniform in 1 … n, then m random places permuted at random.

    Its degree is measured afterwards (``shuffle_degree``), so degrees are not uniform.
    """
    places = rng.choice(n, size=int(rng.integers(1, n + 1)), replace=False)
    permutation = np.arange(n)
    permutation[places] = rng.permutation(places)
    return permutation


def _wander(permutation: list[int], degree: int, places: Sequence[float]) -> list[int]:
    """For each two numbers in [0, 1) moves the frame at one place to another one, if the degree remains."""
    n = len(permutation)
    for u, v in zip(places[::2], places[1::2], strict=True):
        taken, put = int(u * n), int(v * (n - 1))
        moved = permutation.copy()
        moved.insert(put + (put >= taken), moved.pop(taken))
        if _distance(moved) == degree:
            permutation = moved
    return permutation


def _distance(permutation: list[int]) -> int:
    """``degree_pool.distances`` for one permutation on plain integers: 4 µs at n = 16 where the table takes 40."""
    plus, minus, distance, bottom = -1, 0, len(permutation), len(permutation) - 1
    for value in permutation:
        equal = 1 << value
        diagonal = (((equal & plus) + plus) ^ plus) | equal | minus
        right_plus, right_minus = minus | ~(diagonal | plus), plus & diagonal
        if right_plus >> bottom & 1:
            distance += 1
        elif right_minus >> bottom & 1:
            distance -= 1
        right_plus, right_minus = right_plus << 1 | 1, right_minus << 1
        below = equal | minus
        plus, minus = right_minus | ~(below | right_plus), right_plus & below
    return distance
