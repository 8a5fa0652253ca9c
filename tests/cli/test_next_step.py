"""``cacl`` alone: what it says to type is typed as it stands, and it says so fast."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from cacl import cli

Command = Callable[..., Any]


def commands(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("  cacl ")]
    return [shlex.split(re.split(r"\s{3,}", line.strip())[0])[1:] for line in lines]


def check_parse(found: list[list[str]], patch: pytest.MonkeyPatch) -> None:
    """Each is a command line that the command itself takes."""
    patch.setattr(sys.modules["cacl.cli.app"], "check_there", lambda path: None)
    tree: Any = typer.main.get_command(cli.app)
    for words in found:
        tree.commands[words[0]].make_context(words[0], words[1:])


def make_run(folder: Path, *, finished: bool, videos: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("preset: small\n")
    (folder / "data.json").write_text(json.dumps({"videos": str(videos.resolve())}))
    if finished:
        (folder / "finished.json").write_text("{}")


def test_in_an_empty_folder_it_names_the_demo(cacl: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = cacl()
    assert ended.status == 0
    assert "There is no video in this folder" in ended.out
    assert [words[0] for words in commands(ended.out)] == ["demo", "check", "doctor"]
    check_parse(commands(ended.out), monkeypatch)


def test_outside_the_environment_it_says_how_to_get_into_it(cacl: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.name == "nt":
        pytest.skip("of the shells of Unix")
    scripts = Path.cwd().resolve()  # where the command lies that the fixture calls
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "activate" not in cacl().out
    Path("activate").touch()
    assert f"These lines find cacl after: source {scripts}/activate\n" in cacl().out
    monkeypatch.setattr(shutil, "which", lambda name: str(scripts / name))
    assert "activate" not in cacl().out


def test_videos_a_run_and_an_index_have_their_next_commands(cacl: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        file = Path("my birds") / "day" / f"{number}.MP4"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    Path("my birds/notes.txt").touch()
    first = cacl().out
    assert "3 files in my birds look like videos." in first
    assert commands(first) == [["check", "my birds"], ["pretrain", "my birds", "--out", "runs/my birds"]]

    make_run(Path("runs/my birds"), finished=False, videos=Path("my birds"))
    assert ["pretrain", "--resume", "runs/my birds"] in commands(cacl().out)
    Path("runs/my birds/finished.json").write_text("{}")
    told = commands(cacl().out)
    assert told[0] == ["index", "my birds", "--model", "runs/my birds", "--out", "my birds.index"]
    assert told[1] == ["evaluate", "runs/my birds"]
    check_parse(told, monkeypatch)

    about = Path("my birds.index/generations/000001/embedding.json")
    about.parent.mkdir(parents=True)
    about.write_text(json.dumps({"videos": str(Path("my birds").resolve())}))
    Path("my birds.index/index.json").write_text('{"generation": "000001"}')
    told = commands(cacl().out)
    assert [words[0] for words in told] == ["serve", "search", "duplicates", "evaluate", "report", "check"]
    assert told[0] == ["serve", "my birds.index"]
    check_parse(told, monkeypatch)


def test_hidden_folders_and_links_in_circles_are_left_out(cacl: Command) -> None:
    Path(".trash").mkdir()
    Path(".trash/old.mp4").touch()
    Path("loop").symlink_to(".", target_is_directory=True)
    assert "There is no video" in cacl().out


def test_it_loads_no_pytorch(tmp_path: Path) -> None:
    code = "import sys; sys.argv = ['cacl']; from cacl import cli\ntry: cli.main()\nexcept SystemExit: pass\n"
    code += "print([name for name in ('torch', 'av', 'numpy', 'matplotlib') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
