"""Exact search: top 10 of 10⁵ and 10⁶ vectors of 512 numbers, one query at a time, beside FAISS and a float32 product.

Vectors are drawn in two ways: evenly on the sphere, and crowded as embeddings of one archive are (median cosine above
.95, variance that falls from direction to direction). Works take turns; what is compared is processor time of one
thread, as another program on the machine would make anything of the clock.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
from harness import Timing, arguments, header, in_turns, one_blas_thread, table, target, targets
from numpy.typing import NDArray

from cacl.search.neighbours import Neighbours
from cacl.search.space import Space

WIDTH, K, BLOCK = 512, 10, 65_536
WANTED = {100_000: 5, 1_000_000: 4}  # times faster than the others


def main() -> None:
    chosen = arguments(__doc__)
    header("Search", chosen, clock="processor time of one thread, in turns")
    faiss = _faiss()
    rows, reached = [], []
    for count in (2_000, 4_000) if chosen.quick else WANTED:
        for kind in ("sphere", "crowded"):
            with tempfile.TemporaryDirectory() as folder:
                vectors, queries = _write(Path(folder, "vectors.npy"), kind, count, chosen.seed, chosen.quick)
                made, missed = _measure(Path(folder), vectors, queries, faiss, kind)
                rows += made
                reached += missed
    print()
    table("Exact top 10, one query at a time", COLUMNS, rows)
    targets(reached, chosen)


COLUMNS = ("vectors", "drawn", "search", "ms, median", "ms, p95", "times as fast", "scored exactly", "MiB of its own")


def _measure(
    folder: Path, vectors: Path, queries: NDArray[np.float32], faiss: ModuleType | None, kind: str
) -> tuple[list[list[object]], list[list[object]]]:
    mapped = np.load(vectors, mmap_mode="r")
    space = Space.plain(WIDTH)
    copy = folder / "copy.npz"
    started = time.process_time()
    Neighbours(vectors, space=space, copy=copy, version="1", few=True)
    made = time.process_time() - started
    before = _own_mib()
    started = time.process_time()
    ours = Neighbours(vectors, space=space, copy=copy, version="1")
    opened = time.process_time() - started
    memory = {"cacl": max(0.0, _own_mib() - before)}  # it may give back more than it takes
    print(f"- {len(mapped)} {kind}: copy made in {made:.1f} s, opened in {opened:.1f} s of one processor")
    ways: dict[str, Callable[[NDArray[np.float32]], list[int]]] = {
        "cacl": lambda q: ours.search(q, K).rows.tolist(),
        "float32 product": lambda q: _product(mapped, q),
    }
    memory["float32 product"] = 0.0
    if faiss is not None:
        before = _own_mib()
        index = faiss.IndexFlatIP(WIDTH)
        for start in range(0, len(mapped), BLOCK):
            index.add(np.ascontiguousarray(mapped[start : start + BLOCK]))
        memory["FAISS flat"] = max(0.0, _own_mib() - before)
        ways["FAISS flat"] = lambda q: index.search(q[None], K)[1][0].tolist()
    _compare(ways, mapped, queries, kind)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for query in queries:
        works = {name: partial(way, query) for name, way in ways.items()}
        turn = in_turns(works, rounds=1, warm=0)
        for name, timing in turn.items():
            times[name] += timing.rounds
    return _rows(times, memory, len(mapped), kind, float(np.median([ours.search(q, K).scored for q in queries])))


def _rows(
    times: dict[str, list[float]], memory: dict[str, float], count: int, kind: str, scored: float
) -> tuple[list[list[object]], list[list[object]]]:
    middle = {name: 1e3 * Timing(tuple(seconds)).median for name, seconds in times.items()}
    slow = {name: 1e3 * float(np.quantile(seconds, 0.95)) for name, seconds in times.items()}
    rows: list[list[object]] = [
        [count, kind, n, middle[n], slow[n], middle[n] / middle["cacl"], scored if n == "cacl" else "all", memory[n]]
        for n in times
    ]
    wanted = WANTED.get(count, 1)
    reached = [
        target(f"{count} {kind}: {'p95' if wanted == 4 else 'median'} against {name}", times_as_fast, wanted)
        for name in times
        if name != "cacl"
        for times_as_fast in [(slow if wanted == 4 else middle)[name] / (slow if wanted == 4 else middle)["cacl"]]
    ]
    reached.append(target(f"{count} {kind}: MiB above the mapped files", memory["cacl"], 600, most=True))
    return rows, reached


def _compare(
    ways: dict[str, Callable[[NDArray[np.float32]], list[int]]],
    mapped: NDArray[np.float32],
    queries: NDArray[np.float32],
    kind: str,
) -> None:
    """The same hits in the same order; where float32 says another order, float64 says who is right."""
    for name, way in ways.items():
        same = turned = 0
        for query in queries:
            ours, theirs = ways["cacl"](query), way(query)
            same += ours == theirs
            if ours != theirs:
                exact = [(mapped[rows].astype(np.float64) * query).sum(axis=1) for rows in (ours, theirs)]
                if (np.diff(exact[0]) > 1e-15).any() or np.abs(exact[0] - exact[1]).max() > 1e-6:
                    raise SystemExit(f"cacl and {name} differ by more than the rounding of float32: {ours} {theirs}")
                turned += 1
        if name != "cacl":
            print(f"- same: {kind}, {name}: {same} of {len(queries)}; in {turned} float32 turns near ties around")


def _product(mapped: NDArray[np.float32], query: NDArray[np.float32]) -> list[int]:
    best_rows, best = np.zeros(0, np.int64), np.zeros(0, np.float32)
    for start in range(0, len(mapped), BLOCK):
        scores = mapped[start : start + BLOCK] @ query
        near = np.argpartition(scores, -K)[-K:] if len(scores) > K else np.arange(len(scores))
        best_rows, best = np.concatenate([best_rows, near + start]), np.concatenate([best, scores[near]])
        order = np.lexsort((best_rows, -best))[:K]
        best_rows, best = best_rows[order], best[order]
    return best_rows.tolist()


def _write(file: Path, kind: str, count: int, seed: int, quick: bool) -> tuple[Path, NDArray[np.float32]]:
    """Unit vectors to a file, and queries near some of them."""
    rng = np.random.default_rng(seed)
    spread = np.ones(WIDTH) if kind == "sphere" else np.arange(1, WIDTH + 1) ** -0.5
    turn = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0].astype(np.float32)
    mean = np.zeros(WIDTH) if kind == "sphere" else rng.normal(size=WIDTH) * 4.6 * np.linalg.norm(spread) / WIDTH**0.5
    stored = np.lib.format.open_memmap(file, "w+", np.float32, (count, WIDTH))

    def draw(number: int) -> NDArray[np.float32]:
        drawn = rng.standard_normal((number, WIDTH), dtype=np.float32) * spread.astype(np.float32)
        drawn = drawn @ turn + mean.astype(np.float32)
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        return drawn

    for start in range(0, count, BLOCK):
        stored[start : start + BLOCK] = draw(min(BLOCK, count - start))
    stored.flush()
    pairs = rng.integers(0, count, (2, 2000))
    cosines = np.einsum("nd,nd->n", stored[pairs[0]], stored[pairs[1]])
    print(f"- {count} {kind}: median cosine {np.median(cosines):.2f}")
    return file, draw(5 if quick else 40)


def _own_mib() -> float:
    """Memory of this process that is not mapped from files, MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def _faiss() -> ModuleType | None:
    try:
        import faiss
    except ImportError:
        print("- FAISS is not installed here and is left out: pip install faiss-cpu")
        return None
    faiss.omp_set_num_threads(1)
    found: ModuleType = faiss
    return found


if __name__ == "__main__":
    one_blas_thread()
    main()
