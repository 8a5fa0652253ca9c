"""A store whose shares stay where they were made is the joined store, bit for bit; what is amiss with one is said."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cacl.data.videos import store
from cacl.data.videos.catalog import Catalog
from cacl.data.videos.scan import scan
from cacl.data.videos.store import FrameStore, build_share, build_store
from cacl.data.videos.store_shares import Shard, share_folder
from cacl.data.videos.stored import join
from cacl.data.videos.stored.shares import FOLDERS
from cacl.errors import UserError

SIZE: dict[str, Any] = {"height": 24, "width": 32}


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_PART_VIDEOS", 2)


@pytest.fixture(scope="module")
def catalog(squares: Path, bad_media: Path, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Twelve good videos, and in a part of their own two that give no frame."""
    folder = Path(shutil.copytree(squares, tmp_path_factory.mktemp("videos") / "videos"))
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(bad_media / "breaks_early.mp4", folder / name)
    return scan(folder)


@pytest.fixture(scope="module")
def joined(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    return build_store(catalog, tmp_path_factory.mktemp("joined") / "store", **SIZE)


@pytest.fixture(scope="module")
def made(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shares in three folders (disks), the first where the store is to be."""
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_PART_VIDEOS", 2)
        for number, disk in enumerate(("out", "disk2", "disk3"), 1):
            build_share(catalog, place / "out" / "videos.store", shard=Shard(number, 3), within=place / disk, **SIZE)
    return place


@pytest.fixture
def disks(made: Path, tmp_path: Path) -> list[Path]:
    return [Path(shutil.copytree(made / disk, tmp_path / disk)) for disk in ("out", "disk2", "disk3")]


@pytest.fixture
def spread(catalog: Catalog, disks: list[Path]) -> FrameStore:
    return build_store(catalog, disks[0] / "videos.store", keep=disks, **SIZE)


def together(disks: list[Path]) -> Path:
    """Where the store is to be, with all shares beside it."""
    for disk in disks[1:]:
        for folder in disk.iterdir():
            folder.rename(disks[0] / folder.name)
    return disks[0] / "videos.store"


def share(spread: FrameStore, number: int) -> Path:
    parent = spread.path.parent if number == 1 else spread.path.parent.parent / f"disk{number}"
    return share_folder(spread.path, Shard(number, 3), within=parent)


def every_frame(frames: FrameStore) -> list[bytes]:
    return [frames.read(n, np.arange(video.frames)).tobytes() for n, video in enumerate(frames.catalog.videos)]


def assert_same(spread: FrameStore, joined: FrameStore) -> None:
    for name in ("offsets.npy", "videos.csv"):
        assert (spread.path / name).read_bytes() == (joined.path / name).read_bytes()
    bounds = np.lib.stride_tricks.sliding_window_view(np.load(joined.path / "offsets.npy"), 2)
    packed = b"".join(data.tobytes() for data in spread._packed.read(bounds))
    assert packed == (joined.path / "frames.bin").read_bytes()
    assert every_frame(spread) == every_frame(joined)


def test_shares_that_stay_are_the_joined_store(spread: FrameStore, joined: FrameStore) -> None:
    assert_same(spread, joined)
    assert sorted(path.name for path in spread.path.iterdir()) == ["manifest.json", "offsets.npy", "videos.csv"]
    places = [place for place, _, _ in json.loads((spread.path / "manifest.json").read_text())["shares"]]
    assert places == [str(share(spread, n).resolve()) if n > 1 else share(spread, n).name for n in (1, 2, 3)]
    for number in (1, 2, 3):
        assert {path.name for path in share(spread, number).iterdir()} - {".lock"} == {"frames.bin", "share.json"}
    assert spread.size == joined.size == sum((share(spread, n) / "frames.bin").stat().st_size for n in (1, 2, 3))
    assert every_frame(pickle.loads(pickle.dumps(spread))) == every_frame(joined)


def test_samples_and_their_order_are_the_same(spread: FrameStore, joined: FrameStore) -> None:
    pytest.importorskip("torch", reason="what reads media alone is tested without PyTorch")
    from cacl.data.clips.loader import ClipLoader
    from cacl.data.clips.sampling import ClipPlan

    def plan(frames: int, rng: np.random.Generator) -> ClipPlan:
        first = int(rng.integers(frames - 8))
        return ClipPlan((np.arange(first, first + 8, 2),), {})

    epochs = []
    for frames, workers in ((joined, 0), (spread, 3)):
        counts = [video.frames for video in frames.catalog.videos]
        loader = ClipLoader(frames, counts, plan, seed=3, batch_size=4, workers=workers)
        epochs.append([(b.video.tolist(), b.clips[0].numpy().tobytes()) for e in (0, 1) for b in loader.epoch(e)])
    assert epochs[0] == epochs[1]


def test_what_is_made_is_opened_again(spread: FrameStore, catalog: Catalog, tmp_path: Path) -> None:
    assert build_store(catalog, spread.path, **SIZE).shares is not None
    assert build_store(catalog, spread.path, keep=[tmp_path / "disk2"], **SIZE).shares is not None
    build_share(catalog, spread.path, shard=Shard(1, 3), **SIZE)
    other = tmp_path / "disk2" / "videos.store"  # would have taken the share of the other for one that was stopped
    with pytest.raises(
        UserError, match=r"disk2/videos\.store\.share-0002-of-0003 holds frames of a store that is made"
    ):
        build_share(catalog, other, shard=Shard(2, 3), **SIZE)
    build_store(catalog, other, **SIZE)
    assert len(every_frame(spread)) == 12


@pytest.mark.parametrize("stop", range(9))
def test_joining_that_was_stopped_goes_on(
    catalog: Catalog, joined: FrameStore, disks: list[Path], monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    out, steps = disks[0] / "videos.store", [0]
    (share_folder(out, Shard(2, 3), within=disks[1]) / "part-000001-alone").mkdir()  # of a process that was killed

    def stopping(inner: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            steps[0] += 1
            if steps[0] == stop + 4:
                if inner is copy:
                    arguments[1].write(b"half")
                    arguments[1].flush()
                raise KeyboardInterrupt
            return inner(*arguments)

        return step

    copy = join.shutil.copyfileobj
    with monkeypatch.context() as patch:
        patch.setattr(join.shutil, "copyfileobj", stopping(copy))
        patch.setattr(join, "write_json", stopping(join.write_json))
        patch.setattr(store, "leave_share", stopping(store.leave_share))
        with pytest.raises(KeyboardInterrupt):
            build_store(catalog, out, keep=disks, **SIZE)
    assert not out.exists()
    assert_same(build_store(catalog, out, keep=disks, **SIZE), joined)


def test_joining_in_another_way_loses_nothing(
    catalog: Catalog, joined: FrameStore, disks: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = together(disks)
    with monkeypatch.context() as patch:
        patch.setattr(join, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build_store(catalog, out, keep=[out.parent], **SIZE)
    with pytest.raises(
        UserError, match=r"frames\.bin lacks parts of the store: another cacl prepare --merge was begun"
    ):
        build_store(catalog, out, merge=True, **SIZE)
    assert_same(build_store(catalog, out, keep=[out.parent], **SIZE), joined)


@pytest.mark.parametrize(
    ("amiss", "says"),
    [
        (lambda folder, other: shutil.rmtree(folder), "is not there: put it back, or name the folder .* CACL_SHARES"),
        (lambda folder, other: (folder / "frames.bin").unlink(), "is not there"),
        (
            lambda folder, other: (folder / "frames.bin").write_bytes(b"short"),
            r"has changed.*\(5 bytes, \d+ expected\)",
        ),
        (lambda folder, other: shutil.copy(other / "share.json", folder), "has changed, or is that of another store"),
        (lambda folder, other: (folder / "share.json").write_text("{"), r"has changed.*\(by its share.json\)"),
    ],
)
def test_a_share_that_is_missing_or_another_is_named(
    spread: FrameStore, amiss: Callable[[Path, Path], object], says: str
) -> None:
    amiss(share(spread, 2), share(spread, 3))
    with pytest.raises(UserError, match=rf"its share \S*disk2/videos\.store\.share-0002-of-0003 {says}"):
        FrameStore(spread.path)


def test_a_changed_byte_is_found_by_its_checksum(spread: FrameStore, cacl: Callable[..., Any]) -> None:
    assert "the checksums are right" in cacl("check", spread.path, "--deep").out
    with (share(spread, 3) / "frames.bin").open("r+b") as file:
        file.seek(-7, 2)
        byte = file.read(1)[0]
        file.seek(-7, 2)
        file.write(bytes([byte ^ 1]))
    assert cacl("check", spread.path).status == 0
    ended = cacl("check", spread.path, "--deep")
    assert ended.status == 2
    assert f"its share {share(spread, 3).resolve()} has changed (other bytes of frames.bin from" in ended.err


def test_shares_are_looked_for_in_folders_of_the_environment_first(
    spread: FrameStore, joined: FrameStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved, copies = tmp_path / "moved", tmp_path / "copies"
    shutil.copytree(share(spread, 1), copies / share(spread, 1).name)
    moved.mkdir()
    shutil.move(share(spread, 2), moved)
    monkeypatch.setenv(FOLDERS, f"{copies}:{moved}")
    frames = FrameStore(spread.path)
    assert_same(frames, joined)
    assert frames._packed.files[0] == copies / share(spread, 1).name / "frames.bin"
    (copies / share(spread, 1).name / "frames.bin").write_bytes(b"still being copied")
    with pytest.raises(UserError, match=r"its share \S*copies/\S*0001-of-0003 has changed"):
        FrameStore(spread.path)


def test_a_store_that_moves_takes_the_shares_beside_it_along(
    catalog: Catalog, joined: FrameStore, disks: list[Path], tmp_path: Path
) -> None:
    out = together(disks)
    build_store(catalog, out, keep=[out.parent], **SIZE)
    out.parent.rename(tmp_path / "after")
    assert_same(FrameStore(tmp_path / "after" / "videos.store"), joined)


@pytest.mark.parametrize(
    "change",
    [
        {"shares": 3},
        {"pieces": []},
        {"pieces": [[-1, 4, "x"]]},
        {"pieces": [[9, 4, "x"]]},
        {"shares": [["/etc", "many", "x"]]},
        {"shares": []},
    ],
)
def test_a_damaged_manifest_is_said(spread: FrameStore, change: dict[str, Any]) -> None:
    file = spread.path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        FrameStore(spread.path)


def test_the_command(cacl: Callable[..., Any], squares: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="what reads media alone is tested without PyTorch")
    words = ["prepare", squares, "--out", tmp_path / "s.store", "--size", 24, 32, "--workers", 0]
    disks = [tmp_path / "disk1", tmp_path / "disk2"]
    cacl(*words, "--shard", "1/2", "--shares", disks[0]).refused("disk1 does not exist")
    for disk in disks:
        disk.mkdir()
    both = [word for disk in disks for word in ("--shares", disk)]
    cacl(*words, "--shard", "1/2", *both).refused("--shares names one folder for the share of --shard")
    cacl(*words, *both).refused("--shares names one folder for the share of --shard")
    for number, disk in enumerate(disks, 1):
        assert cacl(*words, "--shard", f"{number}/2", "--shares", disk).status == 0
    cacl(*words, "--merge", "--shares", disks[0]).refused("in no share yet")
    assert cacl(*words, "--merge", *both).status == 0
    ended = cacl("info", tmp_path / "s.store")
    assert (ended.status, str(disks[0]) in ended.out, str(disks[1]) in ended.out) == (0, True, True)
    shutil.rmtree(disks[1])
    for verb in ("info", "check", "pretrain"):
        cacl(verb, tmp_path / "s.store").refused(tmp_path / "s.store", disks[1], "is not there", "CACL_SHARES")
