from __future__ import annotations

import pickle

import pytest

from cacl.errors import UserError, VideoError, counted, did_you_mean, printable


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
