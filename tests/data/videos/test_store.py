"""Stores against the decoder: same frames, whatever the number of processes and however often it was interrupted."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cacl.data.media import open_files
from cacl.data.media.colours import AS_CODED
from cacl.data.videos import store, store_parts, store_shares
from cacl.data.videos import store_parts as parts
from cacl.data.videos.catalog import Catalog
from cacl.data.videos.scan import scan
from cacl.data.videos.store import DecodedVideos, FrameSource, FrameStore, build_store, is_store
from cacl.errors import UserError, VideoError
from cacl.lock import NAME as LOCK
from cacl.lock import FolderLock

H, W = 24, 32


@pytest.fixture(scope="module")
def catalog(media: Path, bad_media: Path, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("videos")
    names = ("h264.mp4", "open_gop.ts", "mpeg4.avi", "vp9.webm", "one_frame.mp4", "rotated_90.mp4", "no_times.h264")
    for name in names:
        shutil.copy(media / name, folder / name)
    for name in ("breaks_late.mp4", "breaks_early.mp4", "text.mp4"):
        shutil.copy(bad_media / name, folder / name)
    (folder / "videos.csv").write_text(
        "path,start,end\nh264.mp4,0.4,2\n" + "".join(f"{p.name},,\n" for p in sorted(folder.iterdir())),
        encoding="utf-8",
    )
    return scan(folder)


@pytest.fixture(scope="module")
def raw(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    return build_store(catalog, tmp_path_factory.mktemp("out") / "raw", height=H, width=W, kind="raw")


def test_a_raw_store_equals_the_decoder_exactly(catalog: Catalog, raw: FrameStore) -> None:
    decoded = DecodedVideos(raw.catalog, height=H, width=W)
    assert isinstance(raw, FrameSource)
    assert isinstance(decoded, FrameSource)
    rng = np.random.default_rng(0)
    for number, video in enumerate(raw.catalog.videos):
        indices = rng.integers(0, video.frames, 20)
        assert np.array_equal(raw.read(number, indices), decoded.read(number, indices)), video.id
        with pytest.raises(IndexError):
            raw.read(number, np.array([video.frames]))
        with pytest.raises(IndexError):
            decoded.read(number, np.array([-1]))


def test_broken_videos_are_cut_or_left_out_and_the_totals_add_up(catalog: Catalog, raw: FrameStore) -> None:
    before = {v.id: v for v in catalog.videos}
    after = {v.id: v for v in raw.catalog.videos}
    assert set(before) - set(after) == {"breaks_early"}
    assert before["breaks_late"].frames == 60
    assert after["breaks_late"].frames < 60
    assert "breaks at frame" in after["breaks_late"].note
    reasons = {s.path: s.reason for s in raw.catalog.skipped}
    assert "fewer than 31 frames are good" in reasons["breaks_early.mp4"]
    assert len(raw.catalog.videos) + len(raw.catalog.skipped) == len(catalog.videos) + len(catalog.skipped)
    assert all(after[name] == before[name] for name in after if name != "breaks_late")


def test_a_jpeg_store_is_near(catalog: Catalog, raw: FrameStore, tmp_path: Path) -> None:
    jpeg = build_store(catalog, tmp_path / "jpeg", height=96, width=128)
    full = DecodedVideos(jpeg.catalog, height=96, width=128)
    indices = np.array([10, 3, 3, 0])
    difference = jpeg.read(0, indices).astype(float) - full.read(0, indices)
    assert np.abs(difference).mean() < 6  # blocks of random colour are the hardest that there is
    assert np.array_equal(jpeg.read(0, indices)[1], jpeg.read(0, indices)[2])
    assert (jpeg.height, jpeg.width, jpeg.kind) == (96, 128, "jpeg")
    assert (tmp_path / "jpeg" / "frames.bin").stat().st_size < 0.5 * raw_bytes(jpeg)


def raw_bytes(frame_store: FrameStore) -> int:
    return sum(v.frames for v in frame_store.catalog.videos) * frame_store.height * frame_store.width * 3


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_the_number_of_processes_changes_nothing(
    catalog: Catalog, raw: FrameStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_store(catalog, tmp_path / "two", height=H, width=W, kind="raw", workers=2)
    assert contents(tmp_path / "two") == contents(raw.path)
    assert not (tmp_path / "two.partial").exists()


def test_an_interrupted_store_goes_on_where_it_was(
    catalog: Catalog, raw: FrameStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_PART_VIDEOS", 2)
    made: list[int] = []
    inner = store_shares.make

    def stop_in_third(plan: parts.PartPlan) -> None:
        if len(made) == 2:
            plan.data.with_suffix(".tmp").write_bytes(b"half a part")
            raise KeyboardInterrupt
        inner(plan)
        made.append(plan.number)

    monkeypatch.setattr(store_shares, "make", stop_in_third)
    with pytest.raises(KeyboardInterrupt):
        build_store(catalog, tmp_path / "s", height=H, width=W, kind="raw")
    assert not (tmp_path / "s").exists()

    def count(plan: parts.PartPlan) -> None:
        inner(plan)
        made.append(plan.number)

    monkeypatch.setattr(store_shares, "make", count)
    merge = store.shutil.copyfileobj
    copied = []

    def stop_in_merge(source: object, target: object, size: int) -> None:
        copied.append(1)
        if len(copied) == 3:
            target.write(b"half")  # type: ignore[attr-defined]
            target.flush()  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        merge(source, target, size)  # type: ignore[type-var]

    monkeypatch.setattr(store.shutil, "copyfileobj", stop_in_merge)
    with pytest.raises(KeyboardInterrupt):
        build_store(catalog, tmp_path / "s", height=H, width=W, kind="raw")
    assert not is_store(tmp_path / "s")
    progress: list[tuple[int, int]] = []
    build_store(catalog, tmp_path / "s", height=H, width=W, kind="raw", progress=lambda *now: progress.append(now))
    assert made == sorted(set(made))  # no part was made twice
    assert contents(tmp_path / "s") == contents(raw.path)


def test_a_store_that_another_process_makes_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    """Two of them wrote the same parts."""
    (tmp_path / "s.partial").mkdir()
    with (
        FolderLock(tmp_path / "s.partial"),
        pytest.raises(UserError, match=rf"s\.partial is in use by process {os.getpid()} on .*; wait until it is done"),
    ):
        build_store(catalog, tmp_path / "s", height=H, width=W)
    built = build_store(catalog, tmp_path / "s", height=H, width=W)
    assert sorted(path.name for path in built.path.iterdir()) == [
        "frames.bin",
        "manifest.json",
        "offsets.npy",
        "videos.csv",
    ]
    (built.path / LOCK).touch()  # killed just before it was removed
    build_store(catalog, tmp_path / "s", height=H, width=W)
    assert not (built.path / LOCK).exists()


def test_what_a_decode_process_still_writes_is_not_ours(
    catalog: Catalog, raw: FrameStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It outlives a killed parent by half a second; both wrote to one unfinished file."""
    with monkeypatch.context() as patch:
        patch.setattr(store_shares, "make", lambda plan: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build_store(catalog, tmp_path / "s", height=H, width=W, kind="raw")
    begun = parts._unfinished(tmp_path / "s.partial" / "part-000000.bin")  # as another process would name it
    assert str(os.getpid()) in begun.name
    begun = begun.with_name(begun.name.replace(str(os.getpid()), "1"))
    with begun.open("wb") as other:
        other.write(b"the first half")
        inner = store.join

        def merge(*arguments: object) -> None:
            other.write(b", the second half")
            other.flush()
            inner(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(store, "join", merge)
        build_store(catalog, tmp_path / "s", height=H, width=W, kind="raw")
    assert contents(tmp_path / "s") == contents(raw.path)


FULL = """
import errno
def full(plan):
    raise OSError(errno.ENOSPC, "No space left on device")
"""
DIE = """
import os, signal
from cacl.data.videos import store_parts as parts
def die(plan):
    if any(video.id == "vp9" for video in plan.videos):
        os.kill(os.getpid(), signal.SIGSEGV)
    parts.make_part(plan)
"""


def test_a_full_disk_is_said_and_damages_nothing(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_decode_processes: Callable[[str], ModuleType]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(store_parts, "make_part", in_decode_processes(FULL).full)
        with pytest.raises(UserError, match="the disk is full"):
            build_store(catalog, tmp_path / "s", height=H, width=W)
    assert not (tmp_path / "s").exists()
    assert is_store(build_store(catalog, tmp_path / "s", height=H, width=W).path)


NO_ROOM = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from cacl.data.videos.stored.join import write_offsets
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_offsets(Path(sys.argv[1]), np.arange(500))  # 4128 bytes with their header
except OSError as error:
    print(error.errno)
"""


def test_the_last_bytes_that_find_no_room_are_missed(tmp_path: Path) -> None:
    """``np.save`` left them in a buffer whose flush nobody watched."""
    done = subprocess.run(
        [sys.executable, "-c", NO_ROOM, str(tmp_path / "o.npy")], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{errno.EFBIG}\n"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_video_that_kills_its_process_is_reported(
    catalog: Catalog,
    raw: FrameStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_decode_processes: Callable[[str], ModuleType],
    workers: int,
) -> None:
    monkeypatch.setattr(store_parts, "make_part", in_decode_processes(DIE).die)
    result = build_store(catalog, tmp_path / "s", height=H, width=W, kind="raw", workers=workers)
    reasons = {s.path: s.reason for s in result.catalog.skipped}
    assert reasons["vp9.webm"] == "the process that decoded it died (SIGSEGV)"
    assert {v.id for v in raw.catalog.videos} - {v.id for v in result.catalog.videos} == {"vp9"}
    for number, video in enumerate(result.catalog.videos):
        everything = np.arange(video.frames)
        before = next(i for i, v in enumerate(raw.catalog.videos) if v.id == video.id)
        assert np.array_equal(result.read(number, everything), raw.read(before, everything))


def test_an_existing_folder_is_opened_or_refused(catalog: Catalog, raw: FrameStore, tmp_path: Path) -> None:
    again = build_store(catalog, raw.path, height=H, width=W, kind="raw")
    assert again.catalog == raw.catalog
    with pytest.raises(UserError, match="another height and another width"):
        build_store(catalog, raw.path, height=W, width=H, kind="raw")
    with pytest.raises(UserError, match="other videos"):
        build_store(
            Catalog(catalog.root, catalog.videos[:2]),
            raw.path,
            height=H,
            width=W,
            kind="raw",
        )
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="is not a frame store"):
        build_store(catalog, tmp_path, height=H, width=W)
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"
    (tmp_path / "empty").mkdir()
    assert is_store(build_store(catalog, tmp_path / "empty", height=H, width=W).path)


def test_incomplete_and_damaged_stores_are_refused(raw: FrameStore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a complete frame store"):
        FrameStore(tmp_path)
    shutil.copytree(raw.path, tmp_path / "copy")
    with (tmp_path / "copy" / "frames.bin").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(UserError, match="damaged: 100 bytes"):
        FrameStore(tmp_path / "copy")
    assert not is_store(tmp_path)


def test_no_video_that_decodes_is_an_error(bad_media: Path, tmp_path: Path) -> None:
    catalog = scan(bad_media / "breaks_early.mp4")
    with pytest.raises(UserError, match=r"no video can be decoded \(breaks_early.mp4: breaks at frame"):
        build_store(catalog, tmp_path / "s", height=H, width=W)


def test_sources_travel_to_other_processes(raw: FrameStore, catalog: Catalog) -> None:
    decoded = DecodedVideos(catalog, height=H, width=W)
    for source in (raw, decoded):
        expected = source.read(1, np.array([5, 2]))
        assert np.array_equal(pickle.loads(pickle.dumps(source)).read(1, np.array([5, 2])), expected)
    with get_context("fork").Pool(2) as pool:
        jobs = [(1, np.array([i, 2])) for i in range(0, 40, 3)]
        for (video, indices), frames in zip(jobs, pool.starmap(decoded.read, jobs), strict=True):
            assert np.array_equal(frames, decoded.read(video, indices))


def test_more_videos_than_open_files(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "_OPEN_FILES", 2)
    size: dict[str, Any] = {"height": 4, "width": 4, "at_least": 1, "known": None}
    paths = [str(catalog.file(video)) for video in catalog.videos[:6]]
    first = [open_files.read_frames(path, np.array([0]), rules=AS_CODED, **size)[0] for path in paths]
    assert all(
        np.array_equal(open_files.read_frames(p, np.array([0]), rules=AS_CODED, **size)[0], f)
        for p, f in zip(paths, first, strict=True)
    )
    assert len(open_files._open) == 2


def test_a_video_that_changed_is_reported(media: Path, tmp_path: Path) -> None:
    shutil.copy(media / "h264.mp4", tmp_path / "a.mp4")
    decoded = DecodedVideos(scan(tmp_path), height=4, width=4)
    shutil.copy(media / "one_frame.mp4", tmp_path / "a.mp4")
    with pytest.raises(VideoError, match="has 1 frames, 60 when it was looked at first"):
        decoded.read(0, np.array([0]))
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(VideoError, match="no such file"):
        DecodedVideos(decoded.catalog, height=4, width=4).read(0, np.array([0]))


def test_a_store_is_read_without_a_video_decoder(raw: FrameStore) -> None:
    code = (
        "import sys; sys.modules['av'] = None\n"
        "import numpy as np\n"
        "from cacl.data.videos.store import FrameStore\n"
        f"print(FrameStore({str(raw.path)!r}).read(0, np.array([1, 0])).shape)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == f"(2, {H}, {W}, 3)"
