"""Every command that works through files says what it used and skipped; videos that were moved are found again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


def ends_with(ended: Any, *parts: object) -> None:
    """Check status 2, and a last line on stderr with these parts."""
    assert ended.status == 2, ended
    for part in parts:
        assert str(part) in ended.err.splitlines()[-1], ended.err


@pytest.fixture
def run(finished: Path, squares: Path, tmp_path: Path) -> Path:
    """A finished run on videos of its own, which may be moved."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.copytree(squares, tmp_path / "before")
    where = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**where, "videos": str(tmp_path / "before")}))
    return run


def test_one_good_and_one_empty_file(cacl: Command, finished: Path, squares: Path, tmp_path: Path) -> None:
    two = tmp_path / "two"
    two.mkdir()
    shutil.copy(squares / "train" / "a" / "v00.mp4", two / "good.mp4")
    (two / "empty.mp4").touch()
    said = "1 used, 1 skipped (of 2 files): see "
    embedded = cacl("embed", two, "--model", finished, "--out", "vectors")
    assert embedded.status == 0
    assert f"{said}{Path('vectors') / 'videos.csv'}." in embedded.err
    assert "empty.mp4,skipped,empty file" in Path("vectors", "videos.csv").read_text()
    again = cacl("embed", two, "--model", finished, "--out", "vectors", "--table", "all.parquet")
    assert again.out.endswith("segments.csv, all.parquet\n")
    assert said in again.err
    prepared = cacl("prepare", two, "--out", "store", "--size", 32, 40)
    assert f"{said}{Path('store') / 'videos.csv'}." in prepared.out
    analysed = cacl("analyse", finished, two, "--only", "similarity")
    place = finished / "transfer" / "two"
    assert f"{said}{place / 'videos.csv'}." in analysed.err, analysed.err
    shutil.rmtree(finished / "transfer")


def test_moved_videos_are_named_and_found_again(cacl: Command, run: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "before", tmp_path / "after"
    here.rename(there)
    first = here / "test" / "a" / "v08.mp4"
    ends_with(cacl("evaluate", run), f"{first} is not there", "--videos FOLDER")
    ends_with(cacl("analyse", run, "--only", "probes"), f"{first} is not there", "--videos FOLDER")
    (tmp_path / "other").mkdir()
    missing = tmp_path / "other" / "test" / "a" / "v08.mp4"
    other = cacl("evaluate", run, "--videos", tmp_path / "other")
    ends_with(other, f"{missing} is not there", f"not in {tmp_path / 'other'}")
    ends_with(cacl("pretrain", "--resume", run, "--epochs", 3), f"{first} is not there", "--videos FOLDER")
    ends_with(cacl("pretrain", "--resume", run, "--epochs", 3, "--videos", tmp_path / "other"), missing)
    assert (run / "finished.json").exists(), "what is refused changes nothing"
    moved = cacl("pretrain", "--resume", run, "--epochs", 3, "--videos", there)
    assert moved.status == 0, moved.err
    assert f"The videos of {run} are in {there} now." in moved.err
    evaluated = cacl("evaluate", run)
    assert evaluated.status == 0
    assert f"12 used, 0 skipped (of 12 files): see {run / 'videos.csv'}." in evaluated.err
    there.rename(here)
    assert cacl("evaluate", run, "--videos", here).status == 0


def test_one_video_that_is_gone_is_said_and_the_others_go_on(cacl: Command, run: Path, tmp_path: Path) -> None:
    gone = tmp_path / "before" / "train" / "a" / "v00.mp4"
    gone.unlink()
    evaluated = cacl("evaluate", run)
    assert evaluated.status == 0
    assert f"{gone} is not there: they are left out." in evaluated.err


def test_an_embedding_goes_on_with_moved_videos(cacl: Command, finished: Path, squares: Path, tmp_path: Path) -> None:
    for name in ("before", "after"):
        shutil.copytree(squares / "test", tmp_path / name)
    assert cacl("embed", tmp_path / "before", "--model", finished, "--out", "vectors").status == 0
    cacl("embed", tmp_path / "after", "--model", finished, "--out", "vectors").refused("videos was")
    shutil.rmtree(tmp_path / "before")
    again = cacl("embed", tmp_path / "after", "--model", finished, "--out", "vectors")
    assert again.status == 0
    assert "vectors is finished already" in again.err


def test_finetuning_with_moved_videos(cacl: Command, finished: Path, squares: Path, tmp_path: Path) -> None:
    shutil.copytree(squares, tmp_path / "before")
    words = ["--linear", "--set", "data.store=none", "--set", "run.device=cpu"]
    told = cacl("finetune", tmp_path / "before", "--model", finished, "--out", "told", *words)
    assert told.status == 0, told.err
    assert f"12 used, 0 skipped (of 12 files): see {Path('told') / 'videos' / 'split-1.csv'}." in told.err
    for name in ("results.json", "features.npz"):
        Path("told", name).unlink()
    (tmp_path / "before").rename(tmp_path / "after")
    ends_with(cacl("finetune", "--resume", "told"), tmp_path / "before", "is not there", "--videos FOLDER")
    assert cacl("finetune", "--resume", "told", "--videos", tmp_path / "after").status == 0
    cacl("pretrain", squares, "--videos", squares).refused("--videos is for a run that goes on")
