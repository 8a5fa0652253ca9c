"""What is asked for by name is checked before anything is made, and Python has the words of the command line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from cacl.errors import UserError
from cacl.machine.precision import PrecisionChoice
from cacl.models.weights import save_frame_weights
from cacl.run_folder import RunFolder
from cacl.training import pretrain as module
from cacl.training.pretrain import pretrain, resolve_settings, resume
from cacl.training.wiring import build_frames_network


@pytest.fixture
def quick(tiny: dict[str, Any]) -> dict[str, Any]:
    return {**tiny, "optim.epochs": 1, "method.twin": False, "method.pairs": ["gq_gk"], "method.degree_weight": 0.0}


def refuse(requested: str, models: Any, *, device: str) -> PrecisionChoice:
    raise UserError(f"precision is {requested}, but {len(models)} models are wrong on {device}")


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_a_precision_that_computes_wrongly_is_refused_before_anything_is_made(
    name: str, quick: dict[str, Any], squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "choose_precision", refuse)
    with pytest.raises(UserError, match=f"precision is {name}, but 1 models are wrong on cpu"):
        pretrain(squares, out=tmp_path / "r", settings={**quick, "run.precision": name})
    assert not (tmp_path / "r").exists()


def test_the_frame_encoder_is_checked_too_where_it_runs(
    tiny: dict[str, Any], squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "choose_precision", refuse)
    with pytest.raises(UserError, match="2 models are wrong"):
        pretrain(squares, out=tmp_path / "r", settings={**tiny, "run.precision": "bfloat16"})


def test_float32_and_what_auto_found_need_no_check(
    quick: dict[str, Any], squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = PrecisionChoice(torch.bfloat16, "a probe")
    with monkeypatch.context() as patch:
        patch.setattr(module, "choose_precision", lambda *parts, **keywords: found)
        run = pretrain(squares, out=tmp_path / "r", settings={**quick, "run.precision": "auto"})
    assert run.settings.run.precision == "bfloat16"
    monkeypatch.setattr(module, "choose_precision", refuse)
    assert resume(run.path, epochs=2).metrics[-1]["step"] == 4
    assert pretrain(squares, out=tmp_path / "other", settings=quick).finished


def test_lists_may_be_one_file(quick: dict[str, Any], squares: Path, tmp_path: Path) -> None:
    videos = Path(shutil.copytree(squares / "train", tmp_path / "videos"))
    names = sorted(path.relative_to(videos).as_posix() for path in videos.rglob("*.mp4"))[:5]
    (tmp_path / "train.txt").write_text("\n".join(names))
    run = pretrain(videos, out=tmp_path / "r", lists=tmp_path / "train.txt", settings=quick)
    assert "5 to train on" in (run.path / "log.txt").read_text()
    with pytest.raises(UserError, match=r"nowhere: there is no such folder of lists, or list file"):
        pretrain(videos, out=tmp_path / "s", lists=tmp_path / "nowhere", settings=quick)


def test_python_has_the_words_of_the_command_line(quick: dict[str, Any], squares: Path, tmp_path: Path) -> None:
    run = pretrain(squares, out=tmp_path / "r", epochs=3, batch_size=8, network="r2plus1d10", seed=7, settings=quick)
    settings, origins = run.settings, RunFolder(run.path).resolved.origins
    assert (settings.optim.epochs, settings.optim.batch_size) == (3, 8)
    assert (settings.model.network, settings.run.seed) == ("r2plus1d10", 7)
    assert {origins[key] for key in ("optim.epochs", "optim.batch_size", "model.network", "run.seed")} == {"flag"}


def test_none_is_a_value_in_python(quick: dict[str, Any], squares: Path, tmp_path: Path) -> None:
    given = {**quick, "data.start_window": None, "model.heads": 3, "model.frame_encoder": "resnet18"}
    run = pretrain(squares, out=tmp_path / "r", preset="released", settings=given)
    assert run.settings.data.start_window is None  # 46 in the preset: no video here is that long


@pytest.mark.parametrize(
    ("kind", "standardise", "warned"),
    [("file", "clip", True), ("file", "none", False), ("own", "clip", False), ("normalised", "clip", True)],
)
def test_imported_frame_weights_meet_standardised_pixels_with_a_word(
    kind: str, standardise: str, warned: bool, tiny: dict[str, Any], squares: Path, tmp_path: Path
) -> None:
    pixels = {"model.frame_mean": [0.4, 0.4, 0.4], "model.frame_std": [0.2, 0.2, 0.2]}
    source = build_frames_network(
        resolve_settings(flags={**tiny, **(pixels if kind == "normalised" else {})}).settings, weights=None
    )
    weights = tmp_path / ("weights.pth" if kind == "file" else "weights")
    if kind == "file":
        torch.save(source.state_dict(), weights)
    else:
        save_frame_weights(weights, source)
    given = {**tiny, "optim.epochs": 1, "model.frame_weights": str(weights), "model.standardise": standardise}
    run = pretrain(squares, out=tmp_path / "r", method="v-moco+t", settings=given)
    said = "will see pixels that model.standardise=clip standardises" in (run.path / "log.txt").read_text()
    assert said == warned
    own = build_frames_network(run.settings, weights=run.path / "frame_encoder")
    assert (own.pixel_mean is not None) == (kind == "normalised")


def test_frame_weights_that_contradict_the_settings_are_refused_before_anything_is_made(
    tiny: dict[str, Any], squares: Path, tmp_path: Path
) -> None:
    pixels = {"model.frame_mean": [0.4, 0.4, 0.4], "model.frame_std": [0.2, 0.2, 0.2]}
    save_frame_weights(
        tmp_path / "w", build_frames_network(resolve_settings(flags={**tiny, **pixels}).settings, weights=None)
    )
    given = {**tiny, **pixels, "model.frame_mean": [0.5, 0.5, 0.5], "model.frame_weights": str(tmp_path / "w")}
    with pytest.raises(UserError, match=r"was trained on pixels normalised with mean \[0.4, 0.4, 0.4\]"):
        pretrain(squares, out=tmp_path / "r", settings=given)
    assert not (tmp_path / "r").exists()


def test_clips_of_eight_frames_have_eight_degrees(tiny: dict[str, Any], squares: Path, tmp_path: Path) -> None:
    given = {**tiny, "data.frames": 8, "optim.epochs": 1}
    run = pretrain(squares, out=tmp_path / "r", method="sdp", settings=given)
    assert run.finished is not None
    assert run.finished["degree"]["chance"] == 12.5
    assert "there are 8 classes" in (run.path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("preset", ["small", "published"])
def test_two_methods_are_refused(preset: str) -> None:
    with pytest.raises(UserError, match=r"--method says vcop, and method\.name says pace: leave one of them out"):
        resolve_settings(preset=preset, method="vcop", flags={"method.name": "pace"})
    same = {"method.name": "vcop"}
    assert resolve_settings(preset=preset, method="vcop", flags=same).settings.method.name == "vcop"


def test_an_ablation_is_a_row_of_cacl() -> None:
    assert resolve_settings(method="v-moco", flags={"method.name": "cacl"}).settings.method.name == "cacl"
    with pytest.raises(UserError, match="leave one of them out"):
        resolve_settings(method="v-moco", assignments=["method.name=vcop"])
