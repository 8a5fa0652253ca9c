from __future__ import annotations

import itertools
import zlib

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from cacl.data.randomness import as_float32, generator, uniform

MASK = 2**64 - 1
GAMMA = 0x9E3779B97F4A7C15


def mix(z: int) -> int:
    """SplitMix64's output function in whole numbers (Steele, Lea, Flood 2014)."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_mix_gives_the_published_sequence() -> None:
    # The first outputs of SplitMix64 seeded with 1234567, as published with many implementations.
    state, outputs = 1234567, []
    for _ in range(3):
        state = (state + GAMMA) & MASK
        outputs.append(mix(state))
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_uniform_equals_whole_number_arithmetic() -> None:
    start = int(np.random.SeedSequence([7, zlib.crc32(b"view"), 3]).generate_state(1, np.uint64)[0])
    for sample in (0, 1, 12345, 2**40):
        row = mix((start + GAMMA * mix(sample + 1)) & MASK)
        wanted = [(mix((row + GAMMA * k) & MASK) >> 11) * 2.0**-53 for k in range(1, 6)]
        assert uniform(7, "view", 3, np.array([sample]), 5)[0].tolist() == wanted


def test_known_values() -> None:
    assert generator(0, "clip", 1, 2).integers(10**6, size=3).tolist() == [206677, 44149, 240668]
    wanted = [[0.7454517722472044, 0.1826481050883586], [0.5358091767593858, 0.7877660153761619]]
    assert uniform(0, "clip", 1, np.array([2, 5]), 2).tolist() == wanted


def test_a_row_depends_on_its_own_sample_alone() -> None:
    samples = np.array([5, 17, 3, 900_000_000_000])
    whole = uniform(1, "a", 2, samples, 9)
    assert whole.dtype == np.float64
    assert whole.shape == (4, 9)
    for i in range(4):
        assert (uniform(1, "a", 2, samples[i : i + 1], 9) == whole[i]).all()
    assert (uniform(1, "a", 2, samples[::-1].copy(), 9)[::-1] == whole).all()
    assert (uniform(1, "a", 2, samples, 4) == whole[:, :4]).all(), "more numbers leave the first ones as they are"


def test_float32_numbers_stay_below_1_and_their_multiples_are_indices() -> None:
    largest = np.nextafter(1.0, 0.0)
    numbers = as_float32(np.array([0.0, 0.25, 1 - 2.0**-24, 1 - 2.0**-26, largest]))
    assert numbers.dtype == np.float32
    assert numbers[:3].tolist() == [0.0, 0.25, 1 - 2.0**-24]
    assert numbers.max() < 1
    count = np.arange(1, 100_000)
    assert ((numbers[-1] * count.astype(np.float32)).astype(np.int64) == count - 1).all()


def test_uniform_is_uniform() -> None:
    numbers = uniform(0, "u", 0, np.arange(20_000), 10)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    for column in numbers.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    low_bits = (numbers * 2**53).astype(np.int64) % 8
    assert stats.chisquare(np.bincount(low_bits.ravel(), minlength=8)).pvalue > 1e-4
    pairs = np.floor(numbers[:, 0] * 10) * 10 + np.floor(numbers[:, 1] * 10)
    assert stats.chisquare(np.bincount(pairs.astype(int), minlength=100)).pvalue > 1e-4


def test_uniform_is_independent_across_every_counter() -> None:
    samples = np.arange(50_000)
    base = uniform(0, "a", 0, samples, 2)
    others = {
        "column": base[:, 1],
        "next sample": np.roll(base[:, 0], 1),
        "epoch": uniform(0, "a", 1, samples, 1)[:, 0],
        "purpose": uniform(0, "b", 0, samples, 1)[:, 0],
        "seed": uniform(1, "a", 0, samples, 1)[:, 0],
    }
    for name, other in others.items():
        assert abs(np.corrcoef(base[:, 0], other)[0, 1]) < 5 / np.sqrt(len(samples)), name
        cells = np.floor(base[:, 0] * 8) * 8 + np.floor(other * 8)
        assert stats.chisquare(np.bincount(cells.astype(int), minlength=64)).pvalue > 1e-4, name


def test_generator_is_a_function_of_its_key() -> None:
    keys = [(seed, p, e, i) for seed, p, e, i in itertools.product((0, 1), ("order", "clip"), (0, 1), (0, 1, 2))]
    first = [generator(*key).random(4).tolist() for key in keys]
    assert first == [generator(*key).random(4).tolist() for key in keys]
    assert len({tuple(row) for row in first}) == len(keys)


def test_generators_of_neighbouring_counters_are_independent() -> None:
    table = np.array([generator(0, "clip", 0, i).random(3) for i in range(5000)])
    for column in table.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(table[:-1, 0], table[1:, 0])[0, 1]) < 5 / np.sqrt(5000)
    assert abs(np.corrcoef(table[:, 0], table[:, 1])[0, 1]) < 5 / np.sqrt(5000)
