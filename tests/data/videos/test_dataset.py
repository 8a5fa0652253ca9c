"""Videos opened for reading: parts, splits, and when decoded frames are kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cacl.data.media.encode import write_video
from cacl.data.videos import dataset
from cacl.data.videos.catalog import Catalog, Video, scan
from cacl.data.videos.dataset import Dataset, open_dataset
from cacl.data.videos.store import DecodedVideos, FrameStore, build_store
from cacl.errors import UserError

SIZE = {"height": 24, "width": 32}


def data_of(*splits: str | None) -> Dataset:
    videos = [Video(f"{n}.mp4", str(n), None, split, 20 + n, 25.0, 8, 8) for n, split in enumerate(splits)]
    catalog = Catalog(Path("."), tuple(videos))
    return Dataset(catalog, DecodedVideos(catalog, **SIZE))


def test_numbers_of_splits() -> None:
    data = data_of("train", "test", "train", None, "val")
    assert data.numbers("train") == [0, 2]
    assert data.numbers("test") == [1]
    assert data.numbers(None) == [0, 1, 2, 3, 4]
    assert [video.id for video in data.videos([2, 0])] == ["2", "0"]
    assert (data.has_train, data.has_test) == (True, True)


def test_without_splits_every_video_is_of_each() -> None:
    data = data_of(None, None)
    assert data.numbers("train") == data.numbers("test") == [0, 1]
    assert (data.has_train, data.has_test) == (False, False)


def test_a_training_part_alone_is_no_test() -> None:
    data = data_of("train", "train")
    assert (data.has_train, data.has_test) == (True, False)
    assert (data_of("val", "test").has_train, data_of("val", "test").has_test) == (False, False)


@pytest.mark.parametrize(
    ("splits", "part"), [(("train", "val"), "val"), (("train", "val", "test"), "test"), (("train", "test"), "test")]
)
def test_validation_is_tested_on_where_there_is_no_test(splits: tuple[str, ...], part: str) -> None:
    data = data_of(*splits)
    assert (data.has_test, data.test_part) == (True, part)


def test_a_part_reads_the_videos_of_the_whole(squares: Path) -> None:
    whole = open_dataset(squares, **SIZE)
    part = whole.subset([5, 2]).source
    indices = np.array([3, 0, 39])
    assert (part.height, part.width) == (24, 32)
    assert np.array_equal(part.read(0, indices), whole.source.read(5, indices))
    assert np.array_equal(part.read(1, indices), whole.source.read(2, indices))


def test_folders_give_labels_and_splits(squares: Path) -> None:
    data = open_dataset(squares, **SIZE)
    assert isinstance(data.source, DecodedVideos)
    assert data.catalog.labels == ("a", "b")
    assert (len(data.numbers("train")), len(data.numbers("test"))) == (8, 4)


def test_a_list_file_or_a_table_can_be_named_itself(squares: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    shutil.copytree(squares / "train" / "a", folder)
    names = sorted(p.name for p in folder.iterdir())
    (folder / "some.csv").write_text(f"path,label,split\n{names[0]},x,train\n{names[2]},y,test\n")
    (folder / "list.txt").write_text(f"{names[1]}\n")
    table = open_dataset(folder / "some.csv", **SIZE)
    assert [(v.path, v.label, v.split) for v in table.catalog.videos] == [
        (names[0], "x", "train"),
        (names[2], "y", "test"),
    ]
    assert [v.path for v in open_dataset(folder / "list.txt", **SIZE).catalog.videos] == [names[1]]


def test_frames_are_kept_where_they_fit(squares: Path, tmp_path: Path) -> None:
    data = open_dataset(squares, **SIZE, store="auto", store_folder=tmp_path / "kept")
    assert isinstance(data.source, FrameStore)
    assert data.source.path == tmp_path / "kept"
    elsewhere = open_dataset(squares, **SIZE, store=str(tmp_path / "named"))
    assert isinstance(elsewhere.source, FrameStore)
    assert elsewhere.source.path == tmp_path / "named"
    assert isinstance(open_dataset(squares, **SIZE, store="auto").source, DecodedVideos)


def test_frames_are_not_kept_where_they_would_fill_the_disk(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset.shutil, "disk_usage", lambda path: SimpleNamespace(free=100_000))
    said: list[str] = []
    data = open_dataset(squares, **SIZE, store="auto", store_folder=tmp_path / "kept", say=said.append)
    assert isinstance(data.source, DecodedVideos)
    assert said == ["Frames are read from the videos: keeping them decoded would take about 0 GiB."]
    assert not (tmp_path / "kept").exists()


def test_a_store_is_taken_as_it_is(squares: Path, tmp_path: Path) -> None:
    build_store(scan(squares), tmp_path / "s", **SIZE)
    data = open_dataset(tmp_path / "s", **SIZE)
    assert isinstance(data.source, FrameStore)
    with pytest.raises(UserError, match=r"holds frames of 24x32, data.resize is 48x64; set data.resize=\[24, 32\]"):
        open_dataset(tmp_path / "s", height=48, width=64)
    with pytest.raises(UserError, match="leave out --lists"):
        open_dataset(tmp_path / "s", **SIZE, lists=squares)


def test_progress_names_what_is_done_and_may_end_it(squares: Path, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    open_dataset(squares, **SIZE, store=str(tmp_path / "s"), progress=lambda *row: heard.append(row))
    assert heard[:2] == [("files looked at", 1, 12), ("files looked at", 2, 12)]
    assert heard[-1] == ("videos decoded", 12, 12)

    def stop(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_dataset(squares, **SIZE, progress=stop)


def test_several_threads_read_the_same_videos_at_once(tmp_path: Path, make_square: Callable[..., Any]) -> None:
    """Two sizes at once as well: a scaler or a decoder shared by threads crashes the whole process."""
    for number in range(3):
        write_video(tmp_path / f"{number}.mp4", make_square(seed=number))
    catalog = scan(tmp_path)
    sources = [DecodedVideos(catalog, height=24, width=32), DecodedVideos(catalog, height=18, width=20)]
    expected = {(s, v): sources[s].read(v, np.arange(40)) for s in range(2) for v in range(3)}

    def read(number: int) -> NDArray[np.bool_]:
        rng = np.random.default_rng(number)
        source, video, indices = rng.integers(2), int(rng.integers(3)), rng.integers(0, 40, 16)
        return sources[source].read(video, indices) == expected[source, video][indices]

    with ThreadPoolExecutor(4) as pool:
        assert all(result.all() for result in pool.map(read, range(300)))
