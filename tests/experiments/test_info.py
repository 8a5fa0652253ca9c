"""``info``: every kind of folder and file says what it is; runs say how far they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cacl.data.videos.scan import scan
from cacl.data.videos.store import build_store
from cacl.errors import UserError
from cacl.experiments.info import info, text
from cacl.models.cnn3d import build_cnn3d
from cacl.models.encoder import ClipSpec, Encoder
from cacl.models.export import export_encoder
from cacl.models.frame_encoder import build_frame_encoder
from cacl.run_folder import RunFolder


def told(path: Path) -> dict[str, Any]:
    """The facts, which are JSON and have a readable form, and were found without changing anything."""
    facts = info(path)
    assert json.loads(json.dumps(facts)) == facts
    assert text(facts).startswith(f"{path}: {facts['kind']}")
    return facts


# ---- runs ------------------------------------------------------------------------------------------------------------


def test_a_finished_run(run: Path):
    before = sorted((p, p.stat().st_mtime_ns) for p in run.rglob("*"))
    facts = told(run)
    assert (facts["kind"], facts["state"], facts["method"]) == ("run", "finished", "cacl")
    # 8 videos in batches of 4, two epochs; 40 frames of each, every tenth: 32 in batches of 8, one epoch
    assert facts["stages"] == {"frames": {"step": 4, "of": 4}, "train": {"step": 4, "of": 4}}
    assert facts["network"] == "r3d10 of width 4"
    assert facts["videos"].startswith("12 used, 0 skipped")
    assert "go on" not in facts
    assert sorted((p, p.stat().st_mtime_ns) for p in run.rglob("*")) == before


def test_a_stopped_run(run: Path):
    (run / "finished.json").unlink()
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("  epochs: 2 ", "  epochs: 5 "))
    facts = told(run)
    assert facts["state"] == "stopped at step 4 of 10"
    assert facts["go on"] == f"cacl pretrain --resume {run}"
    shutil.rmtree(run / "checkpoints" / "train")
    assert told(run)["state"] == "stopped at step 4 of 4 of the frame stage"
    next((run / "checkpoints" / "frames").glob("*/state.pt")).write_bytes(b"torn")
    assert told(run)["state"] == "stopped before its first checkpoint"


def test_a_running_run(run: Path):
    (run / "finished.json").unlink()
    with RunFolder.open(run):
        assert told(run)["state"].startswith("running (process ")
    assert told(run)["state"].startswith("stopped")


def test_a_run_that_never_began(run: Path):
    for path in run.iterdir():
        if path.name not in (".lock", "data.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert told(run)["state"] == "never begun"


def test_a_run_with_settings_of_another_version(run: Path):
    (run / "config.yaml").write_text("preset: small\nwhat_was_that: 3\n")
    facts = told(run)
    assert facts["state"] == "finished"
    assert "another version of cacl" in facts["settings"]


def test_a_fine_tuning(run: Path, tmp_path: Path):
    tuned = tmp_path / "tuned"
    for name in ("split1", "split2"):
        (tuned / "parts" / name).mkdir(parents=True)
    shutil.copy(run / "config.yaml", tuned)
    (tuned / "data.json").write_text(json.dumps({"videos": "v", "verb": "finetune"}))
    assert told(tuned)["state"] == "stopped before its first checkpoint"
    (tuned / "parts" / "split1" / "result.json").write_text("{}")
    facts = told(tuned)
    assert (facts["verb"], facts["state"]) == ("finetune", "stopped with 1 parts done")
    assert facts["parts"] == {"split1": "done", "split2": "begun"}
    assert facts["go on"] == f"cacl finetune --resume {tuned}"
    (tuned / "results.json").write_text("{}")
    assert told(tuned)["state"] == "finished"


def test_a_folder_of_runs(run: Path):
    shutil.copytree(run, run.parent / "second")
    (run.parent / "second" / "finished.json").unlink()
    (run.parent / "notes.txt").write_text("x")
    assert told(run.parent)["runs"] == {"run": "finished", "second": "stopped at step 4 of 4"}


# ---- what lies in a run ----------------------------------------------------------------------------------------------


def test_the_parts_of_a_run(run: Path):
    assert told(run / "encoder")["kind"] == "encoder"
    assert told(run / "encoder")["clip"]["size"] == 32
    network = build_cnn3d("r3d10", width=4)
    assert told(run / "encoder")["parameters"] == sum(p.numel() for p in network.parameters())
    assert told(run / "frame_encoder") | {"kind": "frame encoder", "name": "resnet18", "width": 4} == told(
        run / "frame_encoder"
    )
    (step,) = (run / "checkpoints" / "train").iterdir()
    for path in (step, step / "state.pt"):
        assert told(path) | {"kind": "checkpoint", "state": "whole", "step": 4} == told(path)
    (step / "state.pt").write_bytes((step / "state.pt").read_bytes()[:-1])
    assert told(step)["state"].startswith("damaged")
    catalog = told(run / "videos.csv")
    assert catalog | {"kind": "catalog of videos", "frames": 480, "labels": 2} == catalog
    assert catalog["splits"] == {"train": 8, "test": 4}
    results = told(run / "results.json")
    assert results["kind"] == "results"
    assert results["degree accuracy in %"] == json.loads((run / "results.json").read_text())["degree"]["accuracy"]
    for name in ("log.txt", "checkpoints", "curves.png", "finished.json", "samples/first-batch.png"):
        assert told(run / name) | {"kind": "part of a run", "of": str(run)} == told(run / name)
    assert told(run / "encoder" / "model.safetensors")["kind"] == "part of an encoder"


def test_a_frame_store(squares: Path, tmp_path: Path):
    build_store(scan(squares), tmp_path / "store", height=24, width=32)
    facts = told(tmp_path / "store")
    assert (facts["kind"], facts["frame size"], facts["frames"]) == ("frame store", "24x32 (height x width)", 480)
    (tmp_path / "half.partial").mkdir()
    (tmp_path / "half.partial" / "request.json").write_text("{}")
    assert told(tmp_path / "half.partial")["state"] == "not complete"


# ---- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("to", "suffix"), [("torch", "pt2"), ("onnx", "onnx"), ("safetensors", "safetensors")])
def test_exports(to: Any, suffix: str, tmp_path: Path):
    encoder = Encoder("c3d", width=2, clip=ClipSpec(resize=(40, 52), size=32, standardise="clip"))
    export_encoder(encoder, tmp_path / f"e.{suffix}", to=to)
    facts = told(tmp_path / f"e.{suffix}")
    assert facts["kind"].endswith("of cacl export")
    assert (facts["network"], facts["clip"]["standardise"]) == ("c3d of width 2", "clip")


def test_weights_of_others(tmp_path: Path):
    state = {f"base_network.{name}": value for name, value in build_cnn3d("r3d18", width=2).state_dict().items()}
    torch.save(state | {"fc8.bias": torch.zeros(3)}, tmp_path / "vcop.pt")
    facts = told(tmp_path / "vcop.pt")
    assert (facts["network"], facts["names begin with"]) == ("r3d18 of width 2", "base_network.")
    assert facts["beside them"] == "1 other tensors"
    torch.save(build_frame_encoder("resnet18", width=2).state_dict(), tmp_path / "frames.pth")
    assert told(tmp_path / "frames.pth")["network"] == "resnet18 of width 2 over single frames"
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="holds no C3D"):
        info(tmp_path / "other.pth")


def test_a_classifier_or_any_other_folder_of_ours(tmp_path: Path):
    config = {"format": "cacl classifier", "version": 1, "classes": ["a", "b"], "network": {"name": "c3d", "width": 4}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    facts = told(tmp_path)
    assert (facts["kind"], facts["network"], facts["classes"]) == ("classifier", "c3d of width 4", ["a", "b"])


# ---- what it cannot tell ---------------------------------------------------------------------------------------------


def test_what_is_not_known(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("work of years")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("a: 1\n")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    (tmp_path / "list.json").write_text("[1]")
    for name in ("thesis.tex", "other", "table.csv", "list.json"):
        with pytest.raises(UserError, match=f"{name} is nothing that cacl writes"):
            info(tmp_path / name)
    with pytest.raises(UserError, match=r"thesys\.tex does not exist; did you mean .*thesis\.tex\?"):
        info(tmp_path / "thesys.tex")
    (tmp_path / "own.csv").write_text("path,label\na.mp4,x\nb.mp4,y\n")
    assert told(tmp_path / "own.csv")["rows"] == 2


@pytest.mark.parametrize("name", ["e.pt2", "e.onnx", "e.pth", "e.safetensors"])
def test_damaged_weights(name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(b"PK\x03\x04 not what it says")
    with pytest.raises(UserError, match=name) as caught:
        info(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_long_lists_are_cut_in_the_text(cacl: Callable[..., Any]):
    facts = {"path": "p", "kind": "k", "labels": list(range(25)), "none": None, "of": {"a": {"b": 1}}}
    lines = text(facts).splitlines()
    assert lines[1].endswith("18, 19 and 5 more")
    assert [line.split() for line in lines[2:]] == [["none", "none"], ["of", "a", "(b", "1)"]]
