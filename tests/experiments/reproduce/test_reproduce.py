"""``reproduce`` on a handful of squares: what is trained, kept, shared and shown, and what is refused."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cacl.errors import UserError
from cacl.experiments import plan_folder
from cacl.experiments.evaluate import evaluate
from cacl.experiments.reproduce import parts as reproduce_parts
from cacl.experiments.reproduce import reproduce as module
from cacl.experiments.reproduce import scale as reproduce_scale
from cacl.experiments.reproduce.paper_tables import PaperTable, Pretraining, paper_table
from cacl.experiments.reproduce.parts import Study, measured
from cacl.experiments.reproduce.reproduce import reproduce
from cacl.experiments.reproduce.scale import Scale, paper_places
from cacl.run import Run
from cacl.run_folder import RunFolder
from cacl.training.stop import Stopped

RUNS = {
    "cacl-c3d-ucf101-seed0",
    "cacl-r3d10-ucf101-seed0",
    "cacl-r2plus1d10-ucf101-seed0",
    "cacl-c3d-kinetics400-seed0",
}
OTHERS = {f"{method}-{network}-ucf101-seed0" for network in ("c3d", "r3d10", "r2plus1d10")
          for method in ("vcop", "pace+context")} | {"dsm-c3d-ucf101-seed0", "rspnet-c3d-ucf101-seed0"}  # fmt: skip
# Trained here is every method once, and CACL with every network; what these would add is seconds.
AGAIN = {f"{method}-{network}-ucf101-seed0" for network in ("c3d", "r2plus1d10") for method in ("vcop", "pace+context")}


@pytest.fixture(scope="module")
def mini(squares: Path, quick_end: None, tiny: dict[str, Any]) -> Iterator[None]:
    """The scale ``tiny`` with a few squares in the place of its videos, and a second a training."""
    # which method, each row says
    settings = {key: value for key, value in tiny.items() if key != "data.store" and not key.startswith("method.")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reproduce_scale, "_TINY_PRETRAINING", {**settings, "data.frame_rate": 20.0, "optim.epochs": 1})
        patch.setattr(reproduce_scale, "make_videos", lambda folder, **others: shutil.copytree(squares, folder))
        yield


def fewer_trained(key: str) -> PaperTable:
    """The table with the paper's numbers alone in the rows of ``AGAIN``."""
    table = paper_table(key)
    rows = [replace(row, ours=None) if row.ours and f"{row.ours.name}-seed0" in AGAIN else row for row in table.rows]
    return replace(table, rows=tuple(rows))


@pytest.fixture(scope="module")
def table4(mini: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    out = tmp_path_factory.mktemp("reproduce") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "paper_table", fewer_trained)
        yield out, reproduce("table4", out=out)


def of(results: dict[str, Any], name: str, net: str) -> dict[str, Any]:
    (row,) = [row for row in results["rows"] if (row["name"], row["facts"]["net"]) == (name, net)]
    return dict(row)


def test_ours_stands_beside_the_papers_row(table4: tuple[Path, dict[str, Any]]) -> None:
    out, results = table4
    assert {f"{wanted.name}-seed0" for wanted in paper_table("table4").pretrainings} == RUNS | OTHERS
    assert {path.name for path in (out / "runs").iterdir()} == (RUNS | OTHERS) - AGAIN
    ours = of(results, "CACL", "R3D")
    assert ours["paper"]["UCF101"]["R@1"] == 41.1
    assert set(ours["ours"]) == {"UCF101", "HMDB51"}
    assert 0 <= ours["ours"]["HMDB51"]["R@1"] <= ours["ours"]["HMDB51"]["R@5"] <= 100
    assert set(of(results, "CACL*", "C3D")["ours"]) == {"UCF101"}  # where the paper has a number
    assert set(of(results, "VCOP", "R3D")["ours"]) == {"UCF101", "HMDB51"}
    assert set(of(results, "RSPNet", "C3D")["ours"]) == {"UCF101"}
    assert all(row["sd"] == {} for row in results["rows"])  # one seed
    names = [(row["name"], row["facts"].get("net")) for row in results["references"]]
    assert names[:4] == [("chance", None), ("colour histogram", None), ("thumbnail", None), ("untrained", "C3D")]
    assert ("untrained", "R(2+1)D") in names
    assert "generated videos stand in for UCF101" in results["notes"][0]


