"""An address behaves as a path, and comes out as it went in."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from cacl.data.remote.place import RemotePath, file_at, place, why_no_address
from cacl.errors import UserError


def test_below_an_address_names_are_joined() -> None:
    root = place("s3://bucket/videos/")
    assert str(root) == os.fspath(root) == "s3://bucket/videos"
    file = root / "a" / "b c.mp4"
    assert str(file) == "s3://bucket/videos/a/b c.mp4"
    assert (str(file.parent), file.name, file.suffix) == ("s3://bucket/videos/a", "b c.mp4", ".mp4")
    assert file.absolute() == file.resolve() == file
    assert file.relative_to(root).as_posix() == "a/b c.mp4"
    assert isinstance(pickle.loads(pickle.dumps(file)), RemotePath)
    assert str(pickle.loads(pickle.dumps(file))) == str(file)


def test_a_path_stays_a_path(tmp_path: Path) -> None:
    assert type(place(tmp_path)) is type(tmp_path)
    assert type(place("videos/s3:/x")) is type(tmp_path)
    assert file_at(tmp_path, "a/b.mp4") == tmp_path / "a" / "b.mp4"
    assert str(file_at(tmp_path, "https://host/a.mp4?part=1")) == "https://host/a.mp4?part=1"


@pytest.mark.parametrize("text", ["https://host//a.mp4", "s3://bucket/./a.mp4", "https://host/a.mp4?to=x//y"])
def test_what_a_path_would_change_is_refused(text: str) -> None:
    assert why_no_address(text)
    with pytest.raises(UserError, match="cannot be read here"):
        place(text)
