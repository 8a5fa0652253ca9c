"""A plan in words: what was measured, the formulas, and a table of what each verb takes."""

from __future__ import annotations

from collections.abc import Callable

from cacl.errors import counted
from cacl.experiments.plan.formulas import Stage
from cacl.experiments.plan.measure import Measured
from cacl.experiments.plan.plan import Plan


def as_text(plan: Plan) -> str:
    """All of it, lines of at most 120 characters but for the formulas."""
    m = plan.measured
    gpus = "" if plan.gpus is None else f" with {counted(plan.gpus, 'GPU')} each"
    lines = [
        f"{round(m.videos):,} videos of {m.frames:.0f} frames and {size(m.bytes)}, on average of a sample; "
        f"{counted(plan.machines, 'machine')} of {counted(m.processors, 'processor')}{gpus}.".replace(",", " ", 1),
        "",
        "Measured here:",
        *(f"  {name:<11} {words(m):>12}  {meaning}" for name, words, meaning in _INPUTS),
        "",
        "Worked out (N videos, M machines, W devices that compute):",
        *(f"  {verb:<9} {formula}" for verb, formula in plan.formulas.items()),
        "",
        f"  {'videos':>11}  {'':<9} {'time':>11} {'disk':>10} {'memory':>10}  bound by",
    ]
    before = None
    for stage in plan.stages:
        count = f"{stage.videos:,}".replace(",", " ") if stage.videos != before or stage.verb == "check" else ""
        before = stage.videos
        disk = size(stage.disk) if stage.disk else "–"
        lines.append(
            f"  {count:>11}  {stage.verb:<9} {duration(stage.seconds):>11} {disk:>10} {size(stage.memory):>10}  "
            f"{stage.bound}"
        )
    return "\n".join([*lines, "", *_notes(plan)])


def duration(seconds: float) -> str:
    """``340 ms``, ``12 s``, ``5 min``, ``7.5 h`` or ``31 days``."""
    for unit, name in ((365.25 * 86400, "years"), (2 * 86400, "days"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= unit:
            return f"{_short(seconds / (86400 if name == 'days' else unit))} {name}"
    return f"{_short(1000 * seconds)} ms"


def size(count: float) -> str:
    """Bytes as ``12 MB``."""
    for power, name in ((5, "PB"), (4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if count >= 1000**power:
            return f"{_short(count / 1000**power)} {name}"
    return f"{count:.0f} B"


def _short(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _notes(plan: Plan) -> list[str]:
    m = plan.measured
    notes = [
        "Not in it: starting a program (some seconds), what machines exchange in a step, and other work meanwhile."
    ]
    large = [stage for stage in plan.stages if stage.disk > m.free]
    if large:
        notes.append(f"More than the {size(m.free)} that are free on this disk: {_listed(large)}.")
    if m.memory and (large := [stage for stage in plan.stages if stage.bound == "memory"]):
        notes.append(
            f"More than the {size(m.memory)} of this machine's memory: {_listed(large)}; cut such an archive into "
            "several."
        )
    return notes


def _listed(large: list[Stage]) -> str:
    """Each verb with the least number of videos."""
    least = dict[str, int]()
    for stage in sorted(large, key=lambda stage: stage.videos):
        least.setdefault(stage.verb, stage.videos)
    return ", ".join(f"{verb} from {count:,} videos on".replace(",", " ") for verb, count in least.items())


_INPUTS: tuple[tuple[str, Callable[[Measured], str], str], ...] = (
    ("look", lambda m: duration(m.look), "to look at a video's file"),
    ("decode", lambda m: duration(m.decode), "a frame decoded, scaled and packed, a process on every processor"),
    ("packed", lambda m: size(m.packed), "of a frame in a store"),
    ("fetch", lambda m: duration(m.fetch), "a frame read back from a store, one thread"),
    ("step", lambda m: duration(m.step), "of the whole batch, on the device below"),
    ("frames_step", lambda m: duration(m.frames_step) if m.frames_step else "–", "of the frame encoder before it"),
    ("batch", lambda m: str(m.batch), "samples of a step"),
    ("clip", lambda m: str(m.clip), "frames of a sample"),
    ("embed", lambda m: duration(m.embed), "a frame of an archive embedded: decoded, computed and kept"),
    ("windows", lambda m: f"{m.windows:.1f}", "of a video"),
    ("compute", lambda m: duration(m.compute), "of that, a window through the network alone"),
    ("width", lambda m: str(m.width), "numbers of a vector"),
    ("search", lambda m: duration(m.search), "in an open index, however small"),
    ("search_row", lambda m: f"{1e9 * m.search_row:.2g} ns", "more for each window in it"),
    ("read", lambda m: f"{size(m.read)}/s", "of the disk"),
    ("write", lambda m: f"{size(m.write)}/s", "of the disk"),
    ("free", lambda m: size(m.free), "on it"),
    ("memory", lambda m: size(m.memory) if m.memory else "unknown", "of this machine"),
    ("device", lambda m: m.device, "that computes"),
)
