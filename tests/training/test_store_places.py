"""A training does not depend on where the frames of its store lie: one folder, shares on several disks, a server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from two_stores import two_stores
from video_server import VideoServer

from cacl.data.remote import place, servers, spans
from cacl.data.videos.scan import scan
from cacl.errors import UserError
from cacl.run_folder import RunFolder
from cacl.training.pretrain import pretrain, resume

pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'cacl[remote]'")
pytestmark = pytest.mark.usefixtures("quick_end")


@pytest.fixture(scope="module")
def stores(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``joined.store`` and ``spread.store``."""
    folder = tmp_path_factory.mktemp("stores")
    two_stores(scan(squares), folder, tmp_path_factory.mktemp("disk"), height=32, width=40)
    return folder


@pytest.fixture
def server(stores: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VideoServer]:
    monkeypatch.setattr(servers, "_PAUSE", 0.001)
    place.forget()
    server = VideoServer(stores)
    yield server
    server.close()


@pytest.fixture(scope="module")
def quick(tiny: dict[str, Any], finished: Path) -> dict[str, Any]:
    return {**tiny, "optim.epochs": 1, "data.workers": 2, "model.frame_weights": str(finished / "frame_encoder")}


def weights(run: Path) -> bytes:
    return (run / "encoder" / "model.safetensors").read_bytes()


def losses(run: Path) -> list[str]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [line.partition('"nce"')[2].partition(",")[0] for line in lines if '"kind": "train"' in line]


def test_weights_do_not_depend_on_where_the_frames_lie(
    stores: Path, server: VideoServer, quick: dict[str, Any], tmp_path: Path, cacl: Callable[..., Any]
) -> None:
    places = {
        "joined": stores / "joined.store",
        "spread": stores / "spread.store",
        "served": server.url + "joined.store",
    }
    for name, videos in places.items():
        pretrain(videos, out=tmp_path / name, settings=quick)
    assert len(losses(tmp_path / "joined")) == 2
    for name in ("spread", "served"):
        assert weights(tmp_path / name) == weights(tmp_path / "joined")
        assert losses(tmp_path / name) == losses(tmp_path / "joined")
    assert RunFolder(tmp_path / "served").data["videos"] == server.url + "joined.store"
    ended = cacl("evaluate", tmp_path / "served", "--json")
    assert (ended.status, '"R@1"' in ended.out) == (0, True), ended.err


def test_a_server_that_goes_ends_the_run_which_goes_on_when_it_is_back(
    stores: Path, server: VideoServer, quick: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No video is left out for it: the weights are those of the undisturbed run."""
    monkeypatch.setattr(spans, "_KEPT", 0)
    settings = {**quick, "optim.epochs": 2, "data.workers": 0, "run.save_minutes": 0.0001}
    pretrain(stores / "joined.store", out=tmp_path / "undisturbed", settings=settings)
    frames = "joined.store/frames.bin"

    class Asked(list[Any]):
        def append(self, item: Any) -> None:
            super().append(item)
            if [name for name, _, _ in self].count(frames) == 14:
                server.always[frames] = "503"

    server.asked = Asked()
    with pytest.raises(UserError, match=r"frames\.bin cannot be fetched: .* goes on with cacl pretrain --resume RUN"):
        pretrain(server.url + "joined.store", out=tmp_path / "run", settings=settings)
    server.always.clear()
    server.asked = []
    resume(tmp_path / "run")
    assert weights(tmp_path / "run") == weights(tmp_path / "undisturbed")


def test_a_run_follows_its_store_to_a_server(
    stores: Path, server: VideoServer, quick: dict[str, Any], tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(stores / "joined.store", tmp_path / "here.store"))
    pretrain(moved, out=tmp_path / "run", settings=quick)
    shutil.rmtree(moved)
    with pytest.raises(UserError, match=r"no such folder; --videos names"):
        resume(tmp_path / "run", videos=server.url + "videos", epochs=2)
    resume(tmp_path / "run", videos=server.url + "joined.store", epochs=2)
    assert RunFolder(tmp_path / "run").data["videos"] == server.url + "joined.store"


def test_commands_take_the_address(
    server: VideoServer, stores: Path, finished: Path, tmp_path: Path, cacl: Callable[..., Any]
) -> None:
    for name, videos in (("here", stores / "spread.store"), ("there", server.url + "joined.store")):
        ended = cacl("embed", videos, "--model", finished, "--out", tmp_path / name)
        assert ended.status == 0, ended.err
    assert (tmp_path / "here" / "vectors.npy").read_bytes() == (tmp_path / "there" / "vectors.npy").read_bytes()
    ended = cacl("check", server.url + "joined.store", "--deep")
    assert (ended.status, "12 used" in ended.out) == (0, True), ended.err
    ended = cacl("info", server.url + "spread.store")
    assert (ended.status, "frame store" in ended.out, "share-0002" in ended.out) == (2, False, False)
    ended = cacl("info", server.url + "joined.store")
    assert (ended.status, "frame store" in ended.out) == (0, True), ended.err
    cacl("pretrain", server.url + "no.store").refused("no.store: there is no complete store")
    cacl("pretrain", server.url + "joined").refused(
        "is an address, and this is for what lies on a disk, or for a store"
    )
    cacl("prepare", server.url + "joined.store", "--out", "b").refused("is a store already")
    cacl("pretrain", server.url + "joined.store", "--lists", "s3://a/b").refused("s3://a/b is an address: name a file")
