"""Folders of numbered pictures as videos: found, told from photos, read, stored; regions and blank boxes of frames."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cacl.data.media.encode import write_video
from cacl.data.videos.catalog import Catalog, Skipped
from cacl.data.videos.frame_folders import by_themselves, frame_folders
from cacl.data.videos.scan import scan
from cacl.data.videos.sources import DecodedVideos, FrameStore
from cacl.data.videos.store import build_store
from cacl.errors import UserError, VideoError

H, W = 24, 40


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, H, W, 3), dtype=np.uint8)


def save(frames: NDArray[np.uint8], folder: Path, name: str = "img_{:05}.png", exif: list[str] | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(frames):
        data = Image.Exif()
        if exif:
            data.get_ifd(0x8769)[36867] = exif[i]
        Image.fromarray(frame).save(folder / name.format(i + 1), exif=data)


def test_folders_of_frames_in_a_tree_of_classes(tmp_path: Path) -> None:
    save(pictures(40, 1), tmp_path / "train" / "wave" / "one")
    save(pictures(33, 2), tmp_path / "train" / "run" / "two", "{}.jpg")
    save(pictures(31, 3), tmp_path / "test" / "wave" / "three.v2", "frame{:02}.bmp")
    for gone in (7, 8):
        (tmp_path / "train" / "run" / "two" / f"{gone}.jpg").unlink()
    catalog = scan(tmp_path, rate=10.0, deep=True)
    assert [(v.path, v.label, v.split, v.frames, v.fps, v.note) for v in catalog.videos] == [
        ("test/wave/three.v2", "wave", "test", 31, 10.0, "31 pictures frame*.bmp"),
        ("train/run/two", "run", "train", 31, 10.0, "31 pictures *.jpg, 2 numbers missing, the first after 6"),
        ("train/wave/one", "wave", "train", 40, 10.0, "40 pictures img_*.png"),
    ]
    assert catalog.summary() == "3 used, 0 skipped (of 3 files)"
    catalog.write_csv(tmp_path / "found.csv")
    assert Catalog.read_csv(tmp_path / "found.csv", root=tmp_path).videos == catalog.videos
    source = DecodedVideos(catalog, height=H, width=W)
    np.testing.assert_array_equal(source.read(2, np.array([39, 0, 7])), pictures(40, 1)[[39, 0, 7]])
    store = build_store(catalog, tmp_path / "store", height=H, width=W, kind="raw")
    assert store.catalog.videos == catalog.videos
    for number, video in enumerate(catalog.videos):
        every = np.arange(video.frames)
        np.testing.assert_array_equal(store.read(number, every), source.read(number, every))
    again = build_store(scan(tmp_path, rate=10.0), tmp_path / "store", height=H, width=W, kind="raw")
    assert again.path == store.path
    save(pictures(42, 1), tmp_path / "train" / "wave" / "one")
    with pytest.raises(UserError, match="made with other videos"):
        build_store(scan(tmp_path, rate=10.0), tmp_path / "store", height=H, width=W, kind="raw")


def test_the_rate_is_said_in_the_table_for_one_folder_or_all_below(tmp_path: Path) -> None:
    for name in ("a/one", "a/two", "b/three"):
        save(pictures(12), tmp_path / name)
    (tmp_path / "videos.csv").write_text(
        "path,label,fps,start,end\na,cat,5,,\na/two,dog,10,0.5,1\n.,,2,,\n", encoding="utf-8"
    )
    catalog = scan(tmp_path)
    assert [(v.path, v.label, v.fps, v.first_frame, v.frames) for v in catalog.videos] == [
        ("a/one", "cat", 5.0, 0, 12),
        ("a/two", "dog", 10.0, 5, 5),
        ("b/three", "b", 2.0, 0, 12),
    ]


def test_rows_of_pictures_that_share_a_folder_or_are_the_folder(tmp_path: Path) -> None:
    save(pictures(10), tmp_path / "flows", "flow_x_{:05}.png")
    save(pictures(10), tmp_path / "flows", "img_{:05}.png")
    save(pictures(9, 4), tmp_path, "top{}.png")
    catalog = scan(tmp_path)
    assert [v.path for v in catalog.videos] == ["flows/flow_x_*.png", "flows/img_*.png", "top*.png"]
    np.testing.assert_array_equal(DecodedVideos(catalog, height=H, width=W).read(2, np.arange(9)), pictures(9, 4))
    (tmp_path / "train.txt").write_text("flows/img_*.png wave\ntop*.png run\n", encoding="utf-8")
    assert [v.label for v in scan(tmp_path / "train.txt").videos] == ["wave", "run"]


def test_photos_are_no_frames_unless_they_are_named(tmp_path: Path) -> None:
    save(pictures(5), tmp_path / "few")
    save(pictures(9), tmp_path / "sizes")
    Image.fromarray(pictures(1)[0][:, :30]).save(tmp_path / "sizes" / "img_00009.png")
    times = [f"2026:11:30 10:{n:02}:00" for n in range(9)]
    save(pictures(9), tmp_path / "camera", "IMG_{:04}.jpg", exif=times)
    save(pictures(9), tmp_path / "burst", "IMG_{:04}.jpg", exif=["2026:11:30 10:00:00"] * 9)
    save(pictures(9), tmp_path / "phone", "IMG_{:04}.jpg")
    write_video(tmp_path / "phone" / "MOV_0010.mov", pictures(31), codec="mpeg4")
    catalog = scan(tmp_path)
    assert [v.path for v in catalog.videos] == ["burst", "phone/MOV_0010.mov"]
    reasons = {s.path: s.reason for s in catalog.skipped}
    use = "name the folder in videos.csv to use them"
    assert reasons.pop("camera") == f"9 photos IMG_*.jpg, not the frames of a video (taken 60 s apart); {use}"
    assert reasons.pop("sizes") == f"9 photos img_*.png, not the frames of a video (30×24 and 40×24 pixels); {use}"
    assert set(reasons.values()) == {"a still image, not a video"}
    assert len(reasons) == 5 + 9
    rows = "".join(f"{name},{name}\n" for name in ("few", "sizes", "camera", "phone"))
    (tmp_path / "videos.csv").write_text("path,label\n" + rows, encoding="utf-8")
    assert [v.path for v in scan(tmp_path).videos] == ["camera", "few", "phone", "sizes"]


def test_lists_of_raw_frames_with_their_numbers(tmp_path: Path) -> None:
    """mmaction2: folder, frames, label; VideoMAE's pretraining: folder, first, frames."""
    for name in ("one", "two", "three"):
        save(pictures(12), tmp_path / name)
    (tmp_path / "train.txt").write_text("one 12 1\ntwo 12 1 4\nthree 0 12\n", encoding="utf-8")
    assert [v.labels for v in scan(tmp_path / "train.txt").videos] == [("1",), (), ("1", "4")]


