"""Peak memory of ``cacl embed`` as a video gets longer, and as videos get more: ``python benchmarks/long_videos.py``.

The long video is ten seconds at 1280×720, their packets repeated, two hours at most; the many are links to one small
file. A network without training embeds: what it knows does not change what it takes.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from harness import arguments, header, table, target, targets
from made_videos import kinds, make
from watched import watched

from cacl.models.encoder import ClipSpec, Encoder


@dataclass(frozen=True)
class Case:
    """A folder to embed: what is varied, and how much of it there is."""

    name: str
    count: int
    folder: Path


def repeat(piece: Path, longer: Path, times: int) -> None:
    """The same packets ``times`` times, one after the other, without encoding anything again."""
    with av.open(str(piece)) as given, av.open(str(longer), "w") as made:
        source = given.streams.video[0]
        stream = made.add_stream_from_template(source)
        packets = [packet for packet in given.demux(source) if packet.dts is not None]
        kept = [(bytes(p), p.pts, p.dts, p.duration, p.is_keyframe) for p in packets]
        length = max(pts + duration for _, pts, _, duration, _ in kept) - min(pts for _, pts, _, _, _ in kept)
        for turn in range(times):
            for content, pts, dts, duration, key in kept:
                packet = av.Packet(content)
                packet.pts, packet.dts, packet.duration = pts + turn * length, dts + turn * length, duration
                packet.time_base, packet.is_keyframe, packet.stream = source.time_base, key, stream
                made.mux(packet)


def long_ones(place: Path, *, quick: bool, seed: int) -> list[Case]:
    """One video each, of so many pieces of ten seconds (quick: of two)."""
    piece = make(kinds(quick=quick)[1 if quick else 2], place / "one", seed=seed)[0]
    cases = []
    for count in (1, 3) if quick else (6, 72, 720):
        folder = place / f"long-{count}"
        folder.mkdir()
        repeat(piece, folder / "long.mp4", count)
        cases.append(Case("one video of so many pieces of 10 s", count, folder))
    return cases


def many(place: Path, *, quick: bool, seed: int) -> list[Case]:
    """Folders of so many small videos."""
    small = make(kinds(quick=quick)[1], place / "small", seed=seed)[0]
    cases = []
    for count in (2, 4) if quick else (100, 2000):
        folder = place / f"many-{count}"
        folder.mkdir()
        for number in range(count):
            (folder / f"{number:04}.mp4").hardlink_to(small)
        cases.append(Case("so many videos, 172×128", count, folder))
    return cases


def main() -> None:
    chosen = arguments(__doc__)
    header("Memory of long and of many videos", chosen, clock="MiB of the command and its processes")
    small = chosen.quick
    spec = ClipSpec(resize=(32, 40), size=32) if small else ClipSpec(resize=(64, 86), size=56)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        Encoder("r3d10", width=4 if small else 16, clip=spec).save(place / "model")
        cases = [*long_ones(place, quick=small, seed=chosen.seed), *many(place, quick=small, seed=chosen.seed)]
        rows: list[list[object]] = []
        for case in cases:
            out = place / f"vectors-{case.folder.name}"
            embed = [sys.executable, "-P", "-m", "cacl", "embed", case.folder]
            spent = watched([*embed, "--model", place / "model", "--out", out])
            rows.append([case.name, case.count, len(np.load(out / "vectors.npy")), spent.peak_mib, spent.clock])
    table("cacl embed", ("", "how many", "vectors", "peak, MiB", "seconds by the clock"), rows)
    peaks = {case.folder.name: float(str(row[3])) for case, row in zip(cases, rows, strict=True)}
    few, more = (peaks[f"many-{count}"] for count in ((2, 4) if small else (100, 2000)))
    longest = target("the longest video, MB", peaks["long-3" if small else "long-720"] * 2**20 / 1e6, 600, most=True)
    targets([longest, target("many over few videos", more / few, 1.05, most=True)], chosen)


if __name__ == "__main__":
    main()
