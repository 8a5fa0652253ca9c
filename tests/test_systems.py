"""What other systems lack is pretended here: no fork, no fcntl, no limits of processes, no /proc.

It shows that nothing leans on them, not that it works there: docs/systems.md says what was never run.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from pages import ROOT

from cacl import files, lock
from cacl.data.media import isolated as decoding
from cacl.data.media.isolated import LostVideo, isolated
from cacl.errors import VideoError

PRETENDED = """
import os, sys, pkgutil, importlib, multiprocessing, subprocess, signal, socket, ssl, torch, matplotlib.pyplot
for name in ("register_at_fork", "fork", "sched_getaffinity", "posix_fadvise", "getuid", "geteuid"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
taken = {}
class msvcrt:
    LK_NBLCK = 2
    def locking(descriptor, mode, count):
        key = (os.fstat(descriptor).st_ino, os.lseek(descriptor, 0, os.SEEK_CUR), count)
        holder = taken.setdefault(key, descriptor)
        try:
            os.fstat(holder)
        except OSError:
            holder = taken[key] = descriptor  # it was closed
        if holder != descriptor:
            raise PermissionError(13, "Permission denied")
sys.modules["msvcrt"] = msvcrt
import cacl
sys.platform = "win32"
import cacl.lock
sys.platform = "linux"
names = [m.name for m in pkgutil.walk_packages(cacl.__path__, "cacl.") if not m.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
from cacl.data.media import isolated
isolated.ISOLATING = False
"""


def pretended(code: str, place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PRETENDED + code], cwd=place, capture_output=True, text=True, check=False
    )


def test_everything_is_imported_and_a_folder_is_read_without_what_windows_lacks(squares: Path, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from cacl.lock import FolderLock, InUse
from cacl.machine.hardware import check_limits, check_memory
from cacl.machine.meter import Meter
from cacl.data.videos.scan import scan
with FolderLock(Path(".")):
    try:
        with FolderLock(Path(".")):
            print("entered twice")
    except InUse as error:
        print("in use" in str(error))
with FolderLock(Path(".")):
    print("entered again")
print(check_limits().status, check_memory().status, sorted(Meter().so_far())[0])
print(scan({str(squares)!r}).summary())
from cacl import cli
sys.argv = ["cacl", "check", {str(squares)!r}]
cli.main()
"""
    done = pretended(code, tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == ["True", "entered again", "ok ok peak bytes"]
    assert lines[3].split()[1] == "used,"
    assert any("used" in line for line in lines[4:])


def windows_lock(taken: Any, patch: pytest.MonkeyPatch) -> ModuleType:
    """``cacl/lock.py`` as it is on Windows."""
    patch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_NBLCK=2, locking=taken))
    spec = importlib.util.spec_from_file_location("lock_of_windows", lock.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with patch.context() as inner:
        inner.setattr(sys, "platform", "win32")
        spec.loader.exec_module(module)
    return module


def test_on_windows_a_byte_is_locked_that_nobody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int, int]] = []

    def taken(descriptor: int, mode: int, count: int) -> None:
        seen.append((os.lseek(descriptor, 0, os.SEEK_CUR), mode, count))

    module = windows_lock(taken, monkeypatch)
    (tmp_path / "file").write_text("words")
    with (tmp_path / "file").open("rb") as file:
        file.seek(3)
        module.try_lock(file)
        module.try_lock(file, shared=True)  # there is none
        assert file.tell() == 3
    assert seen == [(2**30, 2, 1)]


@pytest.mark.parametrize(("number", "kind"), [(errno.EACCES, BlockingIOError), (errno.EINVAL, OSError)])
def test_on_windows_what_another_holds_is_told_from_a_disk_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[OSError]
) -> None:
    def taken(*_: int) -> None:
        raise OSError(number, "as Windows says it")

    module = windows_lock(taken, monkeypatch)
    with (tmp_path / "file").open("a+") as file, pytest.raises(OSError) as caught:  # noqa: PT011
        module.try_lock(file)
    assert isinstance(caught.value, BlockingIOError) == (kind is BlockingIOError)


def fails(error: Exception) -> None:
    raise error


def test_where_no_process_can_be_started_for_it_a_video_is_decoded_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "ISOLATING", False)
    monkeypatch.setattr(decoding, "_DecodeProcess", None)
    assert isolated("a.mp4", 1.0, os.getpid) == os.getpid()
    with pytest.raises(LostVideo, match="needs more memory"):
        isolated("a.mp4", 1.0, fails, MemoryError())
    with pytest.raises(VideoError, match="broken"):
        isolated("a.mp4", 1.0, fails, VideoError("a.mp4", "broken"))


def test_a_folder_that_cannot_be_opened_is_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "name", "nt")
        patch.setattr(files.os, "open", None)
        files.sync_folder(tmp_path)
    files.sync_folder(tmp_path)


def test_text_is_read_and_written_as_utf_8_on_every_system() -> None:
    """Where the system's own encoding is another, a file without one named would be misread."""
    command = [sys.executable, "-m", "ruff", "check", "--preview", "--select", "PLW1514", "cacl"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_matrix_for_a_ci_service_names_targets_that_there_are() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))["jobs"]
    targets = (ROOT / "Makefile").read_text(encoding="utf-8")
    words = [line for job in jobs.values() for step in job["steps"] for line in step.get("run", "").splitlines()]
    made = [line.split()[1] for line in words if line.startswith("make ")]
    assert {"test", "lint", "docs", "dist", "test-oldest"} <= set(made)
    assert not [target for target in made if f"\n{target}:" not in targets]
    systems = {one for job in jobs.values() for one in job.get("strategy", {}).get("matrix", {}).get("os", [])}
    assert {name.split("-")[0] for name in systems} == {"ubuntu", "macos", "windows"}
