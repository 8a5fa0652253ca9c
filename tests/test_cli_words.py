"""Small promises of the command line: the version, whole sentences, true help."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import cacl
from cacl import cli


def run(words: list[str], patch: pytest.MonkeyPatch) -> int:
    patch.setattr(sys, "argv", ["cacl", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"], monkeypatch) == 0
    assert capsys.readouterr().out == f"cacl {cacl.__version__}\n"


@pytest.mark.parametrize(("words", "sentence"), [
    (["pretran"], "No such command 'pretran'. Did you mean 'pretrain'? See: cacl --help\n"),
    (["check"], "Missing argument 'videos'. See: cacl check --help\n"),
])  # fmt: skip
def test_a_usage_error_is_one_sentence_after_another(
    words: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words, monkeypatch) == 2
    assert capsys.readouterr().err.lower() == sentence.lower()


def test_check_ends_with_what_to_set(
    squares: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", str(squares)], monkeypatch) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].startswith("12 used, 0 skipped")
    assert lines[-2].startswith("8 videos to train on are few for batches of 32: try --batch-size 8")
    assert lines[-1] == "Only headers were read: with --deep every video is decoded to its end."
    assert run(["check", str(squares), "--deep"], monkeypatch) == 0
    assert capsys.readouterr().out.splitlines() == lines[:-1]


@pytest.mark.parametrize(("verb", "trains"), [("check", False), ("prepare", False), ("pretrain", True)])
def test_help_says_of_lists_what_the_verb_does(
    verb: str, trains: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([verb, "--help"], monkeypatch) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert ("trains on the train list" in text) == trains


@pytest.mark.parametrize("words", [["--lists", "."], ["--split", "2"]])
def test_the_parts_of_a_run_are_not_dealt_anew(
    words: list[str], finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(finished), *words], monkeypatch) == 2
    assert "leave out --lists and --split, or name the videos too" in capsys.readouterr().err
