"""What a command writes may replace what the same command wrote, and says so; nothing else is ever lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
NOTES = "Written in a long night: not to be lost.\n"


@pytest.fixture(scope="module")
def probed(squares: Path, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished linear probe."""
    from cacl.experiments.recognition.finetune import finetune

    out = tmp_path_factory.mktemp("probed") / "run"
    finetune(squares, model=finished, out=out, linear=True)
    return out


@pytest.fixture
def words(finished: Path, probed: Path, squares: Path) -> Callable[[str], list[Any]]:
    """A command line that writes a file, without the file, by its verb and suffix."""
    export = ["export", finished, "--to"]

    def of(name: str) -> list[Any]:
        return {
            "found.csv": ["check", squares, "--csv"],
            "told.csv": ["classify", probed, squares / "test", "--out"],
            "told.json": ["classify", probed, squares / "test", "--out"],
            "e.safetensors": [*export, "safetensors", "--out"],
            "e.pt2": [*export, "torch", "--out"],
            "e.onnx": [*export, "onnx", "--out"],
            "compared.html": ["report", finished, probed, "--out"],
        }[name]

    return of


FILES = ["found.csv", "told.csv", "told.json", "e.safetensors", "e.pt2", "e.onnx", "compared.html"]


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_the_user_is_not_written_over(name: str, cacl: Command, words: Callable[[str], list[Any]]) -> None:
    Path(name).write_text(NOTES)
    verb = words(name)[0]
    cacl(*words(name), name).refused(f"{name} exists and was not written by cacl {verb}", "move it away")
    assert Path(name).read_text() == NOTES
    assert [path.name for path in Path().iterdir()] == [name]


@pytest.mark.parametrize("name", FILES)
def test_an_older_one_is_replaced_and_it_is_said(name: str, cacl: Command, words: Callable[[str], list[Any]]) -> None:
    Path(name).touch()  # as mktemp makes it
    assert cacl(*words(name), name).status == 0
    again = cacl(*words(name), name)
    assert again.status == 0
    assert f"{name} was there, and has been replaced.\n" in again.err
    assert "replaced" not in again.out


def test_the_list_of_a_run_or_store_is_theirs(cacl: Command, finished: Path, squares: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    before = (run / "videos.csv").read_bytes()
    cacl("check", squares / "test", "--csv", run / "videos.csv").refused("was not written by cacl check")
    assert (run / "videos.csv").read_bytes() == before


def test_what_is_no_file_is_not_replaced(cacl: Command, squares: Path, tmp_path: Path) -> None:
    cacl("check", squares, "--csv", tmp_path).refused(f"{tmp_path} is a folder: name a file in it.")
    cacl("check", squares, "--csv", "/dev/null").refused("/dev/null exists and was not written by cacl check")
    assert Path("/dev/null").is_char_device()


def test_only_what_was_imported_is_replaced_by_an_import(cacl: Command, finished: Path, tmp_path: Path) -> None:
    assert cacl("export", finished, "--to", "safetensors", "--out", "e.safetensors").status == 0
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    before = (run / "encoder" / "model.safetensors").read_bytes()
    for place in (run / "encoder", run, tmp_path / "here" / "e.safetensors"):
        cacl("import", "e.safetensors", "--out", place).refused(f"{place} exists and was not made by cacl import")
    assert (run / "encoder" / "model.safetensors").read_bytes() == before
    Path("empty").mkdir()
    first, second = (cacl("import", "e.safetensors", "--out", "empty") for _ in range(2))
    assert (first.status, first.err) == (0, "")
    assert (second.status, second.err) == (0, "empty was there, and has been replaced.\n")
    assert "imported from  e.safetensors" in cacl("info", "empty").out
