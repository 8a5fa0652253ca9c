"""The page of a run, and what its method is called in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from cacl.errors import UserError
from cacl.experiments.report import report
from cacl.machine.device import run_device
from cacl.presets import ABLATIONS
from cacl.run import Run
from cacl.run_folder import RunFolder
from cacl.training.pretrain import resolve_settings


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Run:
    return Run(shutil.copytree(finished, tmp_path / "copy"))


def test_the_end_of_a_training_leaves_a_page_without_retrieval(finished: Path) -> None:
    html = (finished / "report.html").read_text(encoding="utf-8")
    for part in ("degree", "curves", "samples", "data", "settings"):
        assert f'<section id="{part}">' in html
    assert "Clips of the first batch" in html
    assert "<details><summary>frame stage</summary>" in html
    assert '<section id="retrieval">' not in html
    found = Run(finished).finished
    assert found is not None
    assert all(warning in html for warning in found["warnings"])
    assert json.loads((finished / "results.json").read_text())["degree"]["chance"] == 6.25
    assert (finished / "report.html").stat().st_size < 2e6


def test_the_page_is_where_report_says(finished: Path) -> None:
    before = (finished / "report.html").read_bytes()
    assert Run(finished).report() == finished / "report.html"
    assert (finished / "report.html").read_bytes() == before


def test_a_page_that_was_deleted_is_made_again_by_report(copy: Run) -> None:
    (copy.path / "report.html").unlink()
    with pytest.raises(UserError, match="make it again: cacl report"):
        copy.report()
    html = report([copy.path]).read_text(encoding="utf-8")
    assert copy.report() == copy.path / "report.html"
    assert '<section id="samples">' in html
    assert '<section id="degree">' in html


def test_an_unfinished_run_has_no_page(copy: Run) -> None:
    (copy.path / "finished.json").unlink()
    with pytest.raises(UserError, match="is not finished; continue it"):
        copy.report()


def named(tmp_path: Path, **given: Any) -> str:
    folder = RunFolder.create(tmp_path / "mine", resolve_settings(**given), {"videos": "v", "lists": None, "split": 1})
    return Run(folder.path).method


@pytest.mark.parametrize("method", list(ABLATIONS))
@pytest.mark.parametrize("preset", ["small", "released"])
def test_a_method_keeps_its_name(preset: str, method: str, tmp_path: Path) -> None:
    assert named(tmp_path, preset=preset, method=method) == method


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"preset": "small"}, "cvrl"),
        ({"preset": "small", "method": "cacl"}, "cacl"),
        ({"preset": "paper"}, "cacl"),
        ({"preset": "released"}, "cacl"),  # its joint script learns nothing from the degree head
        ({"flags": {"method.name": "cacl", "method.degree_weight": 0.0}}, "cacl"),
        ({"method": "v-moco", "flags": {"method.pairs": ["gq_tk"]}}, "mine"),
    ],
)
def test_what_no_ablation_was_named_for(given: dict[str, Any], name: str, tmp_path: Path) -> None:
    assert named(tmp_path, **given) == name


def test_a_device_that_is_not_here_is_replaced_with_a_word(copy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    file = copy.path / "config.yaml"
    text = file.read_text().replace("device: cpu", "device: cuda").replace("precision: float32", "precision: bfloat16")
    file.write_text(text)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert run_device(copy.settings.run, copy.path, say=said.append) == ("cpu", None)
    assert "was trained on cuda, which is not there; evaluating on cpu (no GPU found)" in said.pop()
    file.write_text(text.replace("device: cuda", "device: cpu"))
    assert run_device(copy.settings.run, copy.path, say=said.append) == ("cpu", torch.bfloat16)
    assert not said
