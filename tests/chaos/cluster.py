"""SIGKILL at random instants of Ray's workers, of the command that sends them work, and of the server pushed to.

``python tests/chaos/cluster.py --kills 100 --seed 0`` prints the counts, and ends with status 1 at the first loss: an
index or rows of the server that are not those of one undisturbed process, something left behind, or a command that
would not go on.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

for library in ("OMP", "OPENBLAS", "MKL"):  # before any is loaded: a process with threads must not fork
    os.environ[f"{library}_NUM_THREADS"] = "1"
sys.path[0] = str(Path(__file__).parents[1])  # in this folder "cluster" is this file

import numpy as np  # noqa: E402
from chaos.kills import LossError  # noqa: E402
from chaos.spawn import kill, start, wait, warm  # noqa: E402
from chaos.victims import temporary  # noqa: E402
from children import ended, every_process  # noqa: E402
from cluster.ray_here import alone  # noqa: E402
from indexing.made import facts, make_encoder, make_folder  # noqa: E402
from postgres import Server, rows_of  # noqa: E402
from squares import square  # noqa: E402

VIDEOS = 24  # short ones, and a long one
LENGTH = 16  # windows of a range, so that a video of 640 frames is cut
MOST = {"index": 8, "push": 6}  # kills of one life; then it may live to its end
GONE_IN = 60.0  # seconds in which what a killed command had started must be gone, on a busy machine
GIVEN_UP = "ended every process that read them"
PATIENCE = (
    "is in use by",
    "cannot be reached or started",
)  # a worker of the dead lives; Ray gives itself 30 s to start


class World:
    """Videos, an encoder and a server; what one process makes of them when nobody disturbs it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.archive, self.log = folder, folder / "archive", folder / "log"
        self.videos, self.encoder = make_folder(folder / "videos", VIDEOS), make_encoder(folder / "encoder")
        from cacl.data.media.encode import write_video

        write_video(self.videos / "a" / "long.mp4", square(40 * LENGTH, seed=99), fps=10)
        self.server, self._databases = Server(), 0
        self.kills, self.resumes, self.lives = Counter[str](), 0, Counter[str]()
        self.given_up = self.refused = 0
        if wait(self.begin(address := self.database(), engine="here")):
            raise LossError(f"it fails when nobody disturbs it: {self.said()}")
        self.whole, self.rows = self.made(), rows_of(address)

    def database(self) -> str:
        """A new one."""
        self._databases += 1
        return self.server.new(f"chaos{self._databases}")

    def begin(self, address: str, *, engine: str = "ray") -> int:
        """The command; its process."""
        self.log.write_text("")
        words = ["index", self.videos, "--out", self.archive, "--model", self.encoder, "--precision", "float32"]
        words += ["--device", "cpu", "--engine", engine, "--to", address]
        return start([str(word) for word in words], self.log, before=_small_pieces)

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    def made(self) -> dict[str, bytes]:
        import cacl

        with cacl.Index(self.archive) as index:
            return facts(index)

    def embedding(self) -> bool:
        """Whether the index is not there yet."""
        return not any(self.archive.glob("generations/*/embedding.json"))

    def compare(self, address: str) -> None:
        """What was made, with what one process made. Raises LossError."""
        names = {path.name for path in self.archive.iterdir()}
        if left := [*temporary([self.archive]), *(names & {"parts", "shards"})]:
            raise LossError(f"left behind: {left}")
        found = self.made()
        if differing := sorted(
            key for key in found.keys() | self.whole.keys() if found.get(key) != self.whole.get(key)
        ):
            raise LossError(f"{self.archive}: not as undisturbed: {differing}")
        if rows_of(address) != self.rows:
            raise LossError(f"{address}: not the rows of an undisturbed push")

    def __str__(self) -> str:
        return "\n".join(
            [
                f"kills              {self.kills.total()}",
                f"resumes            {self.resumes}",
                f"lives              {self.lives['index']} of indexing, {self.lives['push']} of a push",
                f"given up, and made by the next command  {self.given_up}",
                f"refused for a moment, and made by the next command  {self.refused}",
                *(f"{number:6}  {what}" for what, number in sorted(self.kills.items())),
            ]
        )


def _small_pieces() -> None:
    from cacl.indexing.cluster import ranges
    from cacl.indexing.on_server import push

    ranges.LENGTH, push._BATCH = LENGTH, 1


def below(process: int) -> dict[int, str]:
    """The processes that a process started, and those that these did, with what they call themselves."""
    parents = {number: int(fields[1]) for number, fields in every_process() if fields[0] != "Z"}
    found = {process}
    while more := {number for number, parent in parents.items() if parent in found} - found:
        found |= more
    return {number: _title(number) for number in found - {process}}


