"""Duplicates: made copies of each transformation among distractors and other takes; precision and recall.

Videos are really encoded and decoded. The vectors are those of small pictures of stretches, the same for their mirror
image: a stand-in for an encoder, so that what is measured is candidates, alignment and the check of pixels. Beside it,
where it is installed (``pip install imagehash``), the perceptual hash that people compare frames with: a pair counts as
found where, of a frame a second of the shorter video, half have a frame of the other within 10 of 64 bits.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from actors import perform
from copies import EASY, FPS, HARD, Frames, read, render, truth, write_copy
from harness import arguments, header, table, target, targets
from numpy.typing import NDArray

from cacl.search.duplicates import Duplicate, Stretches, find_duplicates
from cacl.search.neighbours import Neighbours
from cacl.search.score import measure_scale

SECONDS, WINDOW, STEP = 10.0, 2.0, 1.0
BITS = 10


def main() -> None:
    every = [*EASY, *HARD]
    chosen = arguments(__doc__, only=every, pairs=200)
    header("Duplicates", chosen, clock="processor time of one thread")
    pairs = 6 if chosen.quick else chosen.pairs
    names = chosen.only or (["exact", "cropped", "mirrored"] if chosen.quick else every)
    rows: list[list[object]] = []
    reached: list[list[object]] = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            archive = Archive(Path(folder), name, pairs, 1000 * every.index(name) + chosen.seed)
            row = archive.measured()
            rows.append([name, pairs, *row, *archive.hashed()])
            recall, precision, ends = (float(str(value)) for value in row[:3])
            reached.append(target(f"{name}: recall", recall, 0.95 if name in EASY else 0.8))
            reached.append(target(f"{name}: precision", precision, 0.99))
            if name in EASY:
                reached.append(target(f"{name}: ends, seconds, 95 % within", ends, 0.5, most=True))
    columns = ("copies", "pairs", "recall", "precision", "ends, 95 %, s", "takes called copies", "s of processor")
    table("Copies called sure", (*columns, "hash: recall", "hash: precision"), rows)
    targets(reached, chosen)


class Archive:
    """Originals, a copy of each, and as many other takes; every other original is a distractor of a copy.

    Every other place has a fixed camera before which somebody else does the same: ``actors.py``.
    """

    def __init__(self, folder: Path, name: str, pairs: int, seed: int) -> None:
        self.name, self.pairs = name, pairs
        self.frames: list[Frames] = []
        self.times: list[NDArray[np.float64]] = []
        for place in range(pairs):
            original = _film(seed + place, 0)
            file = folder / "video.mp4"
            for transformation, frames in (
                ("exact", original),
                (name, original),
                ("exact", _film(seed + place, 1)),
            ):
                write_copy(file, transformation, frames)
                decoded, when = read(file)
                self.frames.append(decoded)
                self.times.append(when)
        self.lengths = [float(when[-1]) + 1 / FPS for when in self.times]

    def measured(self) -> list[object]:
        """Recall, precision, ends and wrong takes of what is called sure, and seconds."""
        started = time.process_time()
        rows, numbers, starts = [], [], []
        for number, (frames, when) in enumerate(zip(self.frames, self.times, strict=True)):
            small = _small(frames)
            for start in np.arange(0, self.lengths[number] - WINDOW + 0.1, STEP):
                halves = [(when >= start + h) & (when < start + h + WINDOW / 2) for h in (0, WINDOW / 2)]
                rows.append(np.concatenate([small[half].mean(axis=0) for half in halves]))
                numbers.append(number)
                starts.append(start)
        begin = np.array(starts)
        stretches = Stretches(
            np.array(numbers), begin, begin + WINDOW, [str(i) for i in range(len(self.frames))], self.lengths
        )
        neighbours = Neighbours(np.array(rows, np.float32))
        scale = measure_scale(neighbours.rows, neighbours.space, numbers)
        found = find_duplicates(neighbours, stretches, scale, frames=self._read)
        sure = [one for one in found if one.sure == "sure"]
        right = [one for one in sure if self._right(one.first, one.second)]
        takes = sum(int(one.first) // 3 == int(one.second) // 3 and one not in right for one in sure)
        ends = [self._ends(one) for one in right]
        recall = len({one.first for one in right}) / self.pairs
        spent = time.process_time() - started
        return [recall, len(right) / max(len(sure), 1), float(np.quantile(ends or [99], 0.95)), takes, spent]

    def hashed(self) -> list[object]:
        """Recall and precision of perceptual hashes of a frame a second."""
        try:
            import imagehash
            from PIL import Image
        except ImportError:
            return ["not installed", "not installed"]
        bits = []
        for frames, when in zip(self.frames, self.times, strict=True):
            moments = np.searchsorted(when, np.arange(0, when[-1], 1.0))
            bits.append(np.stack([imagehash.phash(Image.fromarray(frames[i])).hash.ravel() for i in moments]))
        found = []
        for a in range(len(bits)):
            for b in range(a + 1, len(bits)):
                apart = (bits[a][:, None] != bits[b][None]).sum(axis=2)
                short = apart if len(bits[a]) <= len(bits[b]) else apart.T
                if (short.min(axis=1) <= BITS).mean() >= 0.5:
                    found.append(self._right(str(a), str(b)))
        return [sum(found) / self.pairs, sum(found) / max(len(found), 1)]

    def _right(self, first: str, second: str) -> bool:
        return int(first) // 3 == int(second) // 3 and {int(first) % 3, int(second) % 3} == {0, 1}

    def _ends(self, one: Duplicate) -> float:
        a, b = truth(self.name, SECONDS)
        return float(np.abs(np.subtract([*one.a, *one.b], [*a, *b])).max())

    def _read(self, video: int, times: NDArray[np.float64]) -> Frames:
        shown = np.searchsorted(self.times[video], times + 1e-6, side="right") - 1
        return self.frames[video][np.clip(shown, 0, len(self.frames[video]) - 1)]


def _film(place: int, take: int) -> Frames:
    """A take; at every other place somebody, in another take somebody else, does one thing before a fixed camera."""
    if place % 2:
        return perform(render(place, 0, 1 / FPS)[0], place // 2, take, SECONDS, FPS)
    return render(place // 2, take, SECONDS)


def _small(frames: Frames) -> NDArray[np.float64]:
    """Edges of small pictures, the same for their mirror image, ``[T, 96]``."""
    grey = frames.mean(axis=3)
    inner = grey[:, grey.mean(axis=(0, 2)) > 8]  # without black bars
    rows, columns = (
        np.linspace(0, side, parts + 1).astype(int) for side, parts in ((inner.shape[1], 8), (inner.shape[2], 12))
    )
    cells = np.add.reduceat(np.add.reduceat(inner, rows[:-1], axis=1), columns[:-1], axis=2)
    cells /= np.diff(rows)[:, None] * np.diff(columns)
    cells -= cells.mean(axis=(1, 2), keepdims=True)
    cells /= cells.std(axis=(1, 2), keepdims=True) + 1
    both: NDArray[np.float64] = (cells + cells[:, :, ::-1]).reshape(len(frames), -1)
    return both


if __name__ == "__main__":
    main()
