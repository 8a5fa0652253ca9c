"""``cacl plan`` as it is typed, and what it takes for a video."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from cacl.data.videos.scan import scan
from cacl.experiments.plan import works
from cacl.experiments.plan.archive import sample_of
from cacl.experiments.plan.formulas import SIZES
from cacl.models.segments import segment_windows

TINY = ("data.frames=4", "data.stride=2", "data.resize=[32, 40]", "augment.size=32", "model.network=r3d10",
        "model.width=4", "optim.batch_size=4", "run.precision=float32", "run.device=cpu")  # fmt: skip


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment of each work in place of seconds."""
    for name, value in {
        "_SECONDS": 0.1,
        "_STEP_SECONDS": 0.1,
        "_CLIPS": 4,
        "_ROWS": (500, 2000),
        "_SEARCHES": 2,
    }.items():
        monkeypatch.setattr(works, name, value)


def sets() -> list[str]:
    return [word for setting in TINY for word in ("--set", setting)]


def test_measured_here_and_worked_out(cacl: Callable[..., Any], squares: Path, quick: None) -> None:
    ended = cacl("plan", squares, *sets(), "--json")
    assert ended.status == 0, ended.err
    made = json.loads(ended.out)
    videos = scan(squares).videos
    measured = made["measured"]
    assert measured["videos"] == len(videos)
    assert measured["frames"] == pytest.approx(sum(video.frames for video in videos) / len(videos))
    windows = [len(segment_windows(video.frames, frames=4, stride=2)[0]) for video in videos]
    assert measured["windows"] == pytest.approx(sum(windows) / len(windows))
    sizes = [(squares / video.path).stat().st_size for video in videos]
    assert measured["bytes"] == pytest.approx(sum(sizes) / len(sizes))
    assert (measured["batch"], measured["clip"], measured["device"]) == (4, 8, "cpu")  # two clips of four frames
    assert all(measured[name] > 0 for name in measured if name not in ("frames_step", "search", "search_row", "device"))
    assert {(stage["verb"], stage["videos"]) for stage in made["stages"]} == {
        (verb, count) for verb in ("check", "prepare", "pretrain", "index", "search") for count in (len(videos), *SIZES)
    }
    assert not [path for path in Path().iterdir() if path.name.startswith(".cacl-plan")]


def test_a_sample_stands_for_all(squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sorted(path for path in squares.rglob("*") if path.is_file() and path.suffix == ".mp4")[0]
    for number in range(60):
        shutil.copy(source, tmp_path / f"v{number}.mp4")
    for number in range(20):
        (tmp_path / f"notes{number}.txt").write_text("no video")
    found = sample_of(tmp_path)
    assert (found.files, found.videos) == (80, 60)
    monkeypatch.setattr("cacl.experiments.plan.archive._SECONDS", 0.0)
    few = sample_of(tmp_path)
    assert few.files == 80
    assert len(few.sample.videos) <= 16
    assert few.videos == round(80 * len(few.sample.videos) / 16)
    assert asdict(sample_of(tmp_path))["videos"] == few.videos  # drawn by number, not by chance


def test_what_cannot_be_planned_is_said_in_one_sentence(
    cacl: Callable[..., Any], squares: Path, tmp_path: Path
) -> None:
    cacl("plan", tmp_path / "none").refused("none")
    empty = tmp_path / "empty"
    empty.mkdir()
    cacl("plan", empty).refused("no video among 0 files", "Name a folder of videos")
    (empty / "a.txt").write_text("words")
    cacl("plan", empty).refused("no video among 1 file (most often: not a video (text file))")
    cacl("plan", squares, "--preset", "smal").refused("smal is not a preset", "small")
    cacl("plan", squares, "--gpus", 2, "--set", "run.device=cpu").refused("--gpus is 2", "computes on cpu")
    cacl("plan", squares, "--machines", 5).refused("optim.batch_size is 32, which 5 processes cannot share equally")
    cacl("plan", squares, "--folder", tmp_path / "nowhere").refused("nowhere")
