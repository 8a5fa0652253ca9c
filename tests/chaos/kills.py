"""One life of a command, cut short at random instants and gone on with each time; what it makes must be the same."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from chaos.spawn import kill, session, start, wait
from chaos.victims import Victim, make_world, reproduction, result, temporary
from children import ended

MOST_KILLS = 8  # of one life; then it may live to its end
SIGHTINGS = 10  # a kill may wait for so many files to be written
ORPHANS_LIVE = 20.0  # seconds that a decode process may outlive its parent, on a busy machine


class LossError(Exception):
    """Something is not as in the life that nobody disturbed."""


@dataclass
class Counts:
    """What was done, and what came of it. A campaign ends at the first loss, with what it found in ``loss``."""

    kills: int = 0
    alone: int = 0  # kills of the process without its children
    resumes: int = 0
    lives: int = 0
    in_a_write: int = 0  # kills that left a file half written, or written and not yet renamed
    differences: int = 0  # files of the result that differ, are missing or too many
    torn: int = 0  # files left behind half written
    where: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        lines = [
            f"kills              {self.kills} ({self.alone} of the process alone, the others with its children)",
            f"in a write         {self.in_a_write}",
            f"resumes            {self.resumes}",
            f"lives              {self.lives}",
            f"differences found  {self.differences}",
            f"torn files         {self.torn}",
            *(f"{number:6}  {place}" for place, number in sorted(self.where.items())),
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Whole:
    """The life that nobody disturbed: what it made, and how long it took."""

    made: dict[str, Any]
    seconds: float


def campaign(
    kills: int,
    seed: int,
    folder: Path,
    counts: Counts,
    *,
    most: int = MOST_KILLS,
    only: Sequence[str] = (),
    say: bool = False,
) -> None:
    """Kill at least so many times, life after life. Raises LossError at the first loss; its files are kept."""
    victims = [*make_world(folder), reproduction(folder)]
    chosen, whole = [victim for victim in victims if not only or victim.name in only], dict[str, Whole]()
    if {"finetune", "evaluate", "embed", "index"} & {victim.name for victim in chosen}:  # they need a finished run
        pretraining = victims[0]
        whole[pretraining.name] = undisturbed(pretraining, folder / "log")
        shutil.copytree(pretraining.place, folder / "model")
        _clear(pretraining)
    rng = np.random.default_rng(seed)
    while counts.kills < kills:
        for victim in chosen:
            if counts.kills >= kills:
                break
            if victim.name not in whole:
                whole[victim.name] = undisturbed(victim, folder / "log")
                _clear(victim)
            live(victim, whole[victim.name], rng, counts, folder / "log", most=min(most, kills - counts.kills))
            if say:
                print(f"{counts.kills} kills, {counts.lives} lives: {victim.name} ended the same", flush=True)


def undisturbed(victim: Victim, log: Path) -> Whole:
    """Let it live."""
    victim.prepare()
    begun = time.monotonic()
    status = wait(start(victim.words(), log, before=victim.begin))
    if status:
        raise LossError(f"{victim.name} ends with status {status} when nobody disturbs it: {_last(log)}")
    return Whole(result(victim), time.monotonic() - begun)


def live(victim: Victim, whole: Whole, rng: np.random.Generator, counts: Counts, log: Path, *, most: int) -> None:
    """Kill one life up to ``most`` times, go on each time, and compare what it has made. Raises LossError."""
    log.write_text("")
    victim.prepare()
    leaders: list[int] = []
    for attempt in range(most + 1):
        words = victim.words()
        leaders.append(start(words, log, before=victim.begin))
        counts.resumes += attempt > 0
        status = wait(leaders[-1]) if attempt == most else _strike(victim, leaders[-1], whole.seconds, rng, counts)
        if status is None:
            continue
        if status:
            raise LossError(f"{' '.join(words)} ends with status {status} after {attempt} kills: {_last(log)}")
        break
    counts.lives += 1
    compare(victim, whole, counts)
    _no_orphans(leaders)
    _clear(victim)


def _strike(victim: Victim, child: int, seconds: float, rng: np.random.Generator, counts: Counts) -> int | None:
    """Kill it at a random instant of its life, or while it writes a file; its exit status where it was too fast."""
    until = time.monotonic() + rng.uniform(0, 0.8 * seconds)
    sightings = int(rng.integers(SIGHTINGS)) if rng.random() < 0.6 else None
    seen: set[str] = set()
    while True:
        if (status := ended(child)) is not None:
            return status
        if sightings is None:
            if time.monotonic() > until:
                break
            time.sleep(0.001)
            continue
        time.sleep(0.003)
        now = _watched(victim)
        sightings -= len(now - seen)
        seen = now
        if sightings < 0:
            time.sleep(rng.uniform(0, 0.004))
            break
    everyone = bool(rng.random() < 0.5)
    place = f"{victim.name}: {victim.stage(victim.place)}"
    kill(child, everyone=everyone)
    counts.kills += 1
    counts.alone += not everyone
    counts.in_a_write += bool(_watched(victim))
    counts.where[place] += 1
    return None


def _watched(victim: Victim) -> set[str]:
    try:
        return set(temporary(victim.folders()))
    except OSError:  # renamed under our eyes
        return set()


def compare(victim: Victim, whole: Whole, counts: Counts | None = None) -> None:
    """What a victim has made, with what it makes undisturbed. Raises LossError."""
    counts = counts or Counts()
    left = {*temporary(victim.folders()), *(str(path) for path in victim.folders() if path != victim.place)}
    if left:
        counts.torn += len(left)
        raise LossError(f"{victim.name} left {', '.join(sorted(left))}")
    made = result(victim)
    differing = sorted(name for name in made.keys() | whole.made.keys() if made.get(name) != whole.made.get(name))
    if differing:
        counts.differences += len(differing)
        raise LossError(f"{victim.place}: not as undisturbed: {', '.join(differing)}")


def _no_orphans(leaders: list[int]) -> None:
    until = time.monotonic() + ORPHANS_LIVE
    while any(session(leader) for leader in leaders):
        if time.monotonic() > until:
            raise LossError(f"processes outlive the one that was killed: {[session(leader) for leader in leaders]}")
        time.sleep(0.05)


def _clear(victim: Victim) -> None:
    for path in victim.folders():
        shutil.rmtree(path)


def _last(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