def _title(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""


def index_life(world: World, rng: np.random.Generator, most: int) -> None:
    """An index made from nothing by Ray; workers die, and now and then the command. Raises LossError."""
    shutil.rmtree(world.archive, ignore_errors=True)
    address, dead = world.database(), dict[int, str]()
    child, struck = world.begin(address), 0
    early, again = rng.random() < 0.1, time.monotonic() + rng.uniform(0, 3)  # early: before there is a worker, too
    while True:
        if (status := ended(child)) is not None:
            said = world.said()
            if status and not any(words in said for words in PATIENCE):
                raise LossError(f"ends with status {status}: {said}")
            if not status and GIVEN_UP not in said:
                break
            world.given_up += not status
            world.refused += bool(status)
            time.sleep(0.5)
            child, struck = world.begin(address), most if not status else struck
            continue
        started = below(child)
        busy = sorted(number for number, title in started.items() if title.startswith("ray::do_batch"))
        if struck >= most or not world.embedding() or time.monotonic() < again or not (busy or early):
            time.sleep(0.05)
            continue
        if not busy or rng.random() < 0.25:
            dead |= started
            kill(child, everyone=False)
            world.kills["the command, while it embedded"] += 1
            world.resumes += 1
            child = world.begin(address)
        else:
            os.kill(int(rng.choice(busy)), 9)
            world.kills["a worker of Ray"] += 1
        struck += 1
        early, again = rng.random() < 0.1, time.monotonic() + rng.uniform(0, 3)
    world.lives["index"] += 1
    world.compare(address)
    until = time.monotonic() + GONE_IN
    while left := {number: title for number, title in dead.items() if _title(number) == title != ""}:
        if time.monotonic() > until:
            raise LossError(f"processes outlive the command that was killed: {left}")
        time.sleep(0.1)


def push_life(world: World, rng: np.random.Generator, most: int) -> None:
    """A push to an empty database; the server dies, and now and then who pushes. Raises LossError."""
    address = world.database()
    name = address.split("?")[0].rpartition("/")[2]
    for attempt in range(most + 1):
        child = world.begin(address)
        target = int(rng.integers(_pushed(world, name), VIDEOS + 2))
        while (status := ended(child)) is None and (attempt == most or _pushed(world, name) < target):
            time.sleep(0.03)
        if status is None:
            time.sleep(rng.uniform(0, 0.01))
            if rng.random() < 0.25:
                kill(child, everyone=False)
                world.kills["the command, while it pushed"] += 1
            else:
                world.server.kill()
                world.kills["the server, while it was pushed to"] += 1
                status = wait(child)
                if status not in (0, 2) or "Traceback" in world.said():
                    raise LossError(f"of a server that went away it says, with status {status}: {world.said()}")
                world.server.start()
            world.resumes += 1
        elif status:
            raise LossError(f"ends with status {status}: {world.said()}")
        else:
            break
    world.lives["push"] += 1
    world.compare(address)


def _pushed(world: World, name: str) -> int:
    """How many videos are there by now."""
    import psycopg

    try:
        return int(world.server.sql(name, "SELECT count(*) FROM cacl_videos")[0][0])
    except psycopg.errors.UndefinedTable:
        return 0


def campaign(world: World, kills: int, seed: int, only: str = "") -> None:
    """Kill at least so many times: three of five in indexing, the others in pushes. Raises LossError."""
    rng = np.random.default_rng(seed)
    while (left := kills - world.kills.total()) > 0:
        pushing = sum(number for what, number in world.kills.items() if "push" in what)
        life = only or ("push" if pushing < 0.4 * world.kills.total() else "index")
        (push_life if life == "push" else index_life)(world, rng, min(left, MOST[life]))
        print(f"{world.kills.total()} kills: {life} ended the same", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="at least (100)")
    parser.add_argument("--seed", type=int, default=0, help="of the instants (0)")
    parser.add_argument("--only", default="", choices=MOST, help="one kind of lives (both)")
    arguments = parser.parse_args()
    if "CACL_ALONE" not in os.environ:
        os.environ["CACL_ALONE"] = "1"
        words = alone([sys.executable, *sys.argv])
        os.execvp(words[0], words)
    folder = Path(tempfile.mkdtemp(prefix="cacl-chaos-"))
    os.environ["RAY_TMPDIR"] = str(folder)
    warm()
    for name in ("cacl.indexing.build", "cacl.indexing.on_server.push", "cacl.models.load", "psycopg"):
        importlib.import_module(name)
    world = World(folder)
    try:
        campaign(world, arguments.kills, arguments.seed, arguments.only)
    except (LossError, TimeoutError) as loss:
        print(f"LOST: {loss}\nThe files are kept in {folder}", file=sys.stderr)
        return 1
    finally:
        print(world, flush=True)
        world.server.remove()
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
