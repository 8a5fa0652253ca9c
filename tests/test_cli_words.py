"""Small promises of the command line: the version, whole sentences, true help."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cacl as library

Command = Callable[..., Any]


def test_the_version(cacl: Command) -> None:
    ended = cacl("--version")
    assert (ended.status, ended.out) == (0, f"cacl {library.__version__}\n")


@pytest.mark.parametrize(("words", "sentence"), [
    (["pretran"], "No such command 'pretran'. Did you mean 'pretrain'? See: cacl --help\n"),
    (["check"], "Missing argument 'videos'. See: cacl check --help\n"),
])  # fmt: skip
def test_a_usage_error_is_one_sentence_after_another(words: list[str], sentence: str, cacl: Command) -> None:
    ended = cacl(*words)
    assert (ended.status, ended.err.lower()) == (2, sentence.lower())


def test_a_folder_in_the_place_of_a_command(cacl: Command) -> None:
    Path("my birds").mkdir()
    ended = cacl("my birds")
    assert ended.status == 2
    assert "cacl check 'my birds' if it holds videos, else cacl info 'my birds'. See: cacl --help" in ended.err


def test_check_ends_with_what_to_set(cacl: Command, squares: Path) -> None:
    ended = cacl("check", squares)
    assert ended.status == 0
    lines = ended.out.splitlines()
    assert lines[-4].startswith("12 used, 0 skipped")
    assert lines[-3] == "25 frames a second: what the network sees at once, a clip of 29 frames, lasts 1.16 s."
    assert lines[-2].startswith("8 videos to train on are few for batches of 32: try --batch-size 8")
    assert lines[-1] == "Only headers were read: with --deep every video is decoded to its end."
    assert cacl("check", squares, "--deep").out.splitlines() == lines[:-1]


@pytest.mark.parametrize(("verb", "trains"), [("check", False), ("prepare", False), ("pretrain", True)])
def test_help_says_of_lists_what_the_verb_does(verb: str, trains: bool, cacl: Command) -> None:
    ended = cacl(verb, "--help")
    assert ended.status == 0
    text = " ".join(ended.out.replace("│", " ").split())
    assert ("trains on the train list" in text) == trains


@pytest.mark.parametrize("words", [["--lists", "."], ["--split", "2"]])
def test_the_parts_of_a_run_are_not_dealt_anew(words: list[str], finished: Path, cacl: Command) -> None:
    cacl("evaluate", finished, *words).refused("leave out --lists and --split, or name the videos too")
