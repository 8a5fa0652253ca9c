"""A run that cannot begin leaves nothing behind, and nothing that is there is touched."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from cacl.errors import UserError
from cacl.models.weights import save_frame_weights
from cacl.run_folder import RunFolder
from cacl.training import pretrain as module
from cacl.training.pretrain import pretrain, resolve_settings, resume
from cacl.training.wiring import build_frames_network

pytestmark = pytest.mark.usefixtures("quick_end")


def test_a_folder_without_a_video_leaves_no_run_behind(tiny: dict[str, Any], squares: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "notes.txt").write_text("no video here")
    for _ in range(2):
        with pytest.raises(UserError, match="no video found among 1 file"):
            pretrain(tmp_path / "videos", out=tmp_path / "runs" / "r", settings=tiny)
        assert not (tmp_path / "runs" / "r").exists()
    shutil.copytree(squares / "train" / "a", tmp_path / "videos" / "a")
    assert pretrain(tmp_path / "videos", out=tmp_path / "runs" / "r", method="v-moco", settings=tiny).finished


def test_a_run_that_never_began_takes_away_what_is_its_own_and_nothing_else(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no video found"):
        pretrain(tmp_path / "videos", out=tmp_path / "empty", settings=tiny)
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]
    data = {"videos": "videos", "lists": None, "split": 1}
    run = RunFolder.create(tmp_path / "out", resolve_settings(flags=tiny), data)
    (run.path / "thesis.tex").write_text("mine")
    run.discard()
    assert [path.name for path in run.path.iterdir()] == ["thesis.tex"]


def test_no_video_that_is_long_enough_leaves_no_run_behind(tiny: dict[str, Any], squares: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no video of data\.start_window 46 frames"):
        pretrain(squares, out=tmp_path / "r", settings={**tiny, "data.start_window": 46})
    assert not (tmp_path / "r").exists()


def test_frames_that_were_decoded_are_not_thrown_away(tiny: dict[str, Any], squares: Path, tmp_path: Path) -> None:
    settings = {**tiny, "data.start_window": 46, "data.store": "auto"}
    with pytest.raises(UserError, match="Go on: cacl pretrain --resume"):
        pretrain(squares, out=tmp_path / "r", settings=settings)
    assert (tmp_path / "r" / "store" / "frames.bin").exists()


def test_a_new_run_is_advised_as_the_check_of_its_videos_would(
    tiny: dict[str, Any], squares: Path, tmp_path: Path
) -> None:
    short = {**tiny, "optim.epochs": 1, "optim.batch_size": 12}
    run = pretrain(squares, out=tmp_path / "r", method="v-moco", settings=short)
    advice = "Advice: 8 videos to train on are few for batches of 12: try --batch-size 8, so that no video is twice"
    assert (run.path / "log.txt").read_text().count(advice) == 1
    resume(run.path, epochs=2)
    assert (run.path / "log.txt").read_text().count("Advice:") == 1
    fits = pretrain(squares, out=tmp_path / "fits", method="v-moco", settings={**short, "optim.batch_size": 8})
    assert "Advice:" not in (fits.path / "log.txt").read_text()


class Died(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("writes", range(3))
def test_a_process_that_died_while_it_made_the_folder_blocks_nothing(
    writes: int, tiny: dict[str, Any], squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, left = RunFolder.write, iter(range(writes))

    def write(self: RunFolder, name: str, text: str) -> None:
        if next(left, None) is None:
            (self.path / f".{name}.partial").write_text(text[:10])
            raise Died
        original(self, name, text)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write", write)
        with pytest.raises(Died):
            pretrain(squares, out=tmp_path / "r", method="v-moco", settings=tiny)
    assert not (tmp_path / "r" / "config.yaml").exists()
    monkeypatch.setattr(module, "_train", lambda run, new, profile: run)
    run: Any = pretrain(squares, out=tmp_path / "r", method="v-moco", settings=tiny)
    assert run.resolved.settings.method.pairs == ("gq_gk",)
    assert run.data["videos"] == str(squares)
    assert sorted(p.name for p in run.path.iterdir()) == [".lock", "config.yaml", "data.json", "environment.json"]


def test_a_folder_with_something_else_in_it_is_not_touched(tiny: dict[str, Any], squares: Path, tmp_path: Path) -> None:
    for name in ("data.json", "thesis.tex"):
        folder = tmp_path / name.split(".")[0]
        folder.mkdir()
        (folder / name).write_text("mine")
        with pytest.raises(UserError, match="exists and is not empty"):
            pretrain(squares, out=folder, settings=tiny)
        assert [p.name for p in folder.iterdir()] == [name]
        assert (folder / name).read_text() == "mine"
    with pytest.raises(UserError, match="is a file; choose another --out"):
        pretrain(squares, out=folder / name, settings=tiny)


def test_a_run_is_not_written_over(run: Path, tiny: dict[str, Any], squares: Path) -> None:
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    with pytest.raises(UserError) as caught:
        pretrain(squares, out=run, settings=tiny)
    assert f"cacl pretrain --resume {run}" in str(caught.value)
    assert f"choose another --out for a new one, for example {run}-2" in str(caught.value)
    assert before == {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}


def test_wrong_frame_weights_are_found_before_anything_is_made(
    tiny: dict[str, Any], squares: Path, tmp_path: Path
) -> None:
    other = resolve_settings(flags={**tiny, "model.frame_width": 8}).settings
    save_frame_weights(tmp_path / "wide", build_frames_network(other, weights=None))
    with pytest.raises(UserError, match="wide"):
        pretrain(squares, out=tmp_path / "r", settings={**tiny, "model.frame_weights": str(tmp_path / "wide")})
    with pytest.raises(UserError, match="nowhere"):
        pretrain(squares, out=tmp_path / "r", settings={**tiny, "model.frame_weights": str(tmp_path / "nowhere.pth")})
    assert not (tmp_path / "r").exists()
