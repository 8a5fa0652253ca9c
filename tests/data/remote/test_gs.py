"""``gs://`` against a Google Storage on loopback: what it has, ranges of it, lists, and whole commands."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from video_server import gs_server, put_folder

from cacl.data.remote import servers
from cacl.data.remote.listing import objects
from cacl.data.remote.servers import Unfetched, facts_of, fetch
from cacl.data.videos.scan import scan
from cacl.data.videos.store import FrameStore, build_store
from cacl.errors import UserError

CONTENT = bytes(range(256)) * 8


@pytest.fixture(scope="module")
def folder(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(squares / "test", tmp_path_factory.mktemp("gs") / "videos"))
    (folder / "notes.txt").write_text("not a video")
    return folder


@pytest.fixture(scope="module")
def google(folder: Path) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch, gs_server(patch, "archive") as server:
        put_folder(folder, "archive", "videos", scheme="gs")
        servers.system_of("gs://archive").pipe_file("archive/a.bin", CONTENT)
        yield server


def test_facts_and_ranges(google: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = facts_of("gs://archive/a.bin")
    assert (facts.size, facts.folder) == (len(CONTENT), False)
    assert facts.changed > 10**18
    assert facts.tag
    assert facts_of("gs://archive/videos").folder
    for start, stop in ((0, 1), (10, 20), (2000, 2048)):
        assert fetch("gs://archive/a.bin", start, stop) == CONTENT[start:stop]
    monkeypatch.setattr(servers, "_PAUSE", 0.001)
    with pytest.raises(Unfetched, match="ends early: 48 bytes came of 100"):
        fetch("gs://archive/a.bin", 2000, 2100)
    before = facts.stamp
    servers.system_of("gs://archive").pipe_file("archive/b.bin", CONTENT[:5])
    assert facts_of("gs://archive/b.bin").stamp != before


def test_lists(google: Any, folder: Path) -> None:
    found = dict(objects("gs://archive/videos"))
    assert set(found) == {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert found["notes.txt"].size == 11


@pytest.mark.parametrize("url", ["gs://archive/nothing", "gs://nobody/a.bin"])
def test_what_is_not_there(google: Any, url: str) -> None:
    with pytest.raises(Unfetched, match="there is nothing of this name") as caught:
        facts_of(url)
    assert caught.value.missing
    with pytest.raises(UserError, match=f"{url}: there is nothing of this name"):
        scan(url)


def test_a_prefix_is_looked_at_as_the_folder_is(google: Any, folder: Path, cacl: Callable[..., Any]) -> None:
    for name, videos in (("here.store", folder), ("there.store", "gs://archive/videos")):
        ended = cacl("prepare", videos, "--out", name, "--size", 24, 32, "--workers", 1)
        assert ended.status == 0, ended.err
    here, there = FrameStore("here.store"), FrameStore("there.store")
    assert there.catalog.videos == here.catalog.videos
    assert len(there.catalog.videos) == 4
    assert [item.path for item in there.catalog.skipped] == ["notes.txt"]
    for file in ("frames.bin", "offsets.npy"):
        assert (here.path / file).read_bytes() == (there.path / file).read_bytes()


def test_a_store(google: Any, folder: Path, tmp_path: Path, cacl: Callable[..., Any]) -> None:
    here = build_store(scan(folder), tmp_path / "videos.store", height=24, width=32)
    put_folder(here.path, "archive", "made/videos.store", scheme="gs")
    there = FrameStore("gs://archive/made/videos.store")
    for number, video in enumerate(here.catalog.videos):
        assert np.array_equal(there.read(number, np.arange(video.frames)), here.read(number, np.arange(video.frames)))
    ended = cacl("check", "gs://archive/made/videos.store")
    assert (ended.status, "4 used" in ended.out) == (0, True), ended.err


def test_embedding(google: Any, folder: Path, finished: Path, tmp_path: Path, cacl: Callable[..., Any]) -> None:
    for name, videos in (("here", folder), ("there", "gs://archive/videos")):
        ended = cacl("embed", videos, "--model", finished, "--out", tmp_path / name)
        assert ended.status == 0, ended.err
    assert (tmp_path / "here" / "vectors.npy").read_bytes() == (tmp_path / "there" / "vectors.npy").read_bytes()


def test_requests_are_made_by_us_alone(google: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """The library makes each six times, which takes half a minute, and logs tracebacks that the user would see."""
    from gcsfs.retry import HttpError

    system, made = servers.system_of("gs://archive"), list[int]()
    monkeypatch.setattr(servers, "_PAUSE", 0.001)

    def answers(status: int) -> Any:
        async def get(*words: Any, **more: Any) -> Any:
            made.append(status)
            raise (
                HttpError({"code": status, "message": "no"})
                if status != 403
                else OSError("Forbidden: archive/a.bin\nno")
            )

        return get

    for status, says, times in (
        (503, r"the server says 503 \(no.*\), 5 times", 5),
        (401, "the server says 401", 1),
        (403, "access is denied", 1),
    ):
        made.clear()
        monkeypatch.setattr(system, "_call", answers(status))
        with caplog.at_level(logging.DEBUG), pytest.raises(Unfetched, match=says):
            fetch("gs://archive/a.bin", 0, 10)
        assert len(made) == times


def test_nobody_there(folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(servers, "_PAUSE", 0.001)
    with pytest.MonkeyPatch.context() as patch, gs_server(patch, "archive") as server:
        facts_of("gs://archive")
        server.stop()
        with pytest.raises(Unfetched, match=r"the server cannot be reached .*, 5 times"):
            fetch("gs://archive/a.bin", 0, 10)
    assert not caplog.records
