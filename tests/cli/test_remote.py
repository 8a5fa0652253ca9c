"""Addresses on the command line: where they are taken, and one sentence where they are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from squares import square
from video_server import VideoServer

from cacl.data.media.encode import write_video
from cacl.data.remote import place

pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'cacl[remote]'")
Command = Callable[..., Any]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[VideoServer]:
    place.forget()
    folder = tmp_path / "served"
    folder.mkdir()
    for number in range(2):
        write_video(folder / f"v{number}.mp4", square(40, seed=number), fps=10)
    server = VideoServer(folder)
    yield server
    server.close()


def test_a_store_of_a_list_of_addresses_is_that_of_the_files(
    cacl: Command, server: VideoServer, tmp_path: Path
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{server.url}v{number}.mp4 square\n" for number in range(2)))
    assert cacl("prepare", server.folder, "--out", "here.store", "--size", 32, 40, "--workers", 1).status == 0
    ended = cacl("prepare", names, "--out", "there.store", "--size", 32, 40, "--workers", 1)
    assert ended.status == 0, ended.err
    for file in ("frames.bin", "offsets.npy"):
        assert Path("here.store", file).read_bytes() == Path("there.store", file).read_bytes()
    assert f"{server.url}v0.mp4" in Path("there.store", "videos.csv").read_text()


def test_one_video(cacl: Command, server: VideoServer) -> None:
    ended = cacl("check", server.url + "v1.mp4")
    assert (ended.status, "1 used, 0 skipped (of 1 file); 40 frames" in ended.out) == (0, True)


def test_one_sentence_where_an_address_is_no_video(cacl: Command, server: VideoServer) -> None:
    server.always["v0.mp4"] = "page"
    for name, says in (("v0.mp4", "a web page, not a video"), ("v9.mp4", "the server says 404")):
        ended = cacl("check", server.url + name)
        assert (ended.status, ended.err.count("\n")) == (2, 1)
        assert f"{server.url}{name}: {says}" in ended.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("pretrain", "s3://bucket/videos"), "s3://bucket/videos is an address, and this is for what lies on a disk"),
        (("check", "videos", "--csv", "s3://bucket/a.csv"), "s3://bucket/a.csv is an address: name a file or folder"),
        (("check", "https://host//a.mp4"), "an address with an empty part (//)"),
    ],
)
def test_where_none_is_taken(cacl: Command, words: tuple[str, ...], says: str) -> None:
    ended = cacl(*words)
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert says in ended.err
    assert not any(Path.cwd().iterdir())


def test_without_credentials(cacl: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("s3fs", reason="needs s3fs: pip install 'cacl[remote]'")
    from video_server import forget_servers

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_servers()
    ended = cacl("check", "s3://bucket/videos")
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert "no credentials for s3:// were found: set AWS_ACCESS_KEY_ID" in ended.err
    forget_servers()
