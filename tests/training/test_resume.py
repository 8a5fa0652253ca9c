"""What may change between two sittings of a run, what may not, and what changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cacl.data.clips.batch import ClipBatch
from cacl.data.clips.loader import ClipLoader
from cacl.data.videos.scan import scan
from cacl.data.videos.store import build_store
from cacl.errors import UserError
from cacl.run_folder import RunFolder
from cacl.training.pretrain import pretrain, resume

pytestmark = pytest.mark.usefixtures("quick_end")
Fingerprint = Callable[[Path], dict[str, Any]]


def training(found: dict[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in ("checkpoint", "encoder", "untrained", "metrics", "found")}


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(
    workers: int, finished: Path, squares: Path, tiny: dict[str, Any], tmp_path: Path, fingerprint: Fingerprint
) -> None:
    run = pretrain(squares, out=tmp_path / "run", settings={**tiny, "data.workers": workers})
    assert fingerprint(run.path) == fingerprint(finished)


def test_a_raw_store_gives_what_the_files_give(
    finished: Path, squares: Path, tiny: dict[str, Any], tmp_path: Path, fingerprint: Fingerprint
) -> None:
    build_store(scan(squares), tmp_path / "s", height=32, width=40, kind="raw")
    run = pretrain(tmp_path / "s", out=tmp_path / "run", settings=tiny)
    assert training(fingerprint(run.path)) == training(fingerprint(finished))


def test_kept_frames_are_those_of_the_files_but_for_compression(
    squares: Path, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: dict[str, list[ClipBatch]] = {"none": [], "auto": []}
    epoch = ClipLoader.epoch

    def noted(loader: ClipLoader, number: int, **rest: Any) -> Iterator[ClipBatch]:
        for batch in epoch(loader, number, **rest):
            batches[store].append(batch)
            yield batch

    monkeypatch.setattr(ClipLoader, "epoch", noted)
    for store in batches:
        pretrain(squares, out=tmp_path / store, settings={**tiny, "data.store": store})
    assert len(batches["none"]) == len(batches["auto"]) > 4  # frames, then clips
    for file, kept in zip(batches["none"], batches["auto"], strict=True):
        assert file.video.tolist() == kept.video.tolist()
        errors = [a.double() - b.double() for a, b in zip(file.clips, kept.clips, strict=True)]
        error = torch.cat([error.flatten() for error in errors])
        assert 0 < error.square().mean() < 255**2 / 10**3.6  # 36 dB


def test_a_finished_run_whose_checkpoint_is_damaged_is_not_trained_anew(run: Path) -> None:
    (checkpoint,) = (run / "checkpoints" / "train").glob("step-*")
    (checkpoint / "state.pt").write_bytes(b"xx")
    with pytest.raises(UserError, match="no checkpoint is whole"):
        resume(run, epochs=3)
    assert (checkpoint / "state.pt").read_bytes() == b"xx"


def test_other_settings_are_refused_with_both_values(run: Path) -> None:
    before = (run / "config.yaml").read_bytes()
    with pytest.raises(UserError) as caught:
        resume(run, settings={"optim.lr": 0.5, "run.seed": 3, "data.workers": 2})
    assert "optim.lr was 0.002, you asked for 0.5" in str(caught.value)
    assert "run.seed was 0, you asked for 3" in str(caught.value)
    assert "data.workers" not in str(caught.value)
    with pytest.raises(UserError, match=r"optim\.epochs was 2, 1 is fewer"):
        resume(run, settings={"optim.epochs": 1})
    with pytest.raises(UserError, match=r"Did you mean 'optim\.lr'"):
        resume(run, assignments=["optim.lrr=0.5"])
    assert (run / "config.yaml").read_bytes() == before


def test_a_finished_run_says_so(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name not in ("log.txt", ".lock")}
    resume(run)
    assert "is finished already; a longer training: cacl pretrain --resume" in capsys.readouterr().err
    assert before == {p: p.read_bytes() for p in before}


def test_more_epochs_go_on_where_it_ended(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = (run / "metrics.jsonl").read_text().splitlines()
    longer = resume(run, settings={"optim.epochs": 4, "data.workers": 1})
    assert "Training goes on to 4 epochs; the schedule is worked out anew." in capsys.readouterr().err
    assert (run / "metrics.jsonl").read_text().splitlines()[: len(old)] == old
    rows = [row for row in longer.metrics if row["kind"] == "train"]
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert longer.finished is not None
    assert longer.finished["steps"] == 8
    assert RunFolder(run).resolved.origins["optim.epochs"] == "resume"
    assert rows[4]["lr"] == pytest.approx(0.002 / 2)  # half of the longer cosine
    assert rows[7]["lr"] > 0


def test_a_run_in_use_is_refused(run: Path) -> None:
    with RunFolder.open(run), pytest.raises(UserError, match=f"in use by process {os.getpid()}"):
        resume(run)
    with RunFolder.open(run), pytest.raises(UserError, match="in use by"):
        resume(run, settings={"optim.epochs": 9})
    assert RunFolder(run).resolved.settings.optim.epochs == 2


def test_what_is_no_run_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run folder"):
        resume(tmp_path / "nothing")
