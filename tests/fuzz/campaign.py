"""Thousands of damaged videos through the catalog, the readers and the store: each is used, or reported with a reason.

``python tests/fuzz/campaign.py --count 2000 --seed 0`` prints the counts, and ends with status 1 at the first loss: a
file that is neither used nor reported, an error that is not about the file, or memory that grows.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from children import resident_mib
from fuzz.folders import unaccounted, write_folder
from fuzz.mutate import make_seeds, mutated

from cacl.data.media import isolated
from cacl.data.media.colours import AS_CODED, PixelRules
from cacl.data.videos.catalog import Catalog
from cacl.data.videos.scan import scan
from cacl.data.videos.sources import DecodedVideos, FrameStore
from cacl.data.videos.store import build_store
from cacl.errors import UserError, VideoError

BATCH = 60  # files looked at as one folder
EVERY = 10  # so many are one folder of pictures and the others files
SIZE = {"height": 12, "width": 16}
MOST_GROWTH = 32.0  # MiB between a fifth of the campaign and its end, of either process


class LossError(Exception):
    """A file that was neither used nor reported, or a process that grows."""


@dataclass
class Counts:
    """What became of the files."""

    tried: int = 0
    used: int = 0
    partly: int = 0  # used, but some clips reported
    reported: int = 0
    crashes: int = 0  # of a decode process; the file is reported
    hangs: int = 0
    memory: int = 0
    slowest: float = 0.0  # seconds of one batch
    reasons: Counter[str] = field(default_factory=Counter)
    ways: dict[str, Counter[str]] = field(default_factory=dict)
    resident: list[tuple[float, float]] = field(default_factory=list)  # MiB of this process and of the decoding one

    def growth(self) -> tuple[float, float]:
        """MiB by which this and the decoding process grew, median of the last fifth over that of the second."""
        fifth = max(1, len(self.resident) // 5)
        early, late = self.resident[fifth : 2 * fifth] or self.resident[:1], self.resident[-fifth:]
        first, second = (
            float(np.median([row[i] for row in late]) - np.median([row[i] for row in early])) for i in (0, 1)
        )
        return first, second

    def __str__(self) -> str:
        mine, theirs = self.growth()
        lines = [
            f"files tried      {self.tried}",
            f"used             {self.used} ({self.partly} of them with clips that were reported)",
            f"reported         {self.reported}",
            f"lost             {self.tried - self.used - self.reported}",
            f"decoder crashes  {self.crashes} (contained: file reported, process replaced)",
            f"decoder hangs    {self.hangs}",
            f"out of memory    {self.memory}",
            f"memory growth    {mine:+.1f} MiB, decode process {theirs:+.1f} MiB",
            f"slowest {BATCH} files {self.slowest:.1f} s",
        ]
        return "\n".join(lines)


def campaign(count: int, seed: int, folder: Path, *, say: bool = False) -> Counts:
    """Try ``count`` files. Raises LossError at the first loss; its file is left in ``folder``."""
    (folder / "seeds").mkdir(parents=True)
    seeds = make_seeds(folder / "seeds")
    counts = Counts()
    for first in range(0, count, BATCH):
        batch = folder / f"batch-{first:06d}"
        batch.mkdir()
        ways = {}
        for number in range(first, min(first + BATCH, count)):
            if number % EVERY == EVERY - 1:
                name = f"{number:06d}-frames"
                ways[name] = write_folder(batch / name, seed, number // EVERY, seeds["h264.mp4"])
                continue
            name, way, content = mutated(seeds, seed, number - number // EVERY)
            (batch / name).write_bytes(content)
            ways[name] = way
        start = time.monotonic()
        try_files(batch, ways, counts, deep=first // BATCH % 2 == 1, seed=seed)
        counts.slowest = max(counts.slowest, time.monotonic() - start)
        counts.resident.append((resident_mib("self"), _decoder_resident()))
        shutil.rmtree(batch)
        if say and first // BATCH % 5 == 4:
            print(f"{counts.tried} of {count}: {counts.used} used, {counts.reported} reported", file=sys.stderr)
    mine, theirs = counts.growth()
    if max(mine, theirs) > MOST_GROWTH:
        raise LossError(f"memory grew by {mine:.0f} MiB here and {theirs:.0f} MiB in the decode process")
    return counts


def try_files(batch: Path, ways: dict[str, str], counts: Counts, *, deep: bool, seed: int) -> None:
    """Look at a folder, read clips of what is used, store it, and count. Raises LossError."""
    try:
        catalog = scan(batch, deep=deep)
    except UserError as error:
        raise LossError(f"{batch}: nothing in it is used: {error}") from error
    reasons = {item.path: item.reason for item in catalog.skipped}
    found = {video.path for video in catalog.videos} | reasons.keys()
    if lost := unaccounted(batch, found):
        raise LossError(f"{batch}: not accounted for: {sorted(lost)}")
    if len(catalog.videos) + len(catalog.skipped) != len(found):
        raise LossError(f"{batch}: used and reported, or twice")
    rules = PixelRules("shown", (0.0, 0.1)) if deep else AS_CODED
    reasons |= _read(catalog, counts, seed, rules)
    _store(catalog, batch.with_name("store"), rules)
    used = {path.partition("/")[0] for path in found - reasons.keys()}  # a folder, where something in it is
    why = {path.partition("/")[0]: reason for path, reason in reasons.items()}
    if unsaid := [path for path, reason in reasons.items() if not reason.strip()]:
        raise LossError(f"{batch}: reported without a reason: {unsaid}")
    for name, way in ways.items():
        counts.tried += 1
        how = "used" if name in used else "reported"
        counts.ways.setdefault(way, Counter())[how] += 1
        if name in used:
            counts.used += 1
            continue
        reason = why[name]
        counts.reported += 1
        counts.reasons[reason] += 1
        counts.crashes += "died" in reason
        counts.hangs += "took longer" in reason
        counts.memory += "GiB of memory" in reason


def _read(catalog: Catalog, counts: Counts, seed: int, rules: PixelRules) -> dict[str, str]:
    """Three clips of every video; the reasons of those of which none can be read."""
    source = DecodedVideos(catalog, rules=rules, **SIZE)
    lost: dict[str, str] = {}
    for number, video in enumerate(catalog.videos):
        rng = np.random.default_rng([seed, number])
        problems = []
        for _ in range(3):
            indices = np.sort(rng.integers(0, video.frames, 16))
            try:
                frames = source.read(number, indices)
            except VideoError as error:
                problems.append(error.reason)
                continue
            if frames.shape != (16, SIZE["height"], SIZE["width"], 3) or frames.dtype != np.uint8:
                raise LossError(f"{catalog.file(video)}: frames of shape {frames.shape}")
        if len(problems) == 3:
            lost[video.path] = problems[0]
        elif problems:
            counts.partly += 1
    return lost


def _store(catalog: Catalog, out: Path, rules: PixelRules) -> None:
    """The frame store accounts for every video, too, and what it says it holds can be read."""
    store: FrameStore = build_store(catalog, out, rules=rules, **SIZE)
    held = {video.path for video in store.catalog.videos} | {item.path for item in store.catalog.skipped}
    due = {video.path for video in catalog.videos} | {item.path for item in catalog.skipped}
    if held != due:
        raise LossError(f"{out}: not accounted for: {sorted(held ^ due)}")
    for number, video in enumerate(store.catalog.videos):
        store.read(number, np.array([0, video.frames - 1]))
    shutil.rmtree(out)


def _decoder_resident() -> float:
    return resident_mib(isolated.isolated("the decode process", 60.0, os.getpid))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="files (2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (0)")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cacl-fuzz-"))
    try:
        counts = campaign(arguments.count, arguments.seed, folder, say=True)
    except LossError as loss:
        print(f"LOST: {loss}\nThe files are kept in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print(counts)
    print("most frequent reasons:")
    for reason, number in counts.reasons.most_common(12):
        print(f"  {number:5}  {reason}")
    print("used of tried, by damage:")
    for way, row in counts.ways.items():
        print(f"  {way:14} {row['used']:4} of {row.total()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
