"""Ray's tasks beside two plain shares, the same videos indexed both ways here: ``python benchmarks/ray_tasks.py``.

By the clock, as going on at once is the question; the start of Ray is told apart. A row is of even lengths, one of a
long tail: one video has two fifths of all seconds.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from harness import arguments, header, table, target, targets

import cacl
from cacl.data.media.encode import write_video
from cacl.models.encoder import ClipSpec, Encoder

COUNT, LENGTH, TAIL = 40, 300, 0.4  # videos, frames, share of the seconds that one video has
AT_ONCE = ("--device", "cpu", "--precision", "float32")


def main() -> None:
    chosen = arguments(__doc__)
    header("Ray", chosen, clock="by the clock")
    if find_spec("ray") is None:
        print("Ray is not installed here: pip install 'cacl[ray]'")
        return
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        Encoder("r3d10", width=4, clip=ClipSpec(resize=(64, 86), size=56)).save(folder / "encoder")
        for name in ("even", "long tail"):
            frames = make(folder / name, 6 if chosen.quick else COUNT, tail=name != "even", seed=chosen.seed)
            shares = clocked(*(words(folder, name, "shares", "--shard", f"{n}/2") for n in (1, 2)))
            shares += clocked(words(folder, name, "shares", "--merge"))
            began = clocked(words(folder, "nothing", "ray0", "--engine", "ray"))
            whole = clocked(words(folder, name, "ray", "--engine", "ray"))
            alike(folder / f"{name}.shares", folder / f"{name}.ray", name)
            rows.append([name, frames, shares, whole, began, shares / whole])
    columns = (
        "lengths",
        "frames",
        "two shares and --merge, s",
        "Ray, s",
        "of it nothing but start and end, s",
        "ratio",
    )
    table("The same index", columns, rows)
    targets([target("even lengths: Ray over two shares, start included", float(str(rows[0][-1])), 0.85)], chosen)


def make(folder: Path, count: int, *, tail: bool, seed: int) -> int:
    """Videos of as many frames in all either way; and a folder of one tiny video. How many frames."""
    tiny = folder.parent / "nothing"
    rng = np.random.default_rng(seed)
    total = count * LENGTH
    long = round(TAIL * total) if tail else LENGTH
    lengths = [long, *[(total - long) // (count - 1)] * (count - 1)]
    for number, length in enumerate([*lengths, 16]):
        place = tiny if number == len(lengths) else folder
        place.mkdir(exist_ok=True)
        frames = rng.integers(0, 255, (16, 15, 20, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
        write_video(place / f"v{number:03}.mp4", frames[np.arange(length) % 16], fps=25)
    return sum(lengths)


def words(folder: Path, videos: str, out: str, *more: str) -> list[str]:
    asked = [
        "index",
        str(folder / videos),
        "--model",
        str(folder / "encoder"),
        "--out",
        str(folder / f"{videos}.{out}"),
    ]
    return [sys.executable, "-m", "cacl", *asked, *AT_ONCE, *more]


def clocked(*commands: list[str]) -> float:
    """Seconds until all of these, begun at once, have ended."""
    began = time.perf_counter()
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for command in commands]
    for process in running:
        _, error = process.communicate()
        if process.returncode:
            raise SystemExit(error.decode()[-2000:])
    return time.perf_counter() - began


def alike(one: Path, other: Path, name: str) -> None:
    with cacl.Index(one) as first, cacl.Index(other) as second:
        if first.vectors.tobytes() != second.vectors.tobytes():
            raise SystemExit(f"{name}: the indexes differ")
    print(f"- same: {name}, all vectors to the bit\n")


if __name__ == "__main__":
    main()
