"""What the benchmarks share: what ran where, works measured in turns, and tables of ratios.

A ratio is only worth something when both sides ran under the same conditions. So works are measured in turns
(A B A B …), by the processor time of this process where parallelism is not the question: a second program on the
machine then slows both sides, and alike.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

Clock = Callable[[], float]


@dataclass(frozen=True)
class Timing:
    """Seconds of every round of one work."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def spread(self) -> str:
        """Half the distance from the fastest to the slowest round, in percent of the median."""
        return f"±{50 * (max(self.rounds) - min(self.rounds)) / self.median:.0f} %"


def arguments(doc: str | None, *, only: Sequence[str] = (), **sizes: int) -> argparse.Namespace:
    """``--quick``, ``--cuda``, ``--seed``, and sizes with what they are by default; sets one thread and the seed.

    ``only``: what ``--only`` chooses from.
    """
    parser = argparse.ArgumentParser(description=(doc or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes and few rounds: seconds, for the tests")
    parser.add_argument("--cuda", action="store_true", help="networks on the GPU")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch on the CPU (default 1)")
    parser.add_argument("--seed", type=int, default=0)
    for name, usual in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=usual, help=f"how many (default {usual})")
    if only:
        parser.add_argument("--only", nargs="+", choices=only, help="measure these alone")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(chosen.seed)
    return chosen


def header(title: str, chosen: argparse.Namespace, *, clock: str) -> None:
    """What ran where: machine, versions, threads, seed, clock, and how busy the machine was besides."""
    print(f"# {title}\n")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = [f"{name} {_version(name)}" for name in ("torch", "numpy", "av", "simplejpeg")]
    print(f"- machine: {_processor()}, {cores} cores; {platform.system()}, Python {platform.python_version()}")
    if chosen.cuda:
        print(f"- GPU: {torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")
    print(f"- versions: {', '.join(versions)}")
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    print(f"- {torch.get_num_threads()} thread, seed {chosen.seed}{', quick' if chosen.quick else ''}; {clock}{load}\n")


def one_blas_thread() -> None:
    """Begin anew with NumPy's products on one thread: others wait busily after each, on the bill of what comes next."""
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # is read as NumPy is imported
        os.execv(sys.executable, [sys.executable, *sys.argv])


def in_turns(
    works: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warm: int = 1,
    clock: Clock = time.process_time,
    finish: Callable[[], object] = lambda: None,
) -> dict[str, Timing]:
    """Run every work once a round, ``rounds`` times after ``warm`` rounds that do not count.

    Args:
        clock: seconds; processor time of the process by default.
        finish: called before each reading of the clock, to wait for a GPU.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(warm + rounds):
        for name, work in works.items():
            finish()
            start = clock()
            work()
            finish()
            if turn >= warm:
                seconds[name].append(clock() - start)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def processor_seconds() -> float:
    """Processor time of this process and of its children that are alive (on Linux; elsewhere of this process alone)."""
    return time.process_time() + sum(_children_seconds(Path("/proc/self")))


def _children_seconds(process: Path) -> Iterator[float]:
    for listed in process.glob("task/*/children"):
        for child in listed.read_text().split():
            threads = Path("/proc", child).glob("task/*/schedstat")
            yield sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
            yield from _children_seconds(Path("/proc", child))


def peak_mib() -> float:
    """Most memory that this process held so far, MiB. Not ``ru_maxrss`` on Linux: that inherits the parent's."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table; numbers are rounded to three digits."""
    lines = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    print(f"## {title}\n")
    for number, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    print(flush=True)


def target(name: str, reached: float, wanted: float, *, most: bool = False) -> list[object]:
    """A row of a table of targets: what, reached, wanted, whether met. ``most``: small is good."""
    met = reached <= wanted if most else reached >= wanted
    return [name, reached, f"{'≤' if most else '≥'} {wanted:g}", "met" if met else "missed"]


def targets(rows: Sequence[Sequence[object]], chosen: argparse.Namespace) -> None:
    """Print the rows that ``target`` made."""
    table("Targets" + " (tiny sizes: they say nothing)" * chosen.quick, ("target", "reached", "wanted", ""), rows)


def agree(what: str, difference: float, most: float) -> None:
    """Say that two ways give the same, or end the benchmark: a fast wrong result is worth nothing."""
    if not difference <= most:
        raise SystemExit(f"{what}: differ by {difference:.2g}, at most {most:.2g} was allowed")
    print(f"- same: {what}, difference {difference:.2g} (at most {most:.2g})")


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.2e}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {key.strip(): value.strip() for key, value in facts.items()}
    family = f" (family {named['cpu family']}, model {named['model']})" if "cpu family" in named else ""
    return f"{named.get('model name', platform.machine())}{family}"
