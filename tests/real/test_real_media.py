"""Real videos and the complete official lists: frames by number equal FFmpeg's own full decode, counts are known."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from cacl.data.media.decode import VideoDecoder
from cacl.data.videos.labels import label_order
from cacl.data.videos.lists.find import read_lists
from cacl.data.videos.scan import scan
from cacl.errors import VideoError

pytestmark = pytest.mark.real

ODD = {  # file: frames, width and height as shown
    "av1_video.mkv": (125, 640, 360),
    "demo_gradcam.gif": (33, 112, 112),
    "h264_10bits.mp4": (30, 200, 200),
    "h265_10bits.mp4": (30, 200, 200),
    "h265_video.mp4": (10, 128, 128),
    "nasa_13013.mp4": (390, 480, 270),
    "part_0.mp4": (32, 340, 256),
    "unordered.mov": (4, 50, 50),
    "video_0.mov": (3, 568, 320),
    "video_90.mov": (3, 320, 568),
    "video_180.mov": (3, 568, 320),
    "video_270.mov": (3, 320, 568),
}


def full_decode(path: Path, *, height: int, width: int) -> NDArray[np.uint8]:
    """Every frame by the ffmpeg command: best stream, upright, no frame dropped or repeated."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs the ffmpeg command")
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), "-fps_mode", "passthrough"]
    out = subprocess.run(
        [*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=False
    ).stdout
    return np.frombuffer(out, np.uint8).reshape(-1, height, width, 3)


def assert_same_frames(path: Path) -> None:
    rng = np.random.default_rng(0)
    with VideoDecoder(path) as decoder:
        height, width = decoder.info.height, decoder.info.width
        whole = full_decode(path, height=height, width=width)
        assert decoder.frames == len(whole)
        for _ in range(10):
            start = int(rng.integers(0, max(1, len(whole) - 30)))
            clip = np.minimum(start + 2 * np.arange(16), len(whole) - 1)
            for indices in (clip, rng.integers(0, len(whole), 8)):
                got = decoder.read(indices, height=height, width=width)
                difference = np.abs(got.astype(np.int16) - whole[indices])
                assert difference.mean(axis=(1, 2, 3)).max() <= 2
        timeline = decoder.verify()
        assert (timeline.frames, timeline.broken) == (len(whole), "")


@pytest.mark.parametrize("name", sorted(ODD))
def test_odd_files_give_the_frames_of_a_full_decode(real_data: Path, name: str) -> None:
    path = real_data / "odd" / name
    assert_same_frames(path)
    with VideoDecoder(path) as decoder:
        assert (decoder.frames, decoder.info.width, decoder.info.height) == ODD[name]


def test_originals_give_the_frames_of_a_full_decode(real_data: Path) -> None:
    files = sorted((real_data / "ucf101-9" / "originals").iterdir())
    assert len(files) == 10
    for path in files:
        assert_same_frames(path)


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_rotated_videos_are_upright(real_data: Path, turn: int) -> None:
    """The letters of a keyboard: stored frames turned by hand, as seen to be right, equal those that are read."""
    with av.open(str(real_data / "odd" / f"video_{turn}.mov")) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    with VideoDecoder(real_data / "odd" / f"video_{turn}.mov") as decoder:
        assert decoder.info.rotation == turn
        shown = decoder.read([0], height=decoder.info.height, width=decoder.info.width)[0]
    assert np.array_equal(shown, np.rot90(stored, -turn // 90))


def test_the_broken_and_the_audio_only_give_their_reason(real_data: Path) -> None:
    catalog = scan(real_data / "odd", deep=True)
    reasons = {s.path: s.reason for s in catalog.skipped}
    assert set(reasons) == {"corrupted.mp4", "sine_mono_s16.wav"}
    assert reasons["sine_mono_s16.wav"] == "no video stream found (audio only)"
    assert reasons["corrupted.mp4"].startswith("breaks at frame 2")
    assert reasons["corrupted.mp4"].endswith("fewer than 31 frames are good")
    assert {v.path: (v.frames, v.width, v.height) for v in catalog.videos} == ODD


def test_the_good_frames_of_the_broken_one(real_data: Path) -> None:
    path = real_data / "odd" / "corrupted.mp4"
    whole = full_decode(path, height=720, width=1280)
    with VideoDecoder(path) as decoder:
        with pytest.raises(VideoError, match="cannot be decoded"):
            decoder.read([45], height=720, width=1280)
        good = decoder.verify().frames
        assert 28 <= good < 31
        got = decoder.read(range(good), height=720, width=1280)
    assert np.abs(got.astype(np.int16) - whole[:good]).mean(axis=(1, 2, 3)).max() <= 2


@pytest.mark.parametrize(("split", "train", "test"), [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)])
def test_official_lists_of_ucf101(real_data: Path, split: int, train: int, test: int) -> None:
    entries = read_lists(real_data / "splits" / "ucf101", split=split).entries
    assert [sum(e.split == part for e in entries) for part in ("train", "test")] == [train, test]
    classes = [line.split()[1] for line in (real_data / "splits/ucf101/classInd.txt").read_text().splitlines() if line]
    assert sorted({e.labels[0] for e in entries}) == sorted(classes)
    assert len({e.name for e in entries}) == 13320
    order = label_order(e.labels[0] for e in entries)
    assert list(order) == classes  # they count from 1, we from 0
    numbered = [line.split() for line in (real_data / f"splits/ucf101/trainlist0{split}.txt").read_text().splitlines()]
    assert all(order.index(name.split("/")[0]) == int(number) - 1 for name, number in numbered)


@pytest.mark.parametrize("split", [1, 2, 3])
def test_official_lists_of_hmdb51(real_data: Path, split: int) -> None:
    entries = read_lists(real_data / "splits" / "hmdb51", split=split).entries
    labels = {e.labels[0] for e in entries}
    assert len(labels) == 51
    assert label_order(labels) == tuple(sorted(labels))  # alphabetical, from 0
    tags = [line.split()[-1] for f in (real_data / "splits/hmdb51").glob(f"*_split{split}.txt") for line in f.open()]
    assert (tags.count("1"), tags.count("2"), len(tags) - tags.count("0")) == (3570, 1530, len(entries))
    for part, each in (("train", 70), ("test", 30)):
        of_part = [e for e in entries if e.split == part]
        assert len(of_part) == 51 * each
        assert all(sum(e.labels == (label,) for e in of_part) == each for label in labels)


def test_nine_classes_of_ucf101(real_data: Path) -> None:
    folder = real_data / "ucf101-9"
    catalog = scan(folder / "videos", lists=folder / "splits", split=1)
    assert (len(catalog.only("train").videos), len(catalog.only("test").videos)) == (843, 343)
    assert not catalog.skipped
    assert len(catalog.labels) == 9
    assert all(v.path.startswith(f"{v.label}/") for v in catalog.videos)
    assert catalog.summary() == "1 186 used, 0 skipped (of 1 186 files)"


def test_another_small_data_set(real_data: Path) -> None:
    catalog = scan(real_data / "weizmann-4", deep=True)
    assert len(catalog.videos) == 36
    assert len(catalog.labels) == 4
    assert {(v.width, v.height, v.fps) for v in catalog.videos} == {(180, 144, 25.0)}
    assert {42, 127} <= {v.frames for v in catalog.videos} <= set(range(42, 128))
