"""A file read by ranges is the file; what is fetched is what was asked for, and little more."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from video_server import VideoServer

from cacl.data.remote import place, ranged, servers
from cacl.data.remote.ranged import RangedFile
from cacl.errors import VideoError

pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'cacl[remote]'")
SIZE = 3_000_001


@pytest.fixture(scope="module")
def content() -> bytes:
    return random.Random(0).randbytes(SIZE)


@pytest.fixture
def server(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VideoServer]:
    monkeypatch.setattr(servers, "_PAUSE", 0.001)
    (tmp_path / "a.mp4").write_bytes(content)
    server = VideoServer(tmp_path)
    yield server
    server.close()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kept", [2**25, 300_000])
def test_any_reading_gives_the_file(
    server: VideoServer, content: bytes, seed: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranged, "_KEPT", kept)
    draw, file = random.Random(seed), RangedFile(server.url + "a.mp4")
    for _ in range(200):
        if draw.random() < 0.3:
            file.seek(draw.randrange(SIZE + 10))
        if draw.random() < 0.2:
            file.expect(draw.randrange(SIZE))
        at, count = file.tell(), draw.choice([1, 16, 32_768, 500_000])
        found = file.read(count)
        assert found == content[at : at + len(found)]
        assert (len(found) > 0) == (at < SIZE)
        assert len(found) <= count
    assert sum(map(len, ranged._kept.values())) <= kept + 2**21


def test_seeking_is_as_of_a_file(server: VideoServer) -> None:
    file = RangedFile(server.url + "a.mp4")
    assert file.seek(-1, 2) == SIZE - 1
    assert len(file.read(10)) == 1
    assert file.seek(-5, 1) == SIZE - 5
    assert file.tell() == SIZE - 5
    assert file.size == SIZE


def test_from_one_end_to_the_other_every_byte_comes_once(server: VideoServer, content: bytes) -> None:
    file, got = RangedFile(server.url + "a.mp4"), bytearray()
    while more := file.read(32_768):
        got += more
    assert bytes(got) == content
    assert server.sent == SIZE + 1  # one byte to know how long it is
    assert len(server.asked) < 10


def test_what_is_expected_comes_in_one_range(server: VideoServer) -> None:
    file = RangedFile(server.url + "a.mp4")
    server.asked.clear()
    file.seek(1_000_000)
    file.expect(1_234_567)
    while file.tell() < 1_234_567:
        file.read(32_768)
    assert server.asked == [("a.mp4", 1_000_000, 1_234_567)]


def test_what_is_kept_is_not_sent_for_again(server: VideoServer) -> None:
    file = RangedFile(server.url + "a.mp4")
    for start, stop in ((1_500_000, 1_700_000), (1_000_000, 1_600_000)):
        file.seek(start)
        file.expect(stop)
        while file.tell() < stop:
            file.read(32_768)
    server.close()  # so that all answers are there
    assert sorted(server.asked) == [("a.mp4", 0, 1), ("a.mp4", 1_000_000, 1_500_000), ("a.mp4", 1_500_000, 1_700_000)]


def test_what_was_read_is_kept(server: VideoServer) -> None:
    file = RangedFile(server.url + "a.mp4")
    file.read(1000)
    server.asked.clear()
    file.seek(10)
    assert len(file.read(500)) == 500
    assert not server.asked


def test_of_the_name_only_the_suffix_reaches_the_decoder() -> None:
    assert ranged._suffix("https://host/img%d.jpg?x=.mp4") == ".jpg"
    assert ranged._suffix("s3://bucket/a.b/c") == ""
    assert ranged._suffix("s3://bucket/a.m p4") == ""


def test_a_broken_connection_is_a_reason_that_passes(server: VideoServer) -> None:
    from cacl.data.videos.passing import may_pass

    file = RangedFile(server.url + "a.mp4")
    server.always["a.mp4"] = "short"
    with pytest.raises(VideoError, match=r"cannot be fetched \(.*, 5 times\)") as caught:
        file.read(10)
    assert may_pass(caught.value.reason)
    server.always.clear()
    assert len(file.read(10)) == 10
    place.forget()
