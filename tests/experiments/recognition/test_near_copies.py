"""Copies in other clothes are found, other takes of the same scene are not; what is computed, against plain loops."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from cacl.data.media.encode import write_video
from cacl.data.videos.dataset import Dataset, open_videos
from cacl.data.videos.scan import scan
from cacl.experiments.recognition import near_copies as module
from cacl.experiments.recognition.labelled import near_copies_said
from cacl.experiments.recognition.near_copies import grey_frames, moving_alike, near_copies

HEIGHT, WIDTH = 64, 80


def take(seed: int, *, scene: int = 0, count: int = 60, amount: float = 70.0) -> np.ndarray:
    """A still scene with a bright spot that walks about in its own way."""
    background = np.random.default_rng(scene).random((8, 10)) * 140 + 20
    frames = np.repeat(np.kron(background, np.ones((8, 8)))[None], count, axis=0)
    rng = np.random.default_rng([7, seed])
    path = np.cumsum(rng.normal(0, 3.5, (count, 2)), axis=0) + np.array([32, 40])
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for frame, (cy, cx) in zip(frames, path, strict=True):
        frame += amount * np.exp(-(((y - cy % HEIGHT) ** 2 + (x - cx % WIDTH) ** 2) / 90))
    return np.repeat(frames.clip(0, 255).astype(np.uint8)[..., None], 3, axis=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("copies")
    for part in ("train", "test"):
        (made / part / "x").mkdir(parents=True)
    for seed in range(4):
        write_video(made / "train" / "x" / f"take{seed}.mp4", take(seed))
    test = made / "test" / "x"
    write_video(test / "again0.avi", take(0), codec="mpeg4", options={"b": "300k"})
    half = take(1).reshape(60, 32, 2, 40, 2, 3).mean(axis=(2, 4)).astype(np.uint8)
    write_video(test / "small1.mkv", half, options={"crf": "22"})
    write_video(test / "rate2.mp4", np.repeat(take(2), 2, axis=0), fps=50, options={"crf": "30"})
    for seed in (10, 11, 12):  # the same scene, and somebody else walks through it
        write_video(test / f"other{seed}.mp4", take(seed))
    write_video(test / "longer3.mp4", take(3, count=75))
    write_video(test / "still.mp4", take(20, amount=0.5))
    write_video(made / "train" / "x" / "still.mp4", take(21, amount=0.5))
    shutil.copy(made / "train" / "x" / "take3.mp4", test / "bytes3.mp4")
    return made


@pytest.fixture(scope="module")
def data(folder: Path) -> Dataset:
    return open_videos(scan(folder), resize=(64, 86))


def found(data: Dataset) -> dict[str, str]:
    pairs = near_copies(data, data.numbers("train"), data.numbers("test"))
    names = {number: Path(video.path).name for number, video in enumerate(data.catalog.videos)}
    return {names[a]: names[b] for a, b in pairs}


def test_copies_in_another_container_codec_size_and_rate_are_found_and_nothing_else(data: Dataset) -> None:
    assert found(data) == {
        "again0.avi": "take0.mp4",
        "small1.mkv": "take1.mp4",
        "rate2.mp4": "take2.mp4",
        "bytes3.mp4": "take3.mp4",
    }


def test_the_sentence_leaves_out_what_is_equal_byte_for_byte(data: Dataset) -> None:
    (note,) = near_copies_said(data, data.numbers("train"), data.numbers("test"))
    assert note == (
        "Test videos that are near copies of training videos: test/x/again0.avi ~ train/x/take0.mp4, "
        "test/x/rate2.mp4 ~ train/x/take2.mp4, test/x/small1.mkv ~ train/x/take1.mp4; the result is too good."
    )
    others = [n for n in data.numbers("test") if "other" in data.catalog.videos[n].path]
    assert near_copies_said(data, data.numbers("train"), others) == []


def test_the_work_is_bounded(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 5)
    read: list[int] = []
    near_copies(data, data.numbers("train"), data.numbers("test"), progress=read.append)
    assert len(read) <= 5


def test_grey_frames_are_the_means_of_blocks(data: Dataset) -> None:
    frames = data.source.read(0, np.array([3, 11, 18, 26, 33, 41, 48, 56])).astype(float)
    grey = frames @ np.array([0.299, 0.587, 0.114])
    expected = []
    for frame in grey:
        for i in range(16):
            top, bottom = int(i * 64 / 16), int((i + 1) * 64 / 16)
            expected += [frame[top:bottom, int(j * 86 / 16) : int((j + 1) * 86 / 16)].mean() for j in range(16)]
    assert grey_frames(data.source, 0, 60).ravel() == pytest.approx(np.array(expected), rel=1e-4)


def test_alike_is_the_correlation_of_what_moves() -> None:
    rng = np.random.default_rng(0)
    own, others = (255 * rng.random(shape).astype(np.float32) for shape in ((8, 9), (3, 8, 9)))
    others[1] = 0.7 * own + 20 + 30 * rng.random(9)[None]  # darker, and another scene behind it
    others[2] = others[2][0]  # stands still

    def moving(x):
        x = x - x.mean(axis=1, keepdims=True)
        return (x - x.mean(axis=0)).ravel()

    first = np.corrcoef(moving(own.astype(float)), moving(others[0].astype(float)))[0, 1]
    assert moving_alike(own, others) == pytest.approx([first, 1, 0], abs=1e-5)
