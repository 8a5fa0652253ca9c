"""Folders as they may be found: circles of links, bombs of links, unreadable and endless folders, any file name."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cacl.data.media.isolated import isolated
from cacl.data.videos.catalog import Catalog, Skipped
from cacl.data.videos.scan import scan
from cacl.data.videos.sources import DecodedVideos
from cacl.data.videos.store import build_store
from cacl.data.videos.walk import walk
from cacl.errors import UserError, VideoError

NAMES = [
    b"-rf.mp4",
    b"--help",
    b"a\nb.mp4",
    b"carriage\rreturn.mp4",
    b"tab\tbell\x07escape\x1b[31m.mp4",
    b"quo'te\"s`$(date).mp4",
    b"comma,semi;colon:.mp4",
    b"latin-\xe9\xff.mp4",
    b"<img src=x onerror=alert(1)>.mp4",
    b"%s %d {0}.mp4",
    b"back\\slash.mp4",
    b" leading and trailing .mp4 ",
    b"http:x.mp4",
    b"pipe:0",
    b"img%03d.mp4",
    "\u202egnp.4pm".encode(),
    b"n" * 251 + b".mp4",
]


def test_any_file_name_is_read_listed_and_comes_back(media: Path, tmp_path: Path) -> None:
    root = tmp_path / "videos"
    root.mkdir()
    for name in NAMES:
        shutil.copy(media / "no_b_frames.mp4", os.path.join(os.fsencode(root), name))
    catalog = scan(root)
    assert sorted(os.fsencode(video.path) for video in catalog.videos) == sorted(NAMES)
    assert catalog.skipped == ()
    assert len({video.id for video in catalog.videos}) == len(NAMES)
    catalog.write_csv(tmp_path / "videos.csv")
    assert Catalog.read_csv(tmp_path / "videos.csv", root=root) == catalog
    source = DecodedVideos(catalog, height=6, width=8)
    first = source.read(0, np.array([3, 30]))
    assert all((source.read(i, np.array([3, 30])) == first).all() for i in range(len(NAMES)))
    store = build_store(catalog, tmp_path / "store", height=6, width=8, kind="raw")
    assert store.catalog.videos == catalog.videos


def test_any_folder_name(media: Path, tmp_path: Path) -> None:
    for name in (b"-x", b"new\nline", b"\xff\xfe"):
        folder = os.path.join(os.fsencode(tmp_path), name)
        os.mkdir(folder)
        shutil.copy(media / "one_frame.mp4", os.path.join(folder, b"v.mp4"))
    assert [os.fsencode(label) for label in scan(tmp_path).labels] == sorted([b"-x", b"new\nline", b"\xff\xfe"])


def test_links_in_circles_end(media: Path, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    shutil.copy(media / "one_frame.mp4", tmp_path / "a" / "b" / "v.mp4")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "ping").symlink_to("pong")
    (tmp_path / "pong").symlink_to("ping")
    files, others = walk(tmp_path)
    assert files == ["a/b/v.mp4"]
    assert dict(others) == {
        "a/b/up": "link to a folder above it",
        "self": "broken link",
        "ping": "broken link",
        "pong": "broken link",
    }


def test_a_bomb_of_links_goes_off_harmlessly(media: Path, tmp_path: Path) -> None:
    """Forty folders with two links each to the next: 2^40 ways to the one video."""
    for level in range(40):
        (tmp_path / f"{level:02}").mkdir()
        for name in "ab":
            (tmp_path / f"{level:02}" / name).symlink_to(f"../{level + 1:02}")
    (tmp_path / "40").mkdir()
    shutil.copy(media / "one_frame.mp4", tmp_path / "40" / "v.mp4")
    catalog = scan(tmp_path)
    assert [video.path for video in catalog.videos] == ["40/v.mp4"]
    assert catalog.reasons() == {"folder that is listed already": 80}


def test_a_folder_outside_is_entered_through_the_first_link(media: Path, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "disk").mkdir()
    shutil.copy(media / "one_frame.mp4", tmp_path / "disk" / "v.mp4")
    for name in ("one", "two"):
        (tmp_path / "root" / name).symlink_to(tmp_path / "disk")
    catalog = scan(tmp_path / "root")
    assert [video.path for video in catalog.videos] == ["one/v.mp4"]
    assert catalog.skipped == (Skipped("two", "folder that is listed already"),)


def test_folders_deeper_than_the_stack(media: Path, tmp_path: Path) -> None:
    depth = 1900
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")
        shutil.copy(media / "one_frame.mp4", "v.mp4")
        os.chdir(here)
        files, others = walk(tmp_path)
        whole = len(str(tmp_path)) + 2 * depth + 6 < 4096  # the longest path that Linux opens
        assert files == (["d/" * depth + "v.mp4"] if whole else [])
        assert whole or "file name too long" in others[0][1]
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # shutil's is recursive


def test_what_is_no_file_is_not_opened(media: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "videos.csv")
    shutil.copy(media / "one_frame.mp4", tmp_path / "v.mp4")
    catalog = scan(tmp_path)
    assert {item.path: item.reason for item in catalog.skipped} == {
        "pipe.mp4": "not a regular file",
        "videos.csv": "not a regular file",
    }


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder of this user's, who is not root: root may read everything."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    root = os.geteuid() == 0
    if root:
        isolated(".", 60.0, os.getpid)  # nobody may not be allowed to start one
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    subprocess.run(["chmod", "-R", "u+rwx", str(folder)], check=True)
    shutil.rmtree(folder)


def test_what_may_not_be_read_is_reported(media: Path, as_nobody: Path) -> None:
    if os.geteuid() == 65534:
        os.seteuid(0)
        video = (media / "one_frame.mp4").read_bytes()
        os.seteuid(65534)
    else:
        video = (media / "one_frame.mp4").read_bytes()
    root = as_nobody / "videos"
    for path in ("open/v.mp4", "locked/v.mp4", "blind/v.mp4", "open/secret.mp4"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(video)
    (root / "locked").chmod(0o000)
    (root / "blind").chmod(0o444)  # names can be listed, nothing opened
    (root / "open" / "secret.mp4").chmod(0o000)
    catalog = scan(root)
    assert [video.path for video in catalog.videos] == ["open/v.mp4"]
    assert {item.path: item.reason for item in catalog.skipped} == {
        "locked": "folder cannot be read (permission denied)",
        "blind/v.mp4": "cannot be read (permission denied)",
        "open/secret.mp4": "cannot be read (permission denied)",
    }
    root.chmod(0o000)
    with pytest.raises(UserError, match=r"no video found among 1 file \(most often: folder cannot be read"):
        scan(root)
    with pytest.raises(UserError, match="permission denied"):
        scan(root / "open")


def test_videos_that_vanish_or_change_while_they_are_read(media: Path, tmp_path: Path) -> None:
    for name in ("vanishes", "shrinks", "replaced", "cut", "same"):
        shutil.copy(media / "no_b_frames.mp4", tmp_path / f"{name}.mp4")
    catalog = scan(tmp_path)
    number = {video.id: i for i, video in enumerate(catalog.videos)}
    source = DecodedVideos(catalog, height=6, width=8)
    wanted = np.array([1, 50])
    before = {name: source.read(i, wanted) for name, i in number.items()}
    (tmp_path / "vanishes.mp4").unlink()
    shutil.copy(media / "one_frame.mp4", tmp_path / "shrinks.mp4")
    shutil.copy(media / "ten_bit.mp4", tmp_path / "new.mp4")
    (tmp_path / "new.mp4").replace(tmp_path / "replaced.mp4")
    with (tmp_path / "cut.mp4").open("r+b") as file:
        file.truncate(3000)
    reasons = {}
    for name in ("vanishes", "shrinks", "cut"):
        with pytest.raises(VideoError) as error:
            source.read(number[name], wanted)
        reasons[name] = error.value.reason
    assert reasons["vanishes"] == "cannot be opened as a video (no such file or directory)"
    assert reasons["shrinks"] == "has 1 frames, 60 when it was looked at first"
    assert reasons["cut"].startswith("cannot be opened as a video")
    fresh = DecodedVideos(Catalog(tmp_path, catalog.videos), height=6, width=8)
    assert (source.read(number["replaced"], wanted) == fresh.read(number["replaced"], wanted)).all()
    assert (source.read(number["same"], wanted) == before["same"]).all()


@pytest.mark.slow
def test_a_hundred_thousand_files_in_a_folder(media: Path, tmp_path: Path) -> None:
    root = tmp_path / "videos"
    root.mkdir()
    (tmp_path / "text").write_text("words", encoding="utf-8")
    for number in range(100_000):
        if number % 1000 == 0:
            shutil.copy(media / ("one_frame.mp4" if number % 2000 else "animated.gif"), tmp_path / "seed")
            seed = root / f"{number:06}.mp4"
            shutil.copy(tmp_path / "seed", seed)
        elif number % 10 == 0:
            os.link(seed, root / f"{number:06}.mp4")
        else:
            (root / f"{number:06}.mp4").write_bytes(b"no video")
    catalog = scan(root)
    assert len(catalog.videos) == 10_000
    assert catalog.reasons() == {"not a video (text file)": 90_000}
    catalog.write_csv(tmp_path / "videos.csv")
    assert Catalog.read_csv(tmp_path / "videos.csv", root=root) == catalog


def test_tables_that_are_none(media: Path, tmp_path: Path) -> None:
    """A cell of more than the 128 KiB that csv reads: an error where the table was asked for, else passed over."""
    cell = "x" * 200_000
    (tmp_path / "lists").mkdir()
    shutil.copy(media / "one_frame.mp4", tmp_path / "v.mp4")
    (tmp_path / "lists" / "k.csv").write_text(f"label,youtube_id,time_start,time_end,split\n{cell},v,0,1,train\n")
    assert [video.path for video in scan(tmp_path).videos] == ["v.mp4"]
    with pytest.raises(UserError, match="cannot be read as a table"):
        scan(tmp_path, lists=tmp_path / "lists")
    (tmp_path / "videos.csv").write_text(f"path,label\nv.mp4,{cell}\n")
    with pytest.raises(UserError, match="cannot be read as a table"):
        scan(tmp_path)
    with pytest.raises(UserError, match="not a catalog of videos"):
        Catalog.read_csv(tmp_path / "videos.csv", root=tmp_path)
