"""Requests are tried again, up to a limit; what a server gives in place of a range is told from it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from video_server import VideoServer

from cacl.data.remote import servers
from cacl.data.remote.servers import Unfetched, facts_of, fetch, is_url
from cacl.errors import UserError

pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'cacl[remote]'")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VideoServer]:
    monkeypatch.setattr(servers, "_PAUSE", 0.001)
    (tmp_path / "a.mp4").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "empty.mp4").write_bytes(b"")
    server = VideoServer(tmp_path)
    yield server
    server.close()


def test_an_address_is_one_of_few_schemes() -> None:
    assert all(map(is_url, ("s3://b/k", "gs://b", "https://h/x", "http://127.0.0.1:80/x")))
    assert not any(map(is_url, ("s3:/b", "videos/s3://b", "file:///etc", "hf://a", "https://", "https:///x", "")))


def test_what_is_asked_for_comes(server: VideoServer) -> None:
    assert fetch(server.url + "a.mp4", 200, 300) == (bytes(range(256)) * 4)[200:300]
    assert facts_of(server.url + "a.mp4").size == 1024
    assert facts_of(server.url + "empty.mp4").size == 0
    assert server.sent == 101


@pytest.mark.parametrize("fault", ["drop", "short", "503", "429"])
def test_a_fault_that_passes_is_tried_again(server: VideoServer, fault: str) -> None:
    server.faults["a.mp4"] = [fault] * 4
    assert fetch(server.url + "a.mp4", 0, 10) == bytes(range(10))


@pytest.mark.parametrize(("fault", "says"), [("drop", "broke"), ("short", "broke"), ("503", "says 503")])
def test_five_times_and_no_more(server: VideoServer, fault: str, says: str) -> None:
    server.faults["a.mp4"] = [fault] * 20
    with pytest.raises(Unfetched, match=f"{says}.*, 5 times"):
        fetch(server.url + "a.mp4", 0, 10)
    # aiohttp asks once more itself where a connection that it had kept was closed
    assert len(server.faults["a.mp4"]) == 15 or (fault == "drop" and len(server.faults["a.mp4"]) >= 10)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("404", "says 404"), ("403", "says 403"), ("page", "a web page, not a video"), ("whole", "gives no ranges"),
        ("go http://localhost:9/a.mp4", r"sends to another host \(http://localhost/…\): name that address"),
    ],
)  # fmt: skip
def test_what_does_not_pass_is_asked_once(server: VideoServer, fault: str, says: str) -> None:
    server.faults["a.mp4"] = [fault]
    with pytest.raises(Unfetched, match=says):
        facts_of(server.url + "a.mp4")
    assert facts_of(server.url + "a.mp4").size == 1024


def test_a_redirect_on_the_same_host_is_followed(server: VideoServer) -> None:
    server.always["b.mp4"] = "go /a.mp4"
    (server.folder / "b.mp4").write_bytes(b"other")
    assert fetch(server.url + "b.mp4", 0, 5) == bytes(range(5))


def test_nobody_there(server: VideoServer) -> None:
    server.close()
    with pytest.raises(Unfetched, match="cannot be reached"):
        fetch(server.url + "a.mp4", 0, 1)


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    servers._started.cache_clear()
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UserError, match=r'pip install "fsspec>=.*" "s3fs>='):
        facts_of("s3://bucket/a.mp4")
    servers._started.cache_clear()
