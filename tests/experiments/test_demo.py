"""The demo with a handful of tiny videos in the place of its own: what it writes and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import image_nets as nets
import pytest

import cacl
from cacl.data.videos.scan import scan
from cacl.errors import UserError
from cacl.experiments import demo as module
from cacl.experiments.demo import INDEX, demo
from cacl.models.image.sources import Pixels, import_image_encoder
from cacl.run import Run
from cacl.training.stop import Stopped

ROWS = ["chance", "colour histogram", "thumbnail", "untrained", "untrained, batch statistics", "v-moco", "cvrl"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, squares: Path, tiny: dict[str, Any]) -> list[int]:
    """The seeds for which videos were asked for."""
    asked: list[int] = []

    def make(folder: Path, *, seed: int, **others: Any) -> Path:
        asked.append(seed)
        return Path(shutil.copytree(squares, folder))

    monkeypatch.setattr(module, "make_videos", make)
    settings = {k: v for k, v in tiny.items() if k != "data.store" and not k.startswith("method.")}
    monkeypatch.setattr(module, "DEMO", {**settings, "optim.epochs": 1})
    monkeypatch.setattr(module, "DEMO_BESIDE", {"optim.epochs": 1, "method.queue_size": 8})
    monkeypatch.setattr(module, "_frozen", lambda folder: [])  # whether or not the package is here
    return asked


def test_one_seed(tmp_path: Path, small: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    results = demo(tmp_path / "demo", first_seed=3)
    assert small == [3]
    assert list(results["retrieval"]) == ROWS
    written = json.loads((tmp_path / "demo" / "results.json").read_text())
    assert list(written["retrieval"]) == ROWS
    page = (tmp_path / "demo" / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    for name in ("neighbours.png", "curves.png"):
        assert (tmp_path / "demo" / name).read_bytes().startswith(b"\x89PNG")
    for name, method in (("own", "cvrl"), ("v-moco", "v-moco")):
        run = Run(tmp_path / "demo" / name)
        assert run.finished is not None
        assert run.method == method
        assert run.settings.run.seed == 3
    assert capsys.readouterr().out == ""
    index = cacl.Index(tmp_path / "demo" / INDEX)
    assert {video.path for video in index.videos} == {video.path for video in scan(tmp_path / "demo" / "videos").videos}


def test_with_a_frozen_image_encoder_both_rows_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = nets.write_pt2(nets.small_cnn(), tmp_path / "cnn.pt2")
    encoder = import_image_encoder(str(file), pixels=Pixels(0, 1), licence="MIT")
    encoder.save(tmp_path / "image")
    monkeypatch.setattr(module, "_frozen", lambda folder: [tmp_path / "image"])
    results = demo(tmp_path / "demo")
    assert list(results["retrieval"]) == [*ROWS[:-1], "frozen", "cvrl", "fused"]
    assert results["verdict"]["sentence"].split(":")[0] in (tmp_path / "demo" / "report.html").read_text()


def test_several_seeds_give_mean_and_standard_deviation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recalls = {1: 40.0, 2: 50.0, 3: 66.0}
    made: list[Path] = []

    def one(folder: Path, seed: int, *, quick: bool) -> dict[str, Any]:
        assert not quick
        folder.mkdir(parents=True)
        made.append(folder)
        return {"retrieval": {"chance": {"R@1": 10.0}, "cacl": {"R@1": recalls[seed]}}}

    monkeypatch.setattr(module, "_one", one)
    results = demo(tmp_path / "demo", first_seed=1, seeds=3)
    assert made == [tmp_path / "demo" / f"seed-{seed}" for seed in (1, 2, 3)]
    assert list(results["seeds"]) == ["1", "2", "3"]
    assert results["retrieval"]["cacl"]["R@1"] == pytest.approx(52)
    assert results["standard deviation"]["retrieval"]["cacl"]["R@1"] == pytest.approx(
        (12**2 + 2**2 + 14**2) ** 0.5 / 2**0.5
    )
    assert json.loads((tmp_path / "demo" / "results.json").read_text())["seeds"].keys() == {"1", "2", "3"}
    assert (tmp_path / "demo" / "report.html").exists()


def test_a_stopped_demo_goes_on_and_a_finished_one_is_not_made_again(
    tmp_path: Path, small: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain = module.pretrain
    trained: list[str] = []

    def stopped(videos: Path, *, out: Path, **others: Any) -> Run:
        trained.append(out.name)
        if out.name == "v-moco" and trained.count("v-moco") == 1:
            raise Stopped(130, out)
        return pretrain(videos, out=out, **others)

    monkeypatch.setattr(module, "pretrain", stopped)
    with pytest.raises(Stopped):
        demo(tmp_path / "demo")
    with pytest.raises(UserError, match="was begun with --seed 0; you asked for --seed 1"):
        demo(tmp_path / "demo", first_seed=1)
    results = demo(tmp_path / "demo")
    assert demo(tmp_path / "demo") == results
    assert list(results["retrieval"]) == ROWS
    assert (trained, small) == (["own", "v-moco", "v-moco"], [0])


@pytest.mark.slow
def test_the_quick_one_runs_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(module, "_frozen", lambda folder: [])
    results = demo(tmp_path / "demo", quick=True)
    assert list(results["retrieval"]) == ROWS
    assert len(scan(tmp_path / "demo" / "videos").videos) == 30
    assert len(cacl.Index(tmp_path / "demo" / INDEX).videos) == 30
    assert Run(tmp_path / "demo" / "own").finished is not None


def test_what_is_there_is_not_touched(tmp_path: Path, small: list[int]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something that cacl demo did not make; choose another --out"):
        demo(tmp_path)
    with pytest.raises(UserError, match="is a file; name a folder"):
        demo(tmp_path / "mine.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    assert small == []


def test_seeds_that_are_none_are_told_before_anything_is_made(tmp_path: Path, small: list[int]) -> None:
    with pytest.raises(UserError, match="--seeds is 0; it must be 1 or more"):
        demo(tmp_path / "demo", seeds=0)
    with pytest.raises(UserError, match=r"run\.seed must be 0 or more \(found -1\)"):
        demo(tmp_path / "demo", first_seed=-1)
    assert small == []
    assert not (tmp_path / "demo").exists()
