"""A data set at one frame rate, beside what PyAV says of the same files frame by frame."""

from __future__ import annotations

import copy
import pickle
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from cacl.data.media.encode import write_video
from cacl.data.videos.catalog import Catalog
from cacl.data.videos.dataset import Dataset, open_videos
from cacl.data.videos.resampled import ResampledFrames, as_files, resampled
from cacl.data.videos.scan import scan
from cacl.data.videos.store import DecodedVideos, FrameStore, build_store

SIZE = {"height": 16, "width": 16}
RATE = 10.0
#: a tenth of a second each, then every half a second, as a camera that saves light does
UNEVEN = [*np.arange(20) / 10, *(2 + np.arange(20) / 2)]


def numbered(count: int) -> np.ndarray:
    """Frame i has the brightness 4 i + 20 everywhere."""
    frames = np.zeros((count, 16, 16, 3), np.uint8)
    frames += (20 + 4 * np.arange(count, dtype=np.uint8))[:, None, None, None]
    return frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("rates")
    for name, fps in (("a25.mp4", 25.0), ("b50.mkv", 50.0), ("c5.mp4", 5.0)):
        write_video(made / name, numbered(50), fps=fps, codec="libx264", options={"crf": "4"})
    write_video(made / "d_uneven.mp4", numbered(40), fps=10, timestamps=UNEVEN, options={"crf": "4"})
    return made


def shown(folder: Path, name: str, ticks: list[int]) -> list[int]:
    """Brightness of the frames nearest to each tick, by a plain decode."""
    with av.open(str(folder / name)) as container:
        frames = [
            (f.pts * f.time_base, int(f.to_ndarray(format="rgb24").mean().round())) for f in container.decode(video=0)
        ]
    first = frames[0][0]
    return [min(frames, key=lambda f: (abs(f[0] - first - Fraction(tick) / int(RATE)), f[0]))[1] for tick in ticks]


def test_every_video_has_the_frames_nearest_to_its_ticks(folder: Path) -> None:
    data = resampled(open_videos(scan(folder), resize=(16, 16)), RATE)
    lengths = {video.path: video.frames for video in data.catalog.videos}
    assert lengths == {"a25.mp4": 20, "b50.mkv": 10, "c5.mp4": 100, "d_uneven.mp4": 116}
    for number, video in enumerate(data.catalog.videos):
        assert video.fps == RATE
        ticks = list(range(video.frames))
        pixels = data.source.read(number, np.array(ticks))
        found = pixels.reshape(len(ticks), -1).mean(axis=1)
        assert np.abs(found - shown(folder, video.path, ticks)).max() <= 1.5, video.path  # frames differ by 4


def test_a_store_gives_the_same_frames_without_the_files(folder: Path, tmp_path: Path) -> None:
    catalog = scan(folder)
    data = resampled(open_videos(catalog, resize=(16, 16)), RATE)
    build_store(catalog, tmp_path / "store", **SIZE, kind="raw")
    store = FrameStore(tmp_path / "store")
    assert set(store.seconds(3).round(3)) == {*np.round(UNEVEN, 3), 11.6}
    away = Catalog(Path("/nowhere"), store.catalog.videos)
    kept = resampled(Dataset(away, store), RATE)
    assert [video.frames for video in kept.catalog.videos] == [video.frames for video in data.catalog.videos]
    for number, video in enumerate(kept.catalog.videos):
        every = np.arange(video.frames)
        assert np.array_equal(kept.source.read(number, every), data.source.read(number, every))
    (tmp_path / "store" / "times.json").write_text('{"3": [0, "x"]}')
    assert np.allclose(np.diff(FrameStore(tmp_path / "store").seconds(3)), 0.29)  # the mean rate is left


def test_a_part_of_a_file_begins_its_own_time(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "videos.csv").write_text("path,start,end\nd_uneven.mp4,2,7\n")
    (tmp_path / "d_uneven.mp4").symlink_to(folder / "d_uneven.mp4")
    data = resampled(open_videos(scan(tmp_path), resize=(16, 16)), RATE)
    (video,) = data.catalog.videos
    assert video.frames == 50  # five seconds
    ticks = np.array([0, 2, 3, 26, 49])
    assert np.abs(data.source.read(0, ticks)[:, 0, 0, 0] - (100.0 + 4 * np.array([0, 0, 1, 5, 9]))).max() <= 2


def test_slow_videos_and_those_without_times_are_said(folder: Path) -> None:
    said: list[str] = []
    data = open_videos(scan(folder), resize=(16, 16))
    resampled(data, RATE, say=said.append)
    assert said == [
        "2 videos of 4 have fewer than 10 frames a second (d_uneven.mp4: 3.448): some of their frames are repeated."
    ]
    assert resampled(data, None) is data


def test_it_can_be_copied_sent_and_undone(folder: Path) -> None:
    data = open_videos(scan(folder), resize=(16, 16))
    at_rate = resampled(data, RATE)
    for source in (copy.deepcopy(at_rate.source), pickle.loads(pickle.dumps(at_rate.source))):
        assert isinstance(source, ResampledFrames)
        assert np.array_equal(source.read(1, np.arange(10)), data.source.read(1, 5 * np.arange(10)))
    assert as_files(at_rate).catalog == data.catalog
    assert isinstance(as_files(at_rate).source, DecodedVideos)
    with pytest.raises(IndexError, match="frames 0 to 20 of video 0 asked for, of 20"):
        at_rate.source.read(0, np.arange(21))
