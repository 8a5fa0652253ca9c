"""A disk that is full from some instant on: a sentence, status 2, what was saved stays, and with room all is the same.

``python tests/chaos/full_disk.py --sites 0``: every kind of step on the disk (open, write, fsync, rename, mkdir of each
file) is once the first that fails with ENOSPC. Without ``--sites``: real disks, a small tmpfs of so many pages; that
takes in the decode processes, and what is written in C. It needs ``unshare``, and mounts nothing that others see.
"""

from __future__ import annotations

import argparse
import builtins
import errno
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np  # noqa: E402
from chaos.kills import LossError, Whole, compare, undisturbed  # noqa: E402
from chaos.spawn import start, wait, warm  # noqa: E402
from chaos.victims import Victim, make_world  # noqa: E402

PAGE = 4096


def watch_disk(folder: Path, step: Callable[[str, str], None]) -> None:
    """Call ``step(what, file)`` before every step of this process on the disk below ``folder``; it may raise."""
    plain_open, below = io.open, str(folder) + os.sep

    def watched(file: object) -> bool:
        return isinstance(file, (str, os.PathLike)) and os.path.abspath(os.fspath(file)).startswith(below)  # type: ignore[arg-type]

    class Disk(io.FileIO):
        def write(self, data: Any) -> int:
            step("write", str(self.name))
            return super().write(data)

    def opened(file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, *rest: Any, **named: Any) -> Any:
        if not watched(file) or not set(mode) & set("wax+"):
            return plain_open(file, mode, buffering, encoding, *rest, **named)
        step("open", os.fspath(file))
        raw = Disk(file, mode.replace("b", "").replace("t", ""))
        binary = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return binary
        errors, newline = [*rest, None, None][:2]
        return io.TextIOWrapper(binary, encoding, named.get("errors", errors), named.get("newline", newline))

    def before(original: Callable[..., Any], what: str) -> Callable[..., Any]:
        def call(first: Any, *rest: Any, **named: Any) -> Any:
            place = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else first
            if watched(place):
                step(what, os.fspath(place))
            return original(first, *rest, **named)

        return call

    io.open = builtins.open = opened  # type: ignore[assignment]
    for name in ("fsync", "rename", "replace", "mkdir"):
        setattr(os, name, before(getattr(os, name), name))


def sites(victim: Victim, log: Path, record: Path) -> dict[str, int]:
    """Every kind of step on the disk that a command makes, with the number of its first time."""
    victim.prepare()
    descriptor = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(what: str, file: str) -> None:
        os.write(descriptor, f"{what} {file}\n".encode())

    def begin() -> None:
        watch_disk(victim.place.parent, note)

    if wait(start(victim.words(), log, before=begin)):
        raise LossError(log.read_text())
    os.close(descriptor)
    found: dict[str, int] = {}
    for number, line in enumerate(record.read_text().splitlines()):
        found.setdefault(re.sub(r"\d{2,}", "N", line), number)
    return found


def fails_at(number: int, folder: Path) -> Callable[[], None]:
    """For ``start(before=…)``: from step ``number`` on the disk is full."""

    def begin() -> None:
        done = -1

        def step(what: str, file: str) -> None:
            nonlocal done
            done += 1
            if done >= number:
                raise OSError(errno.ENOSPC, "No space left on device")

        watch_disk(folder, step)

    return begin


def full_then_room(
    victim: Victim, whole: Whole, log: Path, *, before: Callable[[], None], room: Callable[[], None] = lambda: None
) -> bool:
    """Run a command into a full disk, make room, go on, compare. Whether the disk was full for it. Raises LossError."""
    victim.prepare()
    log.write_text("")
    status, said = wait(start(victim.words(), log, before=before)), log.read_text()
    sentence = said.splitlines()[-1] if said else ""
    if status not in (0, 2) or "Traceback" in said:
        raise LossError(f"{victim.name}: status {status}: {said}")
    if status == 2 and str(victim.place) not in sentence:
        raise LossError(f"{victim.name}: no file is named: {sentence}")
    if step := re.search(r"checkpoint of step (\d+) could not be written", sentence):
        _check_last(victim.place, int(step[1]))
    room()
    if status == 2 and wait(start(victim.words(), log)):
        raise LossError(f"{victim.name} does not go on: {log.read_text()}")
    compare(victim, whole)
    _clear(victim)
    return status == 2