def test_a_broken_picture_and_a_folder_that_goes(tmp_path: Path) -> None:
    save(pictures(40), tmp_path / "v")
    (tmp_path / "v" / "img_00036.png").write_bytes(b"\x89PNG broken")
    save(pictures(40), tmp_path / "early")
    (tmp_path / "early" / "img_00010.png").write_bytes(b"")
    catalog = scan(tmp_path, deep=True)
    assert [(v.path, v.frames) for v in catalog.videos] == [("v", 35)]
    assert "breaks at frame 35 of 40 (img_00036.png cannot be decoded" in catalog.videos[0].note
    (early,) = catalog.skipped
    assert early.reason.startswith("breaks at frame 9 of 40 (img_00010.png cannot be decoded (an empty file)")
    quick = scan(tmp_path)
    store = build_store(quick, tmp_path / "store", height=H, width=W)
    assert [(v.path, v.frames) for v in store.catalog.videos] == [("v", 35)]
    shutil.rmtree(tmp_path / "v")
    with pytest.raises(VideoError, match="v: "):
        DecodedVideos(catalog, height=H, width=W).read(0, np.arange(3))


def test_names_alone() -> None:
    files = [f"a/x{i}.png" for i in range(9)] + [f"b/y{i}.png" for i in range(9)] + ["b/film.mkv", "c/1.png"]
    found = frame_folders(files)
    assert {place: len(names) for place, names in found.items()} == {"a": 9, "b": 9, "c": 1}
    assert by_themselves(files, found) == {"a"}


