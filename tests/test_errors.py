from __future__ import annotations

import ast
import pickle
import re
from pathlib import Path

import pytest

import cacl
from cacl.errors import UserError, VideoError, counted, did_you_mean, printable, quoted


def test_video_error_names_the_file_and_the_reason_and_travels_between_processes():
    error = VideoError("a b/ç.mp4", "no video stream found (audio only)")
    again = pickle.loads(pickle.dumps(error))
    for each in (error, again):
        assert (each.path, each.reason) == ("a b/ç.mp4", "no video stream found (audio only)")
        assert str(each) == "a b/ç.mp4: no video stream found (audio only)"
    assert not isinstance(error, UserError)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("optim.lrr", " Did you mean 'optim.lr'?"),
        ("temperature", " Did you mean 'method.temperature'?"),
        ("xyzzy", ""),
    ],
)
def test_did_you_mean(name, expected):
    assert did_you_mean(name, ["optim.lr", "method.temperature", "data.frames"]) == expected


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 videos"), (1, "1 video"), (2, "2 videos"), (1204, "1 204 videos")]
)
def test_counted(number, expected):
    assert counted(number, "video") == expected


def test_did_you_mean_takes_any_iterable():
    assert did_you_mean("smal", iter({"small": 1, "paper": 2})) == " Did you mean 'small'?"
    assert did_you_mean("x", []) == ""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a b/ç 日本　語 🐦.mp4", "a b/ç 日本　語 🐦.mp4"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        (b"latin-\xe9.mp4".decode("utf-8", "surrogateescape"), r"latin-\xe9.mp4"),
        ("\u202egnp.exe\u2028", r"\u202egnp.exe\u2028"),
        ("\ud800", r"\ud800"),
    ],
)
def test_names_as_text(name, expected):
    assert printable(name) == expected


PATHS = {
    "path",
    "out",
    "run",
    "folder",
    "index",
    "videos",
    "model",
    "file",
    "resume",
    "parent",
    "data",
    "lists",
    "place",
}
COMMAND = re.compile(r"\bcacl (?:[a-z]+|X)\b[^.:;,()]*$")  # that has not come to its end


def test_a_path_in_a_command_that_is_printed_can_be_pasted() -> None:
    """Every one of them goes through ``quoted``, at once or where its name was given."""
    bare = []
    for file in sorted(Path(cacl.__path__[0]).rglob("*.py")):
        source = file.read_text(encoding="utf-8")
        safe = {name for name in PATHS if f" {name} = quoted(" in source}
        for text in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.JoinedStr)):
            before = ""
            for part in text.values:
                if isinstance(part, ast.FormattedValue):
                    word = ast.unparse(part.value)
                    if COMMAND.search(before) and word.split(".")[-1] in PATHS - safe:
                        bare.append(f"{file.name}, line {part.lineno}: {word}")
                    before += "X"
                elif isinstance(part, ast.Constant):
                    before += str(part.value)
    assert not bare
    assert quoted(Path("my videos") / "a'b") == "'my videos/a'\"'\"'b'"
    assert quoted("runs/mine") == "runs/mine"
