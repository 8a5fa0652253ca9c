from __future__ import annotations

import pickle

import pytest

from cacl.errors import UserError, VideoError, did_you_mean


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


def test_did_you_mean_takes_any_iterable():
    assert did_you_mean("smal", iter({"small": 1, "paper": 2})) == " Did you mean 'small'?"
    assert did_you_mean("x", []) == ""