def test_the_numbers_are_those_of_evaluate(table4: tuple[Path, dict[str, Any]]) -> None:
    """Transfer: trained on one set, searched in another, as ``cacl evaluate RUN VIDEOS`` does it."""
    out, results = table4
    found = evaluate(out / "runs" / "cacl-r3d10-ucf101-seed0", out / "videos" / "hmdb51")["retrieval"]
    assert of(results, "CACL", "R3D")["ours"]["HMDB51"] == pytest.approx(found["cacl"])
    references = {(row["name"], row["facts"].get("net")): row["ours"]["HMDB51"] for row in results["references"]}
    assert references["untrained", "R3D"] == pytest.approx(found["untrained"])
    assert references["chance", None] == pytest.approx(found["chance"])


def test_the_frame_encoder_is_trained_once_and_shared(table4: tuple[Path, dict[str, Any]]) -> None:
    out, _ = table4
    runs = sorted(out / "runs" / name for name in RUNS)
    assert not [name for name in OTHERS - AGAIN if (out / "runs" / name / "frame_encoder").exists()]
    weights = {hashlib.sha256((run / "frame_encoder" / "model.safetensors").read_bytes()).hexdigest() for run in runs}
    assert len(weights) == 1
    trained = [run.name for run in runs if any(row["kind"] == "frames" for row in Run(run).metrics)]
    assert trained == ["cacl-c3d-ucf101-seed0"]


def test_the_files_say_the_same(table4: tuple[Path, dict[str, Any]]) -> None:
    out, results = table4
    with (out / "table4.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    (row,) = [row for row in rows if (row["row"], row["net"], row["data set"], row["measure"]) == (
        "CACL", "R3D", "HMDB51", "R@5")]  # fmt: skip
    assert float(row["paper"]) == 36.7
    assert float(row["ours"]) == pytest.approx(of(results, "CACL", "R3D")["ours"]["HMDB51"]["R@5"])
    assert (row["sd"], row["seeds"], row["scale"]) == ("", "1", "tiny")
    (rival,) = [row for row in rows if (row["row"], row["data set"], row["measure"]) == ("RSPNet", "UCF101", "R@1")]
    assert (rival["paper"], rival["seeds"]) == ("36", "1")
    assert float(rival["ours"]) == pytest.approx(of(results, "RSPNet", "C3D")["ours"]["UCF101"]["R@1"])
    assert json.loads((out / "table4.json").read_text())["rows"][4]["name"] == "CACL"
    assert "Table 4: retrieval on UCF101 and HMDB51" in (out / "table4.html").read_text()


