"""From what was measured to hours, disk and memory, for any number of videos like these; nothing is measured here.

N videos of f frames, M machines like this one, W devices that compute: one a machine, or its GPUs. The formulas are
``FORMULAS``, in the names of ``Measured``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cacl.experiments.plan.measure import Measured

Verb = Literal["check", "prepare", "pretrain", "index", "search"]
SIZES = (10**4, 10**5, 10**6, 10**7, 10**8)
FORMULAS: dict[Verb, str] = {
    "check": "N·look, in one process",
    "prepare": "max(N·frames·decode / M, N·bytes / read, N·frames·packed / write) + joining, N·frames·packed·(1/read + "
    "1/write)",
    "pretrain": "steps·step / W and steps·batch·clip·fetch / (M·processors): their sum where processors compute, else "
    "the larger; at least steps·batch·clip·packed / read of a store that does not fit into memory",
    "index": "N·look + max(N·frames·embed / W, N·bytes / read)",
    "search": "search + N·windows·search_row; at least N·windows·width / read where the 8-bit copy does not fit into "
    "memory",
}
_OFFSET, _SIZE = 8, 36  # bytes of a frame when a store is joined: its place, and a number in a list
_SPAN = 40  # bytes of a window beside its vector: video, frames, seconds


@dataclass(frozen=True)
class Stage:
    """What one verb takes for so many videos.

    Attributes:
        verb: of ``cacl``.
        videos: N.
        parts: seconds of what it does, each by itself.
        seconds: of all.
        disk: bytes that it leaves.
        memory: bytes that one process needs; of check, prepare and search what grows with N alone.
        bound: what it waits for most: one of ``parts``, or ``memory`` where that does not fit into this machine's.
    """

    verb: Verb
    videos: int
    parts: dict[str, float]
    seconds: float
    disk: float
    memory: float
    bound: str


def stages(
    m: Measured, videos: int, *, steps: tuple[int, int], machines: int = 1, gpus: int | None = None
) -> list[Stage]:
    """Every verb for so many videos.

    Args:
        m: measured on one machine.
        videos: N.
        steps: of the training, and of the frame encoder before it.
        machines: M, which share one disk that gives all of them together what it gives this one.
        gpus: of each; ``None``: the one device that was measured.
    """
    devices = machines * (gpus or 1)
    disk = "disk" if machines == 1 else "shared disk"
    frames, catalog = videos * m.frames, videos * m.row
    looking, stored = videos * m.look, frames * m.packed
    reading = videos * m.bytes / m.read
    windows = videos * m.windows

    found = [_stage(m, "check", videos, {"looking at files": looking}, looking, 0.0, catalog)]

    decoding, joining = frames * m.decode / machines, stored * (1 / m.read + 1 / m.write)
    side = {"decode": decoding, f"{disk}, reading": reading, f"{disk}, writing": stored / m.write}
    memory = catalog + frames * (_SIZE + _OFFSET)
    found.append(
        _stage(m, "prepare", videos, {**side, "joining": joining}, max(side.values()) + joining, stored, memory)
    )

    clips = steps[0] * m.batch
    computing = (steps[0] * m.step + steps[1] * m.frames_step) / devices
    fetching = clips * m.clip * m.fetch / (machines * m.processors)
    parts = {"computing": computing, "unpacking frames": fetching}
    if stored > m.memory > 0:
        parts[disk] = clips * m.clip * m.packed / m.read
    total = max(computing + fetching if m.device == "cpu" else 0.0, *parts.values())
    found.append(_stage(m, "pretrain", videos, parts, total, m.state, m.process + catalog))

    embedding, computed = frames * m.embed / devices, windows * m.compute / devices
    parts = {
        "looking at files": looking,
        "computing": computed,
        "decode and previews": max(0.0, embedding - computed),
        disk: reading,
    }
    kept = windows * (5 * m.width + _SPAN + m.preview)
    memory = m.process + 2 * catalog + windows * (4 * m.width + _SPAN)
    found.append(_stage(m, "index", videos, parts, looking + max(embedding, reading), kept, memory))

    copy = windows * m.width
    parts = {"computing": m.search + windows * m.search_row}
    if copy > m.memory > 0:
        parts["disk"] = copy / m.read
    found.append(_stage(m, "search", videos, parts, max(parts.values()), 0.0, 2 * catalog + windows * _SPAN + copy))
    return found


def _stage(
    m: Measured, verb: Verb, videos: int, parts: dict[str, float], seconds: float, disk: float, memory: float
) -> Stage:
    bound = max(parts, key=lambda name: parts[name])
    if memory > m.memory > 0 and verb != "search":  # which reads its copy from the disk then
        bound = "memory"
    return Stage(verb, videos, parts, seconds, disk, memory, bound)