def _check_last(run: Path, step: int) -> None:
    """A checkpoint was saved after each step: the one before is whole."""
    from cacl.training.checkpoint import load_checkpoint, newest_checkpoint

    saved = [newest_checkpoint(folder) for folder in run.rglob("checkpoints") for folder in [folder, *folder.iterdir()]]
    steps = [load_checkpoint(path)[0] for path in saved if path is not None]
    if step > 1 and step - 1 not in steps:
        raise LossError(f"{run}: checkpoints of steps {steps}, though step {step} was the first that failed")


def each_site(folder: Path, *, most: int | None, only: str | None, seed: int = 0) -> int:
    """Every command, full from each of its sites on (or from ``most`` of them). How often the disk was full."""
    victims, log, full = make_world(folder / "world"), folder / "log", 0
    for victim in victims:
        chosen = only in (None, victim.name)
        if not chosen and (victim.name != "pretrain" or only == "prepare"):
            continue
        whole = undisturbed(victim, log)
        if victim.name == "pretrain":
            shutil.copytree(victim.place, victim.place.with_name("model"))
        _clear(victim)
        if not chosen:
            continue
        found = sites(victim, log, folder / f"{victim.name}.sites")
        _clear(victim)
        order = np.random.default_rng(seed).permutation(len(found))[:most]
        times = 0
        for place, number in [list(found.items())[k] for k in sorted(order)]:
            try:
                times += full_then_room(victim, whole, log, before=fails_at(number, victim.place.parent))
            except LossError as loss:
                raise LossError(f"full from {place}: {loss}") from loss
        print(f"{victim.name}: full from {len(order)} of {len(found)} places on, {times} times an error", flush=True)
        full += times
    return full


def real(folder: Path, *, sizes: int, only: str | None) -> int:
    """On a tmpfs: every command at ``sizes`` sizes of it, and read-only. How often the disk was full."""
    disk, log, full = folder / "disk", folder / "log", 0
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(disk)], check=True)

    def resize(size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)

    for victim in make_world(disk):
        whole = undisturbed(victim, log)
        if victim.name == "pretrain":
            shutil.copytree(victim.place, victim.place.with_name("model"))
        after = shutil.disk_usage(disk).used
        _clear(victim)
        if only not in (None, victim.name):
            continue
        victim.prepare()
        need = (after - shutil.disk_usage(disk).used) / PAGE
        _clear(victim)
        times = 0
        for pages in sorted({round(need * 1.1 * n / sizes) for n in range(sizes)}):
            victim.prepare()
            resize(str(shutil.disk_usage(disk).used + pages * PAGE))
            begun = replace(victim, prepare=lambda: None)
            times += full_then_room(begun, whole, log, before=lambda: None, room=lambda: resize("1g"))
        resize("1g")
        print(f"{victim.name}: {times} of {sizes} disks were too small", flush=True)
        full += times
        _read_only(victim, disk, log)
    return full


def _read_only(victim: Victim, disk: Path, log: Path) -> None:
    """On a disk that cannot be written a command ends with a sentence; on the same disk, writable again, it begins."""
    victim.prepare()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    log.write_text("")
    status = wait(start(victim.words(), log))
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    said = log.read_text()
    if status != 2 or "Traceback" in said or "Read-only file system" not in said.splitlines()[-1]:
        raise LossError(f"{victim.name} on a disk that cannot be written: status {status}: {said}")
    _clear(victim)


def _clear(victim: Victim) -> None:
    for path in victim.folders():
        shutil.rmtree(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, default=12, help="real disks for each command (12)")
    parser.add_argument("--sites", type=int, help="steps on the disk for each command instead; 0: every one")
    parser.add_argument("--only", help="one command: pretrain, finetune, evaluate, prepare, embed, index")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside is None:
        with tempfile.TemporaryDirectory(prefix="cacl-full-") as folder:
            own = [] if arguments.sites is not None else ["unshare", "--mount", "--map-root-user"]
            words = [*own, sys.executable, __file__, *sys.argv[1:], "--inside", folder]
            return subprocess.run(words, check=False).returncode
    warm()
    try:
        if arguments.sites is None:
            full = real(arguments.inside, sizes=arguments.sizes, only=arguments.only)
        else:
            full = each_site(arguments.inside, most=arguments.sites or None, only=arguments.only)
    except (LossError, TimeoutError) as loss:
        print(f"LOST: {loss}", file=sys.stderr)
        return 1
    print(f"full disks  {full} (each said in a sentence; with room all was as on a disk that was never full)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