def test_what_is_finished_is_not_done_again(
    table4: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, results = table4

    def never(*parts: Any, **keywords: Any) -> None:
        raise AssertionError("done again")

    for name in ("pretrain", "evaluate_retrieval"):
        monkeypatch.setattr(reproduce_parts, name, never)
    monkeypatch.setattr(plan_folder, "resume", never)
    monkeypatch.setattr(reproduce_scale, "make_videos", never)
    before = (out / "table4.csv").read_bytes()
    assert reproduce("table4", out=out) == results
    assert (out / "table4.csv").read_bytes() == before


def test_other_tables_take_the_same_runs(table4: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = table4
    monkeypatch.setattr(reproduce_parts, "pretrain", None)
    figure = reproduce("fig3", out=out)
    assert len(figure["attention"]) == len(figure["tokens"]) == 33
    assert all(sum(row) == pytest.approx(1, abs=1e-5) for row in figure["attention"])
    assert set(figure["rows"][0]["ours"]["UCF101"]) == set(figure["columns"])
    assert 'aria-label="Attention of each token to each' in (out / "fig3.html").read_text()
    similar = reproduce("table3", out=out)
    analysis = json.loads((out / "runs" / "cacl-r3d10-ucf101-seed0" / "analysis" / "results.json").read_text())
    (r3d,) = [row for row in similar["rows"] if row["name"] == "R3D"]
    assert r3d["ours"]["UCF101"]["(Gq,Tk)"] == pytest.approx(analysis["similarity"]["pairs"]["gq_tk"]["mean"], abs=1e-5)


def test_stopped_in_a_training_it_goes_on_there(mini: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two seeds the second run is stopped at its beginning, then one is killed at its end."""
    original, begun, out = reproduce_parts.pretrain, list[str](), tmp_path / "out"

    def stops(*parts: Any, **keywords: Any) -> Any:
        begun.append(keywords["out"].name)
        if len(begun) == 2:
            raise Stopped(130, keywords["out"])
        return original(*parts, **keywords)

    monkeypatch.setattr(reproduce_parts, "pretrain", stops)
    with pytest.raises(Stopped):
        reproduce("fig3", out=out, seeds=2)
    assert not (out / "fig3.csv").exists()
    results = reproduce("fig3", out=out, seeds=2)
    assert begun == ["cacl-c3d-ucf101-seed0", *["cacl-c3d-ucf101-seed1"] * 2]
    assert results["seeds"] == [0, 1]
    files = sorted((out / "results").glob("attention-*.json"))
    each = [json.loads(path.read_text())["numbers"]["positions away"] for path in files]
    row = results["rows"][0]
    assert row["ours"]["UCF101"]["positions away"] == pytest.approx(sum(each) / 2)
    assert row["sd"]["UCF101"]["positions away"] == pytest.approx(abs(each[0] - each[1]) / 2**0.5)

    run = out / "runs" / "cacl-c3d-ucf101-seed1"
    weights = (run / "encoder" / "model.safetensors").read_bytes()
    (run / "finished.json").unlink()
    files[1].unlink()
    assert reproduce("fig3", out=out, seeds=2) == results
    assert begun[3:] == []  # it was resumed
    assert (run / "encoder" / "model.safetensors").read_bytes() == weights

    with pytest.raises(UserError, match=r"fig3.json is of 2 seeds; you asked for --seeds 1"):
        reproduce("fig3", out=out, seeds=1)
    assert module.prepared("fig3", data=None, scale="tiny", seeds=3, out=out)[0].key == "fig3"
    assert module.prepared("table1", data=None, scale="tiny", seeds=1, out=out)[0].key == "table1"


def test_videos_that_were_made_by_half_are_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, squares: Path
) -> None:
    def breaks(folder: Path, **others: Any) -> None:
        folder.mkdir(parents=True)
        (folder / "half.mp4").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(reproduce_scale, "make_videos", breaks)
    with pytest.raises(KeyboardInterrupt):
        reproduce_scale.tiny_places(tmp_path, ["UCF101"], say=lambda text: None)
    monkeypatch.setattr(reproduce_scale, "make_videos", lambda folder, **others: shutil.copytree(squares, folder))
    places = reproduce_scale.tiny_places(tmp_path, ["UCF101"], say=lambda text: None)
    assert not list(places["UCF101"].videos.rglob("half.mp4"))
    assert [path.name for path in tmp_path.iterdir()] == ["ucf101"]


def data_sets(folder: Path) -> Path:
    """Empty data sets as they are unpacked, with some lines of their lists."""
    for name in ("UCF-101/Archery", "hmdb51_org/wave", "k400/train/waving", "splits/hmdb51", "ucfTrainTestlist"):
        (folder / name).mkdir(parents=True)
    (folder / "ucfTrainTestlist" / "trainlist01.txt").write_text("A/v_A_g08_c01.avi 1\nA/v_A_g08_c02.avi 1\n")
    (folder / "ucfTrainTestlist" / "testlist01.txt").write_text("A/v_A_g01_c01.avi\n")
    (folder / "splits" / "hmdb51" / "wave_test_split1.txt").write_text("a.avi 1\nb.avi 2\nc.avi 0\n")
    (folder / "k400" / "train" / "waving" / "a.mp4").write_bytes(b"")
    return folder


def test_data_sets_are_found_as_they_are_unpacked(tmp_path: Path) -> None:
    root = data_sets(tmp_path / "data")
    places = paper_places(root, ["UCF101", "HMDB51", "Kinetics-400"])
    assert places["UCF101"].videos == root / "UCF-101"
    assert places["UCF101"].lists == root / "ucfTrainTestlist"
    assert places["HMDB51"].videos == root / "hmdb51_org"
    assert places["HMDB51"].lists == root / "splits" / "hmdb51"
    assert (places["Kinetics-400"].videos, places["Kinetics-400"].lists) == (root / "k400", None)


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"table": "tabel1"}, "tabel1 is no table of the paper; there are table1, .*Did you mean 'table1'"),
        ({"scale": "papre"}, "--scale is papre; it can be tiny or paper. Did you mean 'paper'"),
        ({"seeds": 0}, "--seeds is 0; it must be 1 or more"),
        ({"data": "DATA"}, "--scale tiny makes its own videos; leave out --data"),
        ({"scale": "paper"}, "--scale paper needs --data: the folder that holds UCF101"),
        ({"scale": "paper", "data": "nowhere"}, "--data is nowhere, which is no folder; .* UCF101"),
        ({"out": "FILE"}, "file, which is a file; name a folder"),
        ({"out": "DATA"}, "data holds something that cacl reproduce did not make"),
    ],
)
def test_bad_requests_are_told_before_anything_is_made(
    keywords: dict[str, Any], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = data_sets(tmp_path / "data")
    (tmp_path / "file").write_text("")
    known = {"DATA": root, "FILE": tmp_path / "file"}
    given = {key: known.get(value, value) for key, value in keywords.items()}
    with pytest.raises(UserError, match=sentence):
        reproduce(given.pop("table", "table1"), **given)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "file"}


def test_what_data_lacks_is_named(tmp_path: Path) -> None:
    root = data_sets(tmp_path / "data")
    shutil.rmtree(root / "k400")
    shutil.rmtree(root / "splits")
    with pytest.raises(UserError) as error:
        reproduce("table4", scale="paper", data=root, out=tmp_path / "out")
    text = str(error.value)
    assert "lacks Kinetics-400 (a folder kinetics400) and the lists of HMDB51 (*_test_split1.txt)" in text
    assert "it has UCF-101, hmdb51_org, ucfTrainTestlist" in text
    assert not (tmp_path / "out").exists()


def test_the_folder_of_another_plan_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, out = data_sets(tmp_path / "data"), tmp_path / "out"
    out.mkdir()
    plan = module._plan(None, "tiny")
    (out / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(UserError) as error:
        reproduce("table1", scale="paper", data=root, out=out)
    asked = f"you asked for --scale paper, --data {root}"
    assert str(error.value).startswith(f"{out} was begun with --scale tiny, --data no folder; {asked}.")
    (out / "plan.json").write_text(json.dumps({**plan, "settings": {}}))
    with pytest.raises(UserError, match="was begun by another version of cacl"):
        reproduce("table1", out=out)
    (out / "plan.json").write_text("[")
    with pytest.raises(UserError, match=r"plan\.json cannot be read"):
        reproduce("table1", out=out)


@pytest.mark.slow
def test_scale_paper_trains_and_tells_by_the_official_lists(
    mini: None, squares: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    """The code of the large scale with small settings: lists for the pretraining, two splits for the fine-tuning."""
    videos = sorted(squares.rglob("*.mp4"))
    for video in videos:
        folder = tmp_path / "data" / "UCF-101" / video.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, folder)
    lists = tmp_path / "data" / "splits" / "ucf101"
    lists.mkdir(parents=True)
    for split in (1, 2):
        test = videos[: 4 * split : split]
        for part, members in (("train", [v for v in videos if v not in test]), ("test", test)):
            text = "".join(f"{video.parent.name}/{video.stem}.avi 1\n" for video in members)
            (lists / f"{part}list0{split}.txt").write_text(text)
    one = {key: value for key, value in tiny.items() if key in ("run.device", "run.precision", "run.threads")}
    scale = Scale(
        "paper",
        "small",
        splits=(1, 2),
        pretraining={**tiny, "optim.epochs": 1},
        finetuning={**one, "data.workers": 0, "optim.batch_size": 4, "optim.epochs": 1, "test.clips": 2},
    )
    (tmp_path / "out").mkdir()
    places = paper_places(tmp_path / "data", ["UCF101"])
    study = Study(RunFolder(tmp_path / "out"), scale, places)
    wanted = Pretraining("cacl", "c3d", "UCF101")
    found = measured(study, "recognition", wanted, "UCF101", 0)
    results = json.loads((study.finetuned_path(wanted, "UCF101", 0) / "results.json").read_text())
    each = [part["recognition"]["fine-tuned"]["top-1"] for part in results["parts"]]
    assert len(each) == 2
    assert found["numbers"]["top-1"] == pytest.approx(sum(each) / 2)
    assert any("was pretrained on" in note and "split 2" in note for note in found["notes"])
    run = Run(study.run_path(wanted, 0))
    assert RunFolder(run.path).data["lists"] == str(lists)
    searched = measured(study, "retrieval", wanted, "UCF101", 0)
    assert "UCF101: 4 test videos query 8 training videos." in searched["notes"]
