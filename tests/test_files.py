"""Files are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cacl.errors import UserError
from cacl.files import partial_name, whole, write_whole, writing


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_there_and_nothing_beside_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.json", "größer\n")
    write_whole(tmp_path / "b.bin", b"\0\xff")
    write_whole(tmp_path / "a.json", "new\n")
    assert (tmp_path / "a.json").read_text() == "new\n"
    assert (tmp_path / "b.bin").read_bytes() == b"\0\xff"
    assert names(tmp_path) == ["a.json", "b.bin"]


def test_a_name_that_is_no_text_is_written_with_question_marks(tmp_path: Path) -> None:
    write_whole(tmp_path / "list", os.fsdecode(b"caf\xe9\n"))
    assert (tmp_path / "list").read_bytes() == b"caf?\n"


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_a_full_disk_is_a_sentence_and_leaves_the_old_file(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_whole(tmp_path / "a", "old")

    def full(*arguments: object, **keywords: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(UserError, match=r"/a could not be written \(No space left on device\): make room"):
            write_whole(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_what_a_kill_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / partial_name("a")).write_text("half of somethi")
    write_whole(tmp_path / "a", "all")
    assert names(tmp_path) == ["a"]


def test_an_error_of_the_writer_is_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with whole(tmp_path / "a") as partial:
            partial.write_text("half")
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    new = tmp_path / "file" / "x"
    with pytest.raises(UserError, match=r"file/x could not be written \(Not a directory\)"), writing(new):
        new.mkdir()