@pytest.fixture
def corners(tmp_path: Path) -> Path:
    """A video without loss, of noise."""
    write_video(tmp_path / "v.mkv", pictures(40), codec="ffv1", pixel_format="bgr0")
    return tmp_path


def test_a_region_is_cut_out_of_every_frame(corners: Path) -> None:
    rows = "v.mkv,left,0,0,20,24\nv.mkv,right,20,4,16,12\nv.mkv,out,30,0,20,24\n"
    (corners / "videos.csv").write_text("path,label,x,y,w,h\n" + rows, encoding="utf-8")
    catalog = scan(corners)
    assert [(v.label, v.region, v.width, v.height) for v in catalog.videos] == [
        ("left", (0, 0, 20, 24), 20, 24),
        ("right", (20, 4, 16, 12), 16, 12),
    ]
    assert len({v.id for v in catalog.videos}) == 2
    assert catalog.skipped[0] == Skipped("v.mkv", "its region 30,0,20,24 is not inside its 40×24 pixels")
    every, frames = np.arange(40), pictures(40)
    np.testing.assert_array_equal(DecodedVideos(catalog, height=24, width=20).read(0, every), frames[:, :, :20])
    source = DecodedVideos(catalog, height=12, width=16)
    np.testing.assert_array_equal(source.read(1, every), frames[:, 4:16, 20:36])
    store = build_store(catalog, corners / "store", height=12, width=16, kind="raw")
    for number in (0, 1):
        np.testing.assert_array_equal(store.read(number, every), source.read(number, every))
    catalog.write_csv(corners / "kept.csv")
    assert Catalog.is_csv(corners / "kept.csv")
    assert Catalog.read_csv(corners / "kept.csv", root=corners) == catalog


@pytest.mark.parametrize("cells", ["0,0,20,", "0,0,0,5", "-1,0,5,5", "a,0,5,5"])
def test_a_region_that_is_none(cells: str, corners: Path) -> None:
    (corners / "videos.csv").write_text(f"path,x,y,w,h\nv.mkv,{cells}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"videos\.csv, line 2: .* is no region: four whole numbers"):
        scan(corners)


def test_blank_boxes_are_black_and_kept_with_the_store(corners: Path) -> None:
    blank = ((0, 0, 10, 4), (36, 20, 100, 100))
    catalog = scan(corners, blank=blank)
    expected = pictures(40)
    expected[:, :4, :10] = 0
    expected[:, 20:, 36:] = 0
    every = np.arange(40)
    np.testing.assert_array_equal(DecodedVideos(catalog, height=H, width=W).read(0, every), expected)
    store = build_store(catalog, corners / "store", height=H, width=W, kind="raw")
    np.testing.assert_array_equal(store.read(0, every), expected)
    assert FrameStore(corners / "store").catalog.blank == blank
    for other in (blank[:1], ()):
        with pytest.raises(UserError, match="another blank"):
            build_store(scan(corners, blank=other), corners / "store", height=H, width=W, kind="raw")


def test_blank_boxes_lie_where_a_turned_video_is_seen(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", np.full((31, H, W, 3), 200, np.uint8), rotation=90)
    frame = DecodedVideos(scan(tmp_path, blank=((0, 0, W, 8),)), height=W, width=H).read(0, np.array([3]))[0]
    assert frame[:8].max() == 0
    assert frame[8:].min() > 150
