"""Processes that may start a Ray: in a network of their own where that may be, so that nobody outside can connect."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import cacl


def alone(words: list[str]) -> list[str]:
    """The words that run a command in a network of its own, where this user may have one."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'cacl[ray]'")
    if os.getuid() == 0 and shutil.which("unshare") and shutil.which("ip"):
        return ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", *words]
    return words


def environment() -> dict[str, str]:
    """Of such a process and of the workers that it starts."""
    path = os.pathsep.join([str(Path(cacl.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def run_alone(words: list[str], cwd: Path, seconds: float = 600) -> subprocess.CompletedProcess[str]:
    """Run a command; what it says."""
    return subprocess.run(alone(words), capture_output=True, text=True, timeout=seconds, cwd=cwd, env=environment())
