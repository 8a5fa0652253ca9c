"""Settings and videos that are wrong: one sentence, status 2, nothing made and nothing damaged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cacl.models.weights import save_frame_weights
from cacl.training.pretrain import resolve_settings
from cacl.training.wiring import build_frames_network

Command = Callable[..., Any]


# ---- settings that are wrong ---------------------------------------------------------------------------------------


def test_all_that_is_wrong_with_a_settings_file_is_told_at_once(cacl: Command, squares: Path, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("optim:\n  lr_rate: 1\n  epochs: many\nmethod:\n  temperature: -1\naugment:\n  size: 400\n")
    ended = cacl("pretrain", squares, "--config", file)
    assert ended.status == 2
    assert "Traceback" not in ended.err
    lines = ended.err.splitlines()
    assert lines[0] == "optim.lr_rate is not a setting. Did you mean 'optim.lr'? (file bad.yaml)"
    assert any(line.startswith("optim.epochs must be") and "'many'" in line for line in lines)
    assert any(line.startswith("method.temperature must be above 0 (found -1") for line in lines)
    assert not any(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (None, ["nowhere.yaml", "cannot be read"]),
        ("optim: [\n", ["nowhere.yaml", "YAML"]),
        ("just words\n", ["nowhere.yaml", "found str"]),
        ("optim:\n  lr: 1\n  lr: 2\n", ["nowhere.yaml", "lr is given twice"]),
    ],
)
def test_a_settings_file_that_is_none(
    text: str | None, parts: list[str], cacl: Command, squares: Path, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "nowhere.yaml").write_text(text)
    cacl("pretrain", squares, "--config", tmp_path / "nowhere.yaml").refused(*parts)


def test_assignments(cacl: Command, squares: Path) -> None:
    cacl("pretrain", squares, "--set", "optim.lr").refused("expected KEY=VALUE")
    cacl("pretrain", squares, "--set", "optim.lrr=1").refused("Did you mean 'optim.lr'?")
    cacl("pretrain", squares, "--set", "run.device=cuda:99").refused("run.device is cuda:99")
    assert not any(Path.cwd().iterdir())


def test_frame_weights_of_the_wrong_architecture(
    cacl: Command, squares: Path, tiny_file: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    wide = resolve_settings(flags={**tiny, "model.frame_width": 8}).settings
    save_frame_weights(tmp_path / "wide", build_frames_network(wide, weights=None))
    torch.save({"state_dict": {"x": torch.zeros(2)}}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("weights")
    for name in ("wide", "other.pth", "text.pth", "none.pth"):
        word = f"model.frame_weights={tmp_path / name}"
        cacl("pretrain", squares, "--config", tiny_file, "--set", word).refused(name)
    assert not any(Path.cwd().iterdir())


# ---- videos that are wrong -----------------------------------------------------------------------------------------


def test_a_folder_without_a_video(cacl: Command, tmp_path: Path, tiny_file: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    for words in (["check", folder], ["prepare", folder, "--out", "s"], ["pretrain", folder, "--config", tiny_file]):
        cacl(*words).refused(folder, "no video found")
    (folder / "notes.txt").write_text("notes")
    cacl("check", folder).refused(folder, "no video found among 1 file", "text file")
    assert not [path for path in Path.cwd().rglob("*") if path.is_file()]


def test_a_missing_folder(cacl: Command, tmp_path: Path, finished: Path) -> None:
    folder = tmp_path / "nowhere"
    for words in (["check", folder], ["prepare", folder, "--out", "s"], ["pretrain", folder], ["evaluate", folder]):
        cacl(*words).refused(folder)
    cacl("evaluate", finished, folder).refused(folder)
    cacl("pretrain", "--resume", folder).refused(folder)
    cacl("pretrain", tmp_path / "here", "--lists", folder).refused(folder)
    assert not any(Path.cwd().iterdir())


def test_one_file_that_is_no_video(cacl: Command, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(np.random.default_rng(0).bytes(2000))
    cacl("check", tmp_path / "a.mp4").refused("no video found", "cannot be opened as a video")
    cacl("pretrain", tmp_path / "a.mp4").refused("no video found")


def test_lists_that_name_missing_files(cacl: Command, squares: Path, tmp_path: Path, tiny_file: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "trainlist01.txt").write_text("".join(f"a/gone{n}.avi 1\n" for n in range(9)))
    (lists / "testlist01.txt").write_text("a/v08.avi\n")
    words = ["pretrain", squares, "--config", tiny_file, "--lists", lists]
    cacl(*words, "--out", "r").refused(lists, "9 of the 10", "gone0")
    cacl(*words, "--split", 2).refused("no lists of split 2", "of 1")
    assert not [path for path in Path.cwd().rglob("*") if path.is_file()]
    names = [f"{c}/v{n:02}.avi" for n in range(8) for c in ["ab"[n % 2]]]
    (lists / "trainlist01.txt").write_text("".join(f"{name} 1\n" for name in [*names, "a/gone.avi"]))
    ended = cacl("check", squares, "--lists", lists)
    assert ended.status == 0
    assert "gone.avi" in ended.out
    assert "1 named in a list but not there" in ended.out


def test_names_in_any_letters(cacl: Command, squares: Path, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "videos")
    os.mkdir(folder)
    for name in (b"\xff broken.txt", "vidéo 日本.mp4".encode(), b"caf\xe9.mp4"):
        shutil.copy(squares / "train" / "a" / "v00.mp4", folder + b"/" + name)
    ended = cacl("check", tmp_path / "videos", "--csv", tmp_path / "list.csv")
    assert ended.status == 0, ended.err
    assert "3 used, 0 skipped (of 3 files)" in ended.out


def test_a_text_file_in_place_of_the_videos_is_read_as_a_list(cacl: Command, squares: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("# Of gulls\n" + "What was seen on the cliffs in the long and rainy summer\n" * 3)
    for words in (["check", notes], ["pretrain", notes, "--out", "r"]):
        ended = cacl(*words)
        ended.refused(f"{notes} is text, so it was read as a list of videos, one a line: 3 of the 3 videos named there")
        assert "rainy" not in ended.err  # no more of a line than a name takes
    assert not [path for path in Path.cwd().rglob("*") if path.is_file()]


@pytest.mark.parametrize("verb", ["check", "pretrain", "prepare"])
def test_a_split_where_there_are_no_lists_is_not_passed_over(verb: str, cacl: Command, squares: Path) -> None:
    words = [squares, "--split", 3, *(["--out", "made"] if verb != "check" else [])]
    cacl(verb, *words).refused(squares, "split 3 was asked for", "--lists")
    assert not [path for path in Path.cwd().rglob("*") if path.is_file()]


def test_what_is_neither_file_nor_folder(cacl: Command) -> None:
    cacl("check", "/dev/null").refused(
        "/dev/null is neither a folder nor a file: name the folder that holds the videos."
    )
    cacl("info", "/dev/null").refused("/dev/null is nothing that cacl writes", "name a run, an encoder")


def test_info_says_what_else_it_may_be(cacl: Command, squares: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("words")
    cacl("info", tmp_path / "notes.md").refused("nothing that cacl writes", "name a run, an encoder, a store")
    cacl("info", squares).refused(f"if it holds videos: cacl check {squares}")
    video = squares / "train" / "a" / "v00.mp4"
    cacl("info", video).refused(f"if it is a video: cacl check {video}")


def test_a_run_is_not_imported(cacl: Command, finished: Path) -> None:
    cacl("import", finished, "--out", "e").refused(f"{finished} is a run of cacl already", "use it as it is")


@pytest.mark.parametrize("words", [["demo"], ["pretrain", "VIDEOS"], ["prepare", "VIDEOS"], ["reproduce", "table1"]])
def test_a_place_that_cannot_be_made_is_one_sentence(words: list[str], cacl: Command, squares: Path) -> None:
    cacl(*[squares if word == "VIDEOS" else word for word in words], "--out", "/dev/null/r").refused(
        "/dev/null/r", "choose another --out"
    )


def test_an_empty_word_is_not_this_folder(cacl: Command, squares: Path) -> None:
    """As a variable of the shell that is not set gives it."""
    for words in (
        ["pretrain", ""],
        ["check", ""],
        ["pretrain", squares, "--out", ""],
        ["finetune", squares, "--model", ""],
    ):
        cacl(*words).refused("One of the words given is empty")
    assert not any(Path.cwd().iterdir())


def test_numbers_below_the_first(cacl: Command, squares: Path) -> None:
    cacl("pretrain", squares, "--split", 0).refused("--split", "1")
    cacl("prepare", squares, "--out", "s", "--workers", -1).refused("--workers", "0")
    assert not any(Path.cwd().iterdir())


def test_a_misspelt_untrained(cacl: Command, squares: Path) -> None:
    cacl("finetune", squares, "--model", "untraind").refused("untraind does not exist. Did you mean 'untrained'?")


def test_the_frames_of_a_store_are_told_as_its_part(cacl: Command, squares: Path) -> None:
    assert cacl("prepare", squares, "--out", "s", "--size", 32, 40, "--workers", 0).status == 0
    assert cacl("info", "s/frames.bin").out.startswith("s/frames.bin: part of a frame store\n")
