"""``cacl check`` and ``cacl prepare`` on a Ray of this machine: what one process prints and writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cluster.ray_here import environment, run_alone
from pages import run_command


@pytest.mark.slow
def test_check_and_prepare_are_those_of_one_process(squares: Path, bad_media: Path, tmp_path: Path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for file in [*squares.rglob("*.mp4"), bad_media / "breaks_late.mp4", bad_media / "text.mp4"]:
        (videos / file.name).write_bytes(file.read_bytes())
    found: list[list[Any]] = []
    for engine in ("here", "ray"):
        here = tmp_path / engine
        here.mkdir()
        words = [sys.executable, "-m", "cacl", "check", str(videos), "--deep", "--csv", "list.csv", "--engine", engine]
        checked = run_alone(words, here) if engine == "ray" else plain(words, here)
        assert checked.returncode == 0, checked.stderr
        words = [sys.executable, "-m", "cacl", "prepare", str(videos), "--out", "s", "--size", "24", "32"]
        words += ["--engine", engine]
        prepared = run_alone(words, here) if engine == "ray" else plain(words, here)
        assert prepared.returncode == 0, prepared.stderr
        assert (engine == "ray") == ("On Ray with" in checked.stderr) == ("On Ray with" in prepared.stderr)
        files = {file.name: file.read_bytes() for file in (here / "s").iterdir()}
        found.append([checked.stdout, prepared.stdout, (here / "list.csv").read_bytes(), files])
    assert found[0] == found[1]
    assert "breaks" in found[0][0]


def plain(words: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=600, cwd=cwd, env=environment())


def test_what_does_not_go_together(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "ray", None)
    check, prepare = ["check", str(squares)], ["prepare", str(squares), "--out", str(tmp_path / "s")]
    for verb in (check, prepare):
        for more, sentence in (
            (["--engine", "dask"], "--engine is dask; it can be here or ray."),
            (["--address", "auto"], "--address is of a Ray cluster: give it with --engine ray."),
            (["--engine", "ray"], "--engine ray needs Ray, which is not installed"),
        ):
            assert run_command([*verb, *more], monkeypatch) == 2
            assert sentence in capsys.readouterr().err
    for more in (["--shard", "1/2"], ["--merge"]):
        assert run_command([*prepare, "--engine", "ray", *more], monkeypatch) == 2
        assert "leave out --shard and --merge" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
