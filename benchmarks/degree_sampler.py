"""The shuffle-degree sampler measured: counts, distance from uniform at n = 7, speed and variety at n = 16.

Prints the tables of docs/shuffle-degree.md; ``--quick`` takes fewer draws. Times are CPU time of this one process, and
``ratio`` is our draws a second over those of shuffling until the degree is right.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time

import numpy as np
from numpy.typing import NDArray

from cacl.data.clips.degree_pool import distances, draw_aligned, draw_exact, pair_count
from cacl.data.clips.shuffle import DegreeSampler, shuffle_degree

REJECTION_FROM = 9  # a lower degree takes more than ten thousand uniform permutations a draw


def counts_by_enumeration(most: int) -> None:
    print(f"permutations by distance\n{'n':>4}" + "".join(f"{degree:>7}" for degree in range(most + 1)))
    for n in range(1, most + 1):
        every = np.array(list(itertools.permutations(range(n))))
        counts = np.bincount(distances(every), minlength=n + 1)
        print(f"{n:>4}" + "".join(f"{count:>7}" for count in counts))


def total_variation(draws: NDArray[np.int64], size: int) -> float:
    """TV between the frequencies of the rows and the uniform distribution over ``size`` permutations."""
    keys = draws @ (draws.shape[1] ** np.arange(draws.shape[1]))
    frequencies = np.unique(keys, return_counts=True)[1] / len(draws)
    return float(np.abs(frequencies - 1 / size).sum() + (size - len(frequencies)) / size) / 2


def distance_from_uniform(n: int, draws_each: int) -> None:
    """The floor is what perfectly uniform draws show on average, sqrt(size / (2 pi draws))."""
    every = distances(np.array(list(itertools.permutations(range(n)))))
    listed, pooled, rng = DegreeSampler(n), DegreeSampler(n, list_up_to=0), np.random.default_rng(0)
    print(f"\nn = {n}: total-variation distance from uniform over all permutations of the degree")
    print(
        f"{'degree':>6}{'size':>6}{'draws':>9}{'floor':>9}{'aligned':>9}{'uniform':>9}{'pool+moves':>12}{'default':>9}"
    )
    for degree in listed.degrees:
        size = int((every == degree).sum())
        count = max(20_000, draws_each * size)
        measured = [
            draw_exact(n, degree, count, rng, proposal="alignment"),
            draw_exact(n, degree, count, rng, proposal="uniform") if size > 1 else np.zeros((count, 1), np.int64),
            np.stack([pooled.sample(degree, rng) for _ in range(count)]),
            np.stack([listed.sample(degree, rng) for _ in range(count)]),
        ]
        aligned, uniform, pool, default = (total_variation(draws, size) for draws in measured)
        floor = math.sqrt(size / (2 * math.pi * count)) if size > 1 else 0.0
        print(f"{degree:>6}{size:>6}{count:>9}{floor:>9.4f}{aligned:>9.4f}{uniform:>9.4f}{pool:>12.4f}{default:>9.4f}")


def speed_and_variety(n: int, draws: int, candidates: int) -> None:
    sampler, rng = DegreeSampler(n), np.random.default_rng(0)
    start = time.process_time()
    for degree in sampler.degrees:
        sampler.pool(degree)
    print(f"\nn = {n}: precomputed in {time.process_time() - start:.1f} s", end="")
    start = time.process_time()
    for _ in range(draws):
        sampler.draw(rng)
    print(f", {draws / (time.process_time() - start):,.0f} draws a second, degree uniform")
    drawn_title = f"distinct in {draws}"
    print(f"{'degree':>6}{'permutations':>22}{'start from':>12}{drawn_title:>20}{'draws/s':>10}{'ratio':>9}")
    for degree in sampler.degrees:
        pool = sampler.pool(degree)
        start = time.process_time()
        drawn = np.stack([sampler.sample(degree, rng) for _ in range(draws)])
        rate = draws / (time.process_time() - start)
        distinct = len(np.unique(drawn, axis=0))
        if pool.complete:
            size = f"{len(pool.rows)}"
        else:
            share = len(draw_aligned(n, degree, candidates, rng)) / candidates
            error = math.sqrt((1 - share) / share / candidates)
            size = f"{share * pair_count(n, degree):.3g} ± {100 * error:.1f} %"
        ratio = f"{rate / rejection_rate(n, degree, rng):.1f}" if degree >= REJECTION_FROM else "-"
        start_from = len(np.unique(pool.rows, axis=0))
        print(f"{degree:>6}{size:>22}{start_from:>12}{distinct:>20}{rate:>10,.0f}{ratio:>9}")


def rejection_rate(n: int, degree: int, rng: np.random.Generator, seconds: float = 1.0) -> float:
    """Draws a second of §3.3 as worded: shuffle until the degree is the wanted one."""
    found, start = 0, time.process_time()
    while found < 3 or time.process_time() - start < seconds:
        found += shuffle_degree(rng.permutation(n)) == degree
    return found / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer draws: noisier, seconds instead of minutes")
    quick = parser.parse_args().quick
    counts_by_enumeration(7)
    distance_from_uniform(7, 60 if quick else 1000)
    speed_and_variety(16, 5_000 if quick else 100_000, 50_000 if quick else 1_000_000)


if __name__ == "__main__":
    main()
