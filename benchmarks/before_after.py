"""What people wait for, before and after: ``python benchmarks/before_after.py --base REV``.

A checkout of ``REV`` and this one run the same commands in turns (A B A B …), each with its own empty cache, on the
same made videos; the same interpreter and libraries run both. Ratios are of pairs. Processor time can be trusted on a
busy machine too; what is by the clock (clips a second, beside a busy program) wants a quiet one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import arguments, header, table
from made_videos import kinds, make
from our_step import LAPTOP, TINY
from shared_machine import busy
from watched import Spent, watched

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("start", "pretrain", "shared", "evaluate", "embed")


@dataclass(frozen=True)
class Version:
    """A checkout, and a folder for what it makes."""

    checkout: Path
    place: Path
    threads: dict[str, str]  # what the environment says of them

    def __call__(self, *words: object) -> Spent:
        """Run ``cacl WORDS``."""
        kept = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        env = kept | self.threads | {"PYTHONPATH": str(self.checkout), "XDG_CACHE_HOME": str(self.place / "cache")}
        command = [sys.executable, "-P", "-m", "cacl", *map(str, words)]
        return watched(command, env=env, cwd=self.place)


Measured = dict[str, float]  # what is better the larger it is: things a second, or one over seconds or MiB


class Works:
    """Each part of the table, for one version, in one turn."""

    def __init__(self, videos: Path, *, quick: bool) -> None:
        self.videos, self.quick = videos, quick
        sizes = {**(TINY if quick else LAPTOP), "model.network": "r3d10", "run.log_every": 1000}
        sizes |= {"optim.batch_size": 4 if quick else 32, "optim.epochs": 2 if quick else 20}
        sizes |= {"frames.optim.epochs": 4, "frames.optim.batch_size": 8 if quick else 128}
        self.settings = [word for key, value in sizes.items() for word in ("--set", f"{key}={json.dumps(value)}")]

    def train(self, version: Version, name: str, *words: str, method: str = "v-moco") -> tuple[dict[str, float], Spent]:
        """Samples a second of each stage, of its last fifty steps."""
        run = version.place / name
        spent = version(
            "pretrain", self.videos, "--preset", "small", "--method", method, "--out", run, *self.settings, *words
        )
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        return {row["kind"]: row["clips_per_second"] for row in rows if "clips_per_second" in row}, spent

    def start(self, version: Version, turn: int) -> Measured:
        return {"cacl --help, processor": 1 / version("--help").processor}

    def pretrain(self, version: Version, turn: int) -> Measured:
        found: Measured = {}
        for threads in (1,) if self.quick else (1, 2):
            rates, spent = self.train(version, f"{turn}-{threads}", "--set", f"run.threads={threads}")
            found[f"pretrain on {threads} thread{'s' * (threads > 1)}, clips a second"] = rates["train"]
        return found | {"pretrain, peak memory": 1 / spent.peak_mib}

    def shared(self, version: Version, turn: int) -> Measured:
        found: Measured = {}
        for count in (0,) if self.quick else (0, 1):
            with busy(count):
                rates, _ = self.train(version, f"{turn}-beside-{count}", method="cacl")
            beside = f"beside {count} busy program{'s' * (count != 1)}"
            found[f"frame stage {beside}, frames a second"] = rates["frames"]
            found[f"cacl {beside}, clips a second"] = rates["train"]
        return found

    def evaluate(self, version: Version, turn: int) -> Measured:
        self.train(version, f"{turn}-e", "--set", "optim.epochs=1")
        run = version.place / f"{turn}-e"
        spent = [version("evaluate", run).processor for _ in range(2)]
        return {"evaluate, first on a folder, processor": 1 / spent[0], "evaluate, the next, processor": 1 / spent[1]}

    def embed(self, version: Version, turn: int) -> Measured:
        if not (version.place / "model").exists():
            self.train(version, "model", "--set", "optim.epochs=1")
        found: Measured = {}
        for precision in ("auto", "float32"):
            out = version.place / f"{turn}-{precision}"
            spent = version(
                "embed", self.videos, "--model", version.place / "model", "--out", out, "--precision", precision
            )
            found[f"embed, {precision}, processor"] = 1 / spent.processor
        return found | {"embed, peak memory": 1 / spent.peak_mib}


@contextmanager
def checkouts(base: str, temporary: Path, threads: dict[str, str]) -> Iterator[list[Version]]:
    """A worktree of ``base``, and this version; each with its folder."""
    other = temporary / "base"
    subprocess.run(["git", "-C", ROOT, "worktree", "add", "--quiet", "--detach", other, base], check=True)
    try:
        versions = [Version(other, temporary / "a", threads), Version(ROOT, temporary / "b", threads)]
        for version in versions:
            version.place.mkdir()
        yield versions
    finally:
        subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", other], check=False)


def compare(work: Callable[[Version, int], Measured], versions: list[Version], rounds: int) -> list[list[object]]:
    """Rows: what, its ratio (this over base: above 1 is better), and the least and largest of the pairs."""
    pairs = [[work(version, turn) for version in versions] for turn in range(rounds)]
    rows: list[list[object]] = []
    for name in pairs[0][0]:
        ratios = [now[name] / before[name] for before, now in pairs]
        values = [statistics.median(pair[side][name] for pair in pairs) for side in (0, 1)]
        if not name.endswith("a second"):  # seconds or MiB again
            values = [1 / value for value in values]
        rows.append([name, *values, statistics.median(ratios), f"{min(ratios):.2f} … {max(ratios):.2f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--base", default="HEAD")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    own, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    chosen = arguments(__doc__, rounds=5)
    header(f"This version over {own.base}", chosen, clock="processor time, or the clock where it says a second")
    threads = {"OMP_NUM_THREADS": "1"} if chosen.quick else {}  # two that share a processor take for ever
    with tempfile.TemporaryDirectory() as name, checkouts(own.base, Path(name), threads) as versions:
        labelled = Path(name, "videos")
        for copy in range(2 if chosen.quick else 4):
            for part in ("train", "test"):
                kind = kinds(quick=chosen.quick)[1]
                make(
                    kind,
                    labelled / part / f"class{copy}",
                    seed=chosen.seed + 2 * copy + (part == "test"),
                )
        works = Works(labelled, quick=chosen.quick)
        for part in own.only:
            rows = compare(getattr(works, part), versions, 1 if chosen.quick else chosen.rounds)
            table(part, ("", "base", "this", "better by", "of the pairs"), rows)


if __name__ == "__main__":
    main()
