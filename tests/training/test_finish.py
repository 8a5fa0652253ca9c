"""What a run leaves behind."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cacl.data.videos.dataset import Dataset, thinned
from cacl.errors import UserError
from cacl.models.encoder import Encoder
from cacl.run import Run
from cacl.run_folder import RunFolder
from cacl.training import finish as module
from cacl.training.finish import finish, task_result
from cacl.training.first_batch import _pixels
from cacl.training.pretrain import resolve_settings
from cacl.training.pretrain_stages import video_stage
from cacl.training.stop import StopRequest
from cacl.training.videos import open_run_data, training_numbers
from cacl.training.wiring import build_frames_network


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> RunFolder:
    return RunFolder.open(Path(shutil.copytree(finished, tmp_path / "run")))


def trained(run: RunFolder) -> tuple[Dataset, list[int], Any]:
    data = open_run_data(run)
    numbers = training_numbers(run.resolved.settings, data)
    frame_encoder = build_frames_network(run.resolved.settings, weights=run.path / "frame_encoder")
    with StopRequest() as stop:
        method, _ = video_stage(run, data, numbers, frame_encoder, stop)
    return data, numbers, method


def test_the_folder_of_a_finished_run(finished: Path) -> None:
    names = {str(p.relative_to(finished)) for p in finished.rglob("*") if p.is_file()}
    assert names == {
        ".lock",
        "config.yaml",
        "curves.png",
        "data.json",
        "environment.json",
        "finished.json",
        "log.txt",
        "metrics.jsonl",
        "report.html",
        "results.json",
        "videos.csv",
        "samples/first-batch.png",
        *(f"{folder}/{name}" for folder in ("encoder", "initial") for name in ("config.json", "README.md")),
        *(f"{folder}/model.safetensors" for folder in ("encoder", "initial", "frame_encoder")),
        "frame_encoder/config.json",
        *(f"checkpoints/frames/step-00000004/{name}" for name in ("manifest.json", "state.pt")),
        *(f"checkpoints/train/step-00000004/{name}" for name in ("manifest.json", "state.pt")),
    }
    for picture in ("curves.png", "samples/first-batch.png"):
        assert (finished / picture).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_encoder_is_the_trained_network(finished: Path) -> None:
    state = torch.load(finished / "checkpoints/train/step-00000004/state.pt", weights_only=True)["method"]
    encoder = Encoder.load(finished)
    for name, value in encoder.network.state_dict().items():
        assert torch.equal(value, state[f"query.network.{name}"])
    initial = Run(finished).untrained
    assert not torch.equal(next(initial.parameters()), next(encoder.parameters()))
    assert encoder.clip == initial.clip
    card = (finished / "encoder" / "README.md").read_text()
    assert "8 videos, 4 steps, preset small" in card


def test_what_was_found_is_written_and_said(finished: Path) -> None:
    found = Run(finished).finished
    assert found is not None
    assert found["steps"] == 4
    assert found["degree"]["chance"] == 6.25
    assert found["degree"]["tested on"] == "unseen videos"
    assert found["degree"]["pairs"] == 4 * module.TEST_DRAWS
    assert 0 <= found["degree"]["accuracy"] <= 100
    log = (finished / "log.txt").read_text()
    for warning in found["warnings"]:
        assert f"Warning: {warning}" in log
    assert "12 used, 0 skipped (of 12 files)" in log
    with (finished / "videos.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["used"] * 12


def test_no_auto_is_left_and_each_value_has_its_origin(finished: Path) -> None:
    resolved = RunFolder(finished).resolved
    settings = resolved.settings.model_dump()
    assert settings["data"].pop("levels") == "auto"  # what was found stands beside the videos
    assert RunFolder(finished).data["pixels"] == {"colours": "shown", "levels": [0.0, 1.0]}
    assert "auto" not in [v for v in _leaves(settings) if isinstance(v, str)]
    assert resolved.origins["optim.epochs"] == "flag"
    assert resolved.origins["method.loss"] == "preset small"


def _leaves(tree: Any) -> list[Any]:
    return [leaf for value in tree.values() for leaf in _leaves(value)] if isinstance(tree, dict) else [tree]


def test_finishing_twice_changes_nothing(run: RunFolder) -> None:
    before = {name: (run.path / name).read_bytes() for name in ("finished.json", "encoder/model.safetensors")}
    (run.path / "finished.json").unlink()
    finish(run, *trained(run))
    assert before == {name: (run.path / name).read_bytes() for name in before}


def test_videos_that_broke_while_training_are_counted(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    finish(run, *trained(run), unreadable={"train/a/v00.mp4": "breaks"})
    assert json.loads((run.path / "finished.json").read_text())["unreadable"] == {"train/a/v00.mp4": "breaks"}
    assert "1 of those used broke while training (train/a/v00.mp4)" in capsys.readouterr().err


def test_a_stop_is_heeded_before_the_encoder_is_written(run: RunFolder) -> None:
    (run.path / "finished.json").unlink()
    shutil.rmtree(run.path / "encoder")

    def check() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finish(run, *trained(run), check=check)
    assert not (run.path / "finished.json").exists()
    with pytest.raises(UserError):
        _ = Run(run.path).encoder


def test_the_degree_test_leaves_the_method_as_it_was(run: RunFolder) -> None:
    data, numbers, method = trained(run)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    method.train()
    (task,) = method.tasks()
    first = task_result(task, run.resolved.settings, data, numbers, method)
    assert method.training
    assert all(torch.equal(before[key], value) for key, value in method.state_dict().items())
    assert first == task_result(task, run.resolved.settings, data, numbers, method)


def test_without_a_test_part_new_clips_of_the_training_videos_are_told(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, numbers, method = trained(run)
    monkeypatch.setattr(Dataset, "has_test", False)
    found = task_result(method.tasks()[0], run.resolved.settings, data, numbers, method)
    assert found["tested on"] == "new clips of the training videos"
    assert found["pairs"] == 8 * module.TEST_DRAWS


@pytest.mark.parametrize("count", [0, 1, 1999, 2000, 2001, 5000])
def test_of_very_many_videos_some_are_tested(count: int) -> None:
    kept = thinned(list(range(count)), module.MOST_VIDEOS)
    assert len(kept) <= module.MOST_VIDEOS
    assert len(kept) >= min(count, 1000)
    assert kept == sorted(set(kept))


def test_views_are_drawn_with_their_own_colours(tiny: dict[str, Any]) -> None:
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    plain = {**tiny, "model.standardise": "none"}
    settings = resolve_settings(flags={**plain, "augment.mean": mean, "augment.std": std}).settings
    pixels = torch.rand(2, 3, 4, 5, 5)
    shape = (1, 3, 1, 1, 1)
    view = (pixels - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    assert np.allclose(_pixels(view, settings.augment), pixels, atol=1e-6)
    assert torch.equal(_pixels(pixels, resolve_settings(flags=plain).settings.augment), pixels)
