"""``pretrain`` from a folder of videos to its end: every method trains, odd videos are used, no run stays half made."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cacl.data.media.encode import write_video
from cacl.data.videos.store import DecodedVideos
from cacl.errors import UserError, VideoError
from cacl.machine import load
from cacl.methods.cacl import CACL
from cacl.methods.contract import StepOutput
from cacl.presets import ABLATIONS
from cacl.run_folder import RunFolder
from cacl.training import pretrain as module
from cacl.training.pretrain import pretrain, resolve_settings, resume

pytestmark = pytest.mark.usefixtures("quick_end")
TERMS = {
    "sdp": {"degree_loss"},
    "sdp*": {"degree_loss"},
    "v-moco": {"nce"},
    "sdp+v-moco": {"nce", "degree_loss"},
    "v-moco+t": {"nce", "degree_loss"},  # of weight 0: measured, not learnt
    "cacl": {"nce", "degree_loss"},
    "pairs2": {"nce", "degree_loss"},
    "pairs3": {"nce", "degree_loss"},
}
PAIRS = {"v-moco": 1, "sdp+v-moco": 1, "v-moco+t": 4, "cacl": 4, "pairs2": 2, "pairs3": 4}  # as measured


@pytest.fixture(scope="module")
def quick(tiny: dict[str, Any], finished: Path) -> dict[str, Any]:
    """One epoch of two steps, with the frame encoder of another run."""
    return {**tiny, "optim.epochs": 1, "model.frame_weights": str(finished / "frame_encoder")}


@pytest.fixture
def videos(squares: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(squares / "train", tmp_path / "videos"))


def entries(run: Path) -> dict[str, dict[str, str]]:
    with (run / "videos.csv").open() as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def test_every_method_is_here() -> None:
    assert set(TERMS) == set(ABLATIONS)


@pytest.mark.parametrize("method", list(ABLATIONS))
def test_every_row_of_tables_1_and_2_trains(method: str, quick: dict[str, Any], squares: Path, tmp_path: Path) -> None:
    run = pretrain(squares, out=tmp_path / "run", method=method, settings=quick)
    rows = run.metrics
    assert [row["step"] for row in rows] == [1, 2]
    assert {key for key in rows[0] if key in ("nce", "degree_loss")} == TERMS[method]
    pairs = [key for key in rows[0] if key.startswith("similarity_") and key != "similarity_negatives"]
    assert len(pairs) == PAIRS.get(method, 0)
    assert {key for key in rows[0] if key.startswith("grad_")} == {
        f"grad_{term.removesuffix('_loss')}" for term in TERMS[method]
    }
    assert run.finished is not None
    learns_degrees = method not in ("v-moco", "v-moco+t")
    assert ("degree" in run.finished) == learns_degrees
    assert learns_degrees or not any("degree" in warning for warning in run.finished["warnings"])
    assert method != "pairs3" or not any("(Tq,Tk)" in warning for warning in run.finished["warnings"])
    assert not torch.equal(next(run.encoder.parameters()), next(run.untrained.parameters()))
    assert (run.path / "frame_encoder").exists() == run.settings.wants_frame_encoder


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_the_other_presets_train(preset: str, quick: dict[str, Any], videos: Path, tmp_path: Path) -> None:
    changes = {key: value for key, value in quick.items() if key not in ("data.resize", "augment.size")}
    small = {"data.resize": [32, 40], "augment.size": 32, "data.start_window": None, "model.network": "r3d10"}
    small |= {"model.frame_encoder": "resnet18", "model.heads": 3}
    run = pretrain(videos, out=tmp_path / "run", preset=preset, settings={**changes, **small})
    assert len(run.metrics) == 2
    assert run.settings.method.loss == {"paper": "inside", "released": "outside"}[preset]


def test_odd_videos_are_used_and_bad_ones_listed(
    quick: dict[str, Any],
    videos: Path,
    tmp_path: Path,
    make_square: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for frames in (1, 5, 20):
        write_video(videos / f"short {frames}.mp4", make_square(frames, seed=frames))
    (videos / "text.mp4").write_text("no video\n")
    (videos / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(3000))
    (videos / "empty.avi").touch()
    run = pretrain(videos, out=tmp_path / "run", settings={**quick, "data.store": "auto"})
    found = entries(run.path)
    assert len(found) == 14
    assert sorted(path for path, row in found.items() if row["status"] == "skipped") == [
        "empty.avi",
        "noise.mp4",
        "text.mp4",
    ]
    assert found["text.mp4"]["reason"] == "not a video (text file)"
    assert found["short 1.mp4"]["reason"] == "1 frame, looped to 16"
    assert found["short 5.mp4"]["reason"] == "5 frames, looped to 16"
    assert found["short 20.mp4"]["reason"] == "20 frames, too short for stride 2"
    assert "11 used, 3 skipped (of 14 files): see" in capsys.readouterr().err.splitlines()[-2]


def test_only_very_short_videos_train_too(
    quick: dict[str, Any], tmp_path: Path, make_square: Callable[..., Any]
) -> None:
    (tmp_path / "videos").mkdir()
    for frames in (1, 2, 5, 17):
        write_video(tmp_path / "videos" / f"{frames}.mp4", make_square(frames, seed=frames))
    run = pretrain(tmp_path / "videos", out=tmp_path / "run", settings={**quick, "optim.epochs": 2})
    assert len(run.metrics) == 2


def test_fewer_videos_than_a_batch_are_repeated(quick: dict[str, Any], squares: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    shutil.copy(squares / "train" / "a" / "v00.mp4", tmp_path / "videos")
    run = pretrain(tmp_path / "videos", out=tmp_path / "run", settings={**quick, "optim.batch_size": 3})
    assert len(run.metrics) == 1


def test_a_video_that_breaks_while_training_is_named_and_counted(
    tiny: dict[str, Any],
    squares: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    original = DecodedVideos.read

    def read(self: DecodedVideos, video: int, indices: Any) -> Any:
        path = self.catalog.videos[video].path
        if path == "train/b/v03.mp4":
            raise VideoError(path, "the disk has a scratch here")
        return original(self, video, indices)

    monkeypatch.setattr(DecodedVideos, "read", read)
    run = pretrain(squares, out=tmp_path / "run", settings=tiny)
    assert run.finished is not None
    assert run.finished["unreadable"] == {"train/b/v03.mp4": "the disk has a scratch here"}
    lines = capsys.readouterr().err.splitlines()
    told = "train/b/v03.mp4 could not be read: the disk has a scratch here. Left out from the next epoch on."
    assert lines.count(told) == 2  # once in the frame stage, once in the video stage
    assert any("12 used, 0 skipped (of 12 files); 1 of those used broke while training" in line for line in lines)


def test_a_loss_that_is_not_finite_stops_with_the_videos_named(
    tiny: dict[str, Any], squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, steps = CACL.forward, iter([1.0, 1.0, 1.0, float("nan")])

    def forward(self: CACL, batch: Any) -> StepOutput:
        output = original(self, batch)
        factor = next(steps)
        return replace(output, losses={name: loss * factor for name, loss in output.losses.items()})

    monkeypatch.setattr(CACL, "forward", forward)
    settings = {**tiny, "run.save_minutes": 1e-9}
    with pytest.raises(UserError, match=r"loss of train is nan at step 4\. The last good checkpoint is kept") as caught:
        pretrain(squares, out=tmp_path / "run", settings=settings)
    named = [path for path in entries(tmp_path / "run") if path in str(caught.value)]
    assert len(named) == 4
    assert all(path.startswith("train/") for path in named)
    assert [p.name for p in (tmp_path / "run/checkpoints/train").iterdir()] == ["step-00000003"]
    assert not (tmp_path / "run" / "finished.json").exists()


def test_the_frame_stage_names_the_videos_of_its_frames(tiny: dict[str, Any], squares: Path, tmp_path: Path) -> None:
    settings = {**tiny, "frames.optim.lr": 1e30, "frames.optim.epochs": 9}
    with pytest.raises(UserError, match=r"frames.* at step.*Lower frames\.optim\.lr") as caught:
        pretrain(squares, out=tmp_path / "run", settings=settings)
    named = [path for path, row in entries(tmp_path / "run").items() if path in str(caught.value)]
    assert 1 <= len(named) <= 8
    assert all(path.startswith("train/") for path in named)


def test_the_run_keeps_its_own_copy_of_the_frame_weights(
    tiny: dict[str, Any], squares: Path, tmp_path: Path, finished: Path
) -> None:
    shutil.copytree(finished / "frame_encoder", tmp_path / "weights")
    settings = {**tiny, "model.frame_weights": str(tmp_path / "weights")}
    run = pretrain(squares, out=tmp_path / "r", method="v-moco+t", settings=settings)
    shutil.rmtree(tmp_path / "weights")
    longer = module.resume(run.path, settings={"optim.epochs": 3})
    assert longer.metrics[-1]["step"] == 6


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "mps"])
def test_a_device_that_is_not_there_is_named(
    device: str, tiny: dict[str, Any], squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match=f"run.device is {device}, but PyTorch finds none here"):
        pretrain(squares, out=tmp_path / "r", settings={**tiny, "run.device": device})
    assert not (tmp_path / "r").exists()


def test_unknown_names_get_the_nearest_one() -> None:
    with pytest.raises(UserError, match=r"smal is not a preset; .*Did you mean 'small'"):
        resolve_settings(preset="smal")
    with pytest.raises(UserError, match=r"vmoco is not a method; .*Did you mean 'v-moco'"):
        resolve_settings(method="vmoco")


def test_the_api_takes_dotted_settings_and_gives_a_run(finished: Path) -> None:
    from cacl import Run

    run = Run(finished)
    assert repr(run) == f"Run({str(finished)!r}, finished)"
    assert run.settings.optim.epochs == 2
    assert [row["kind"] for row in run.metrics] == ["frames"] * 4 + ["train"] * 4
    data = json.loads((finished / "data.json").read_text())
    assert set(data) == {"videos", "lists", "split", "pixels"}
    assert json.loads((finished / "environment.json").read_text())["torch"] == torch.__version__


def test_a_run_begun_beside_other_programs_keeps_its_thread_when_they_have_gone(
    tiny: dict[str, Any], squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(load, "usable_processors", lambda: [0, 1])
    monkeypatch.setattr(load, "others_busy", lambda: 1.0)
    try:
        settings = {**tiny, "run.threads": "auto", "optim.epochs": 1}
        run = pretrain(squares, out=tmp_path / "r", method="v-moco", settings=settings)
        assert torch.get_num_threads() == 1
        torch.set_num_threads(2)
        monkeypatch.setattr(load, "others_busy", lambda: 0.0)
        resume(run.path, epochs=2)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    assert RunFolder(run.path).resolved.settings.run.threads == 1
    said = "1 thread (other programs use 1.0 of 2 processors, and threads would wait for each other), 0 workers"
    assert (run.path / "log.txt").read_text().count(said) == 2


def test_precision_auto_is_resolved_and_written(tiny: dict[str, Any], squares: Path, tmp_path: Path) -> None:
    settings = {**tiny, "run.precision": "auto", "run.threads": "auto", "run.device": "auto", "data.workers": "auto"}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run = pretrain(squares, out=tmp_path / "r", method="v-moco", settings=settings)
    finally:
        torch.set_num_threads(threads)
    resolved = RunFolder(run.path).resolved
    for key in ("run.precision", "run.threads", "run.device", "data.workers"):
        assert resolved.origins[key].startswith("auto: "), key
    assert resolved.settings.run.threads == 1
    assert resolved.settings.run.precision in ("float32", "bfloat16", "float16")
