"""How long a part may be: a simulation of 1 000 workers that fail, ``python benchmarks/failing_workers.py``.

Nothing is measured but what one part costs to write here. Workers take the videos from one list, the longest first;
after so many seconds of work, at the end of a video, what was made is kept as a part, which costs a moment. A worker
lives exponentially long; what it had open is lost and done again, and another is there after a minute. Lengths of
videos are log-normal. Told is the time of machines beyond what work alone would need: work lost, writing, and starting
anew. Seeded, and the same each time.
"""

from __future__ import annotations

import heapq
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from harness import arguments, header, table
from numpy.typing import NDArray

from cacl.indexing.embedding_run import SECONDS
from cacl.indexing.journal import Piece, write_part
from cacl.reports.figures import COLOURS, INK, SOFT, new_figure, plain, save_figure

WORKERS, HOURS = 1000, 0.5  # of them, and of work for each
MIDDLE, SPREAD = 20.0, 1.0  # seconds of work for a video: median, and spread of the logarithm
COST, AGAIN = 0.5, 60.0  # seconds to write a part on a shared disk, and until another worker is there
LIVES = {"1 hour": 3600.0, "6 hours": 21_600.0, "1 day": 86_400.0}
PARTS = (1.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0)


@dataclass(frozen=True)
class Told:
    """Shares of the work: lost and done again, writing, waiting for another worker."""

    lost: float
    written: float
    again: float

    @property
    def beyond(self) -> float:
        """Time of machines beyond the work, as a share of it."""
        return self.lost + self.written + self.again


def main() -> None:
    chosen = arguments(__doc__, workers=WORKERS)
    workers = 20 if chosen.quick else chosen.workers
    header("Workers that fail", chosen, clock="a simulation; a part by the clock")
    print(
        f"- a part of 4 096 vectors of 512 numbers is written here in {written_here():.2f} s; simulated are {COST} s\n"
    )
    rng = np.random.default_rng(chosen.seed)
    videos = drawn(workers, HOURS, rng)
    print(f"- {len(videos)} videos, {videos.sum() / 3600:.0f} hours of work, the longest {videos.max() / 60:.0f} min\n")
    found = {
        name: [simulated(videos, workers, part, life, seed=chosen.seed) for part in PARTS]
        for name, life in LIVES.items()
    }
    rows = [
        [
            f"{part:.0f}",
            *(100 * found[name][number].beyond for name in LIVES),
            *(100 * found[name][number].lost for name in LIVES),
        ]
        for number, part in enumerate(PARTS)
    ]
    columns = ("a part, s", *(f"lives {name}: beyond, %" for name in LIVES), *(f"{name}: lost, %" for name in LIVES))
    table(f"{workers} workers, by the length of a part", columns, rows)
    best = {name: PARTS[int(np.argmin([told.beyond for told in some]))] for name, some in found.items()}
    ours = PARTS.index(SECONDS)
    rows = [
        [name, f"{best[name]:.0f}", 100 * min(t.beyond for t in some), 100 * some[ours].beyond]
        for name, some in found.items()
    ]
    table(
        f"The best length, and {SECONDS:.0f} s",
        ("a worker lives", "best, s", "beyond, %", f"at {SECONDS:.0f} s, %"),
        rows,
    )
    if not chosen.quick:
        draw(found, Path(__file__).parents[1] / "docs" / "images" / "failing-workers.png")


def drawn(workers: int, hours: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Seconds of work of each video, until there is enough."""
    mean = MIDDLE * np.exp(SPREAD**2 / 2)
    return np.sort(rng.lognormal(np.log(MIDDLE), SPREAD, int(workers * hours * 3600 / mean)))[::-1]


def simulated(
    videos: NDArray[np.float64], workers: int, part: float, life: float, *, seed: int, cost: float = COST
) -> Told:
    """Work all videos off.

    Args:
        videos: seconds of work, in the order in which they are taken.
        workers: how many at once.
        part: a part is written at the end of the video by which so many seconds have passed.
        life: of a worker, seconds in the mean.
        seed: of their lives.
        cost: of writing a part, seconds.
    """
    rng = np.random.default_rng([seed, workers])
    waiting = deque(videos.tolist())
    free = [(0.0, number) for number in range(workers)]
    dies = rng.exponential(life, workers)
    lost = written = again = 0.0
    heapq.heapify(free)
    while waiting:
        now, worker = heapq.heappop(free)
        batch, work = [], 0.0
        while waiting and work < part:
            batch.append(waiting.popleft())
            work += batch[-1]
        if dies[worker] < now + work + cost:
            lost += max(dies[worker] - now, 0.0)
            again += AGAIN
            waiting.extendleft(reversed(batch))
            now = max(dies[worker], now) + AGAIN
            dies[worker] = now + rng.exponential(life)
        else:
            written += cost
            now += work + cost
        heapq.heappush(free, (now, worker))
    whole = float(videos.sum())
    return Told(lost / whole, written / whole, again / whole)


def written_here() -> float:
    """Seconds to write one part."""
    rng = np.random.default_rng(0)
    made = {
        str(n): Piece(rng.normal(size=(64, 512)).astype(np.float32), np.zeros((64, 2), np.int64), np.zeros((64, 2)))
        for n in range(64)
    }
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        write_part(Path(folder), request="", made=made, failed={}, looked={})
        return time.perf_counter() - began


def draw(found: dict[str, list[Told]], file: Path) -> None:
    figure = new_figure(6, 3.2)
    axes = figure.subplots()
    plain(axes)
    for colour, (name, some) in zip(COLOURS, found.items(), strict=False):
        axes.plot(PARTS, [100 * told.beyond for told in some], color=colour, marker="o", markersize=3, label=name)
    axes.axvline(SECONDS, color=INK, linewidth=0.8, linestyle=":")
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("seconds of work in a part (dotted: the default)", fontsize=8, color=SOFT)
    axes.set_ylabel("machine time beyond the work, %", fontsize=8, color=SOFT)
    axes.legend(title="a worker lives", fontsize=8, title_fontsize=8, frameon=False)
    save_figure(figure, file)


if __name__ == "__main__":
    main()
