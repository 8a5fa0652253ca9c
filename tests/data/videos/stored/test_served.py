"""A store on a server is the store on the disk, and of its frames hardly more is fetched than what was asked for."""

from __future__ import annotations

import pickle
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from two_stores import two_stores
from video_server import VideoServer, put_folder, s3_server

from cacl.data.remote import place, servers, spans
from cacl.data.remote.spans import read_spans
from cacl.data.videos.scan import scan
from cacl.data.videos.store import FrameStore, is_store
from cacl.errors import UserError

pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'cacl[remote]'")


@pytest.fixture(scope="module")
def served(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``joined.store``, and ``spread.store`` with two shares, one of them made on another disk."""
    folder, disk = tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("disk")
    two_stores(scan(squares), folder, disk, height=24, width=32)
    for share in disk.iterdir():
        shutil.copytree(share, folder / share.name)
    return folder


@pytest.fixture
def server(served: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VideoServer]:
    monkeypatch.setattr(servers, "_PAUSE", 0.001)
    place.forget()
    server = VideoServer(served)
    yield server
    server.close()


def every_frame(frames: FrameStore) -> list[bytes]:
    return [frames.read(n, np.arange(video.frames)).tobytes() for n, video in enumerate(frames.catalog.videos)]


@pytest.mark.parametrize("name", ["joined.store", "spread.store"])
def test_frames_are_those_of_the_disk(server: VideoServer, name: str) -> None:
    here, there = FrameStore(server.folder / name), FrameStore(server.url + name)
    assert there.catalog == here.catalog
    assert (there.height, there.width, there.kind, there.rules) == (here.height, here.width, here.kind, here.rules)
    assert (there.size, there.path) == (here.size, place.place(server.url + name))
    assert every_frame(there) == every_frame(here)
    assert np.array_equal(there.seconds(3), here.seconds(3))
    assert every_frame(pickle.loads(pickle.dumps(there))) == every_frame(here)
    if there.shares is not None:
        there.shares.verify()


def test_a_clip_costs_its_frames(server: VideoServer) -> None:
    """And what is shorter than a request between them; what was read is not asked for again."""
    here, there = FrameStore(server.folder / "joined.store"), FrameStore(server.url + "joined.store")
    small = sum(
        (server.folder / "joined.store" / n).stat().st_size for n in ("manifest.json", "videos.csv", "offsets.npy")
    )
    assert server.sent < small + 10
    offsets = np.load(server.folder / "joined.store" / "offsets.npy")
    first = sum(video.frames for video in here.catalog.videos[:5])
    for clip in (range(3, 20, 2), range(30, 35)):
        server.asked.clear()
        there.read(5, np.array(clip))
        there.read(5, np.array(clip))
        assert server.asked == [
            ("joined.store/frames.bin", int(offsets[first + clip[0]]), int(offsets[first + clip[-1] + 1]))
        ]


def test_nothing_but_the_store_is_asked_for(server: VideoServer) -> None:
    every_frame(FrameStore(server.url + "spread.store"))
    allowed = {"spread.store", *(f"spread.store.share-000{n}-of-0002" for n in (1, 2))}
    assert {name.partition("/")[0] for name, _, _ in server.asked} == allowed
    assert max(stop - start for _, start, stop in server.asked) <= 2**23
    whole = sum(f.stat().st_size for name in allowed for f in (server.folder / name).iterdir() if f.name != ".lock")
    assert server.sent < whole + 100  # each byte once


def test_frames_far_from_each_other_are_ranges_of_their_own(
    server: VideoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = np.random.default_rng(0).bytes(10_000)
    (server.folder / "some.bin").write_bytes(content)
    monkeypatch.setattr(spans, "_NEAR", 100)
    monkeypatch.setattr(spans, "_MOST", 1_000)
    wanted = [(5000, 5010), (0, 400), (450, 500), (700, 1400), (601, 700), (0, 400)]
    assert read_spans(server.url + "some.bin", wanted) == [content[a:b] for a, b in wanted]
    asked = [(a, b) for _, a, b in server.asked if b - a > 1]
    assert asked == [(0, 500), (601, 1400), (5000, 5010)]
    monkeypatch.setattr(spans, "_KEPT", 1_000)
    for start in range(0, 9_000, 450):
        read_spans(server.url + "some.bin", [(start, start + 450)])
    assert sum(len(data) for data in spans._kept.values()) == spans._held <= 1_000


def test_several_threads_read_at_once(server: VideoServer) -> None:
    here, there = FrameStore(server.folder / "spread.store"), FrameStore(server.url + "spread.store")
    wrong: list[int] = []

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(20):
            video, indices = int(rng.integers(12)), rng.integers(0, 40, 5)
            if not np.array_equal(here.read(video, indices), there.read(video, indices)):
                wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_breaks_for_a_moment_is_tried_again(server: VideoServer) -> None:
    there = FrameStore(server.url + "joined.store")
    server.faults["joined.store/frames.bin"] = ["drop", "503", "short"]
    expected = FrameStore(server.folder / "joined.store").read(2, np.arange(9))
    assert np.array_equal(there.read(2, np.arange(9)), expected)
    assert not server.faults["joined.store/frames.bin"]


@pytest.mark.parametrize(
    ("file", "fault", "says"),
    [
        (
            "joined.store/frames.bin",
            "503",
            r"frames\.bin cannot be fetched: the server says 503.*, 5 times\. When it can",
        ),
        ("joined.store/frames.bin", "whole", r"frames\.bin cannot be fetched: the server gives no ranges"),
        ("joined.store/frames.bin", "go http://localhost:9/", r"cannot be fetched: the server sends to another host"),
        ("joined.store/offsets.npy", "drop", r"offsets\.npy cannot be fetched: the connection broke"),
    ],
)
def test_what_is_not_given_ends_in_a_sentence(server: VideoServer, file: str, fault: str, says: str) -> None:
    """A video that the server does not give now is none that is damaged: a training would leave it out for ever."""
    there = FrameStore(server.url + "joined.store")
    server.always[file] = fault
    with pytest.raises(UserError, match=says):
        (FrameStore(server.url + "joined.store") if "offsets" in file else there).read(1, np.arange(7))


def test_a_share_that_is_missing_is_named(server: VideoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = "spread.store.share-0002-of-0002"
    server.always[f"{gone}/frames.bin"] = "404"
    with pytest.raises(UserError, match=rf"its share {server.url}{gone} is not there: put it back, or .* CACL_SHARES"):
        FrameStore(server.url + "spread.store")
    shutil.copytree(server.folder / gone, tmp_path / gone)
    monkeypatch.setenv("CACL_SHARES", str(tmp_path))
    server.asked.clear()
    every_frame(FrameStore(server.url + "spread.store"))
    assert not [name for name, _, _ in server.asked if name.startswith(gone)]


def test_only_an_address_that_ends_so_is_asked_for_a_store(server: VideoServer) -> None:
    assert is_store(server.url + "joined.store/")
    assert not is_store(server.url + "other.store")
    asked = len(server.asked)
    assert not is_store(server.url + "videos")
    assert len(server.asked) == asked


def test_on_s3(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(monkeypatch):
        put_folder(served, "archive", "stores")
        for name in ("joined.store", "spread.store"):
            there = FrameStore(f"s3://archive/stores/{name}")
            assert every_frame(there) == every_frame(FrameStore(served / name))
        with pytest.raises(UserError, match=r"s3://archive/stores/no\.store/manifest\.json cannot be fetched"):
            FrameStore("s3://archive/stores/no.store")
