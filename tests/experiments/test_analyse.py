"""``analyse`` on a finished run: every part, its files, what is left out, and the numbers of its parts."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cacl.errors import UserError
from cacl.experiments.analyse import analyse
from cacl.reports.analysis import read_analysis
from cacl.training.pretrain import pretrain

FILES = [
    "attention.csv",
    "attention.npy",
    "attention.png",
    "degree.png",
    "features.csv",
    "features.png",
    "probes.png",
    "results.json",
    "similarity.png",
]


@pytest.fixture(scope="module")
def analysed(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    run = Path(shutil.copytree(finished, tmp_path_factory.mktemp("analysed") / "run"))
    return run, analyse(run)


def test_every_part_leaves_its_numbers_and_pictures(analysed: tuple[Path, dict[str, Any]]) -> None:
    run, results = analysed
    assert list(results) == ["about", "left out", "similarity", "attention", "degree", "features", "probes"]
    assert results["left out"] == {}
    assert results["about"]["steps"] == 4
    assert results["about"]["test videos"] == 4
    assert "trained on" not in results["about"]
    assert sorted(file.name for file in (run / "analysis").iterdir()) == FILES
    written = json.loads((run / "analysis" / "results.json").read_text())
    assert list(written) == list(results)
    for pair, row in results["similarity"]["pairs"].items():
        assert written["similarity"]["pairs"][pair] == pytest.approx(row, abs=1e-5)
    assert list(results["similarity"]["pairs"]) == ["gq_gk", "gq_tq", "gq_tk", "tq_tk"]
    assert results["similarity"]["clips"] == 12
    assert np.load(run / "analysis" / "attention.npy").shape == (33, 33)
    assert results["attention"]["clips"] == 50
    assert list(results["probes"]["playback speed"]["rows"]) == ["frame differences", "untrained", "cacl"]
    assert results["probes"]["playback speed"]["classes"] == ["1x", "2x"]  # 40 frames are too few for 4x
    assert results["probes"]["shuffle degree"]["chance"] == 6.25


def test_the_degree_numbers_are_those_of_the_training_s_end(analysed: tuple[Path, dict[str, Any]]) -> None:
    run, results = analysed
    end = json.loads((run / "finished.json").read_text())["degree"]
    assert results["degree"]["pairs"] == end["pairs"]
    assert results["degree"]["accuracy"] == pytest.approx(end["accuracy"])
    assert results["degree"]["mean error"] == pytest.approx(end["mean error"])


def test_the_table_of_features_names_the_test_videos(analysed: tuple[Path, dict[str, Any]]) -> None:
    rows = list(csv.DictReader((analysed[0] / "analysis" / "features.csv").open()))
    assert [(row["path"], row["label"]) for row in rows] == [
        ("test/a/v08.mp4", "a"),
        ("test/a/v10.mp4", "a"),
        ("test/b/v09.mp4", "b"),
        ("test/b/v11.mp4", "b"),
    ]
    assert all(
        np.isfinite(float(row[f"{name} {axis}"])) for row in rows for name in ("untrained", "cacl") for axis in "12"
    )


def test_one_part_again_is_the_same_and_keeps_the_others(
    analysed: tuple[Path, dict[str, Any]], tmp_path: Path, squares: Path
) -> None:
    run = Path(shutil.copytree(analysed[0], tmp_path / "run"))
    again = analyse(run, parts=["similarity"])
    assert again["similarity"] == analysed[1]["similarity"]
    assert set(again) == set(analysed[1])
    files = {path.name: path.read_bytes() for path in (run / "analysis").iterdir()}
    other = analyse(run, squares / "test", parts=["similarity"])  # other videos: what was found before is not theirs
    assert set(other) == {"about", "left out", "similarity"}
    place = run / "transfer" / "test" / "analysis"
    assert set(json.loads((place / "results.json").read_text())) == set(other)
    assert {path.name: path.read_bytes() for path in (run / "analysis").iterdir()} == files


def test_it_is_on_the_page_of_the_run(analysed: tuple[Path, dict[str, Any]]) -> None:
    page = (analysed[0] / "report.html").read_text()
    assert "cacl analyse" in page
    assert "Not here yet: attention" not in page
    assert "<h2>Where the video transformer looks</h2>" in page


def test_a_method_without_transformer_leaves_out_what_needs_it(
    squares: Path, tmp_path: Path, tiny: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**tiny, "optim.epochs": 1}
    sdp = pretrain(squares, out=tmp_path / "sdp", method="sdp", settings=settings)
    results = analyse(sdp.path, parts=["similarity", "attention", "degree"])
    assert set(results["left out"]) == {"similarity", "attention"}
    assert "degree" in results
    lines = capsys.readouterr().err.splitlines()
    assert "Left out: similarity, sdp draws no pairs together." in lines
    assert "Left out: attention, sdp has no video transformer." in lines


def test_of_other_methods_two_clips_are_a_pair_or_the_part_is_left_out(
    squares: Path, tmp_path: Path, tiny: dict[str, Any], cacl: Callable[..., Any]
) -> None:
    settings = {key: value for key, value in tiny.items() if not key.startswith("method.")} | {"optim.epochs": 1}
    run = pretrain(squares, out=tmp_path / "default", settings=settings).path
    assert "two clips" in cacl("analyse", run, "--only", "similarity").out
    found = json.loads((run / "analysis" / "results.json").read_text())["similarity"]["pairs"]["first_second"]
    assert set(found) == {"mean", "deviation", "unrelated mean", "unrelated deviation"}
    page = (run / "report.html").read_text()
    assert "How similar are positive pairs?" in page
    file = run / "analysis" / "results.json"
    earlier = json.loads(file.read_text())
    earlier["similarity"]["pairs"] = {}  # as an earlier version left it
    file.write_text(json.dumps(earlier))
    kept = read_analysis(run / "analysis")
    assert kept is not None
    assert kept.similarity is None
    other = pretrain(squares, out=tmp_path / "moco+be", method="moco+be", settings=settings).path
    results = analyse(other, parts=["similarity"])
    assert "similarity" not in results
    assert results["left out"] == {"similarity": "the embeddings of moco+be are not measured on unseen clips"}


@pytest.mark.slow
def test_v_moco_has_one_pair_alone(squares: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    settings = {**tiny, "optim.epochs": 1}
    v_moco = pretrain(squares, out=tmp_path / "v", method="v-moco", settings=settings)
    results = analyse(v_moco.path, parts=["similarity", "attention", "degree"])
    assert list(results["similarity"]["pairs"]) == ["gq_gk"]
    assert results["left out"] == {
        "attention": "v-moco has no video transformer",
        "tasks": "v-moco predicts nothing of time",
    }


def test_videos_without_parts_and_those_that_were_trained_on(
    run: Path, squares: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = analyse(run, squares / "train", parts=["degree", "probes"])
    assert results["about"]["tested on"] == "every fifth video"
    assert results["about"]["trained on"] == results["about"]["test videos"] == 1
    assert results["probes"]["arrow of time"]["train videos"] == 7
    told = capsys.readouterr().err
    assert "every fifth video is set apart (1 of 8)" in told
    assert "The run was trained on 1 of these 1 videos" in told
    few = analyse(run, squares / "train", parts=["features"])
    assert few["left out"] == {"features": "a picture needs 3 videos, there are 1"}
    few = analyse(run, squares / "test", parts=["probes"])
    assert few["left out"] == {"probes": "probes need 5 videos to learn from, there are 0"}


def test_what_cannot_be_done_is_refused_before_anything_is_written(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"atention is no part of the analysis; .* Did you mean 'attention'"):
        analyse(run, parts=["atention"])  # type: ignore[list-item]
    with pytest.raises(UserError, match="leave out --lists and --split, or name the videos too"):
        analyse(run, split=2)
    monkeypatch.setattr("cacl.evaluation.projection._PACKAGES", {"umap": ("no_such_module", "umap-learn")})
    with pytest.raises(UserError, match="needs umap-learn"):
        analyse(run, projection="umap")
    assert not (run / "analysis").exists()


def test_the_verb_prints_tables_or_json(
    analysed: tuple[Path, dict[str, Any]], tmp_path: Path, cacl: Callable[..., Any]
) -> None:
    run = Path(shutil.copytree(analysed[0], tmp_path / "run"))
    shown = cacl("analyse", run, "--only", "similarity, degree")  # and what is there already
    assert shown.status == 0
    for words in ("Gq, Tk", "always the same answer", "positions away", "arrow of time (2)"):
        assert words in shown.out
    assert shown.out.endswith(f"Pictures and numbers: {run / 'analysis'}\n")
    results = json.loads(cacl("analyse", run, "--only", "degree", "--json").out)
    written = json.loads((run / "analysis" / "results.json").read_text())["degree"]
    assert results["degree"]["counts"] == written["counts"]
    assert results["degree"]["accuracy"] == pytest.approx(written["accuracy"], abs=1e-5)


def test_the_verb_refuses_in_one_sentence(run: Path, cacl: Callable[..., Any]) -> None:
    cacl("analyse", run, "--projection", "tsn").refused("--projection is tsn", "Did you mean 'tsne'?")
    cacl("analyse", run, "--only", "tassk").refused("tassk is no part", "Did you mean 'tasks'?")
    cacl("analyse", run / "encoder").refused("is not a run folder")
