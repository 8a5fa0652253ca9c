"""Randomness is a function, not a state: every draw is keyed by (seed, purpose, counters).

Nothing here remembers anything, so a resumed run, another number of workers and another number of processes draw the
same numbers for the same sample. ``generator`` serves code that wants a NumPy generator for one sample; ``uniform``
serves whole batches at once.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

_MASK = np.uint64(0xFFFFFFFFFFFFFFFF)
_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """A counter-based generator (Philox) for one purpose and one place in the run.

    Args:
        seed: the run's seed, 0 or more.
        purpose: what the draws are for, e.g. ``"clip"``; different purposes never share numbers.
        counters: where in the run, e.g. epoch and sample index; each 0 or more.
    """
    entropy = [
        seed,
        zlib.crc32(purpose.encode()),
        len(counters),
        *counters,
    ]  # the length, as trailing zeros are padding
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))


def uniform(seed: int, purpose: str, epoch: int, samples: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """``count`` uniform numbers in [0, 1) for every sample of a batch, each row a function of its own sample alone.

    Args:
        samples: sample indices, shape ``[B]``.
        count: numbers a sample.

    Returns:
        float64, shape ``[B, count]``, 53 random bits each (SplitMix64 over hashed counters, Steele et al. 2014).
    """
    start = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), epoch]).generate_state(1, np.uint64)[0]
    with np.errstate(over="ignore"):
        row = _mix(start + _GAMMA * _mix(samples.astype(np.uint64) + np.uint64(1)))
        bits = _mix(row[:, None] + _GAMMA * np.arange(1, count + 1, dtype=np.uint64)[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def as_float32(numbers: NDArray[np.float64]) -> NDArray[np.float32]:
    """Numbers in [0, 1), still below 1: one in 30 million would be rounded up to it, and ``n`` times 1 is no index."""
    return np.minimum(numbers.astype(np.float32), np.nextafter(np.float32(1), np.float32(0)))


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))) & _MASK
