"""``finetune`` and ``classify`` from videos to tables: numbers agree, a stop loses nothing, bad input is named."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from experiments.tables import results_of, rows_of
from tiny import FINETUNING

from cacl.data.media.encode import write_video
from cacl.data.videos.scan import scan
from cacl.data.videos.store import build_store
from cacl.errors import UserError
from cacl.experiments.recognition import finetune as recognition
from cacl.experiments.recognition.classify import classify
from cacl.experiments.recognition.finetune import finetune, resume_finetune, summarise
from cacl.models.classifier import Classifier
from cacl.training.pretrain import resume
from cacl.training.stop import Stopped, StopRequest


@pytest.fixture(scope="module")
def tuned(squares, finished, tmp_path_factory):
    """Fine-tuned with one and with all labels. Only for reading."""
    out = tmp_path_factory.mktemp("tuned") / "run"
    finetune(squares, model=finished, out=out, settings=FINETUNING, labels_per_class=[1, None], draws=2)
    return out


@pytest.fixture(scope="module")
def probed(squares, finished, tmp_path_factory):
    """The linear probe alone. Only for reading."""
    out = tmp_path_factory.mktemp("probed") / "run"
    finetune(squares, model=finished, out=out, settings=FINETUNING, linear=True, labels_per_class=[2, None], draws=3)
    return out


def test_what_is_averaged_is_said(tuned, squares, finished, tmp_path):
    assert results_of(tuned)["average"] == "logits"
    other = {**FINETUNING, "test.average": "probabilities", "optim.epochs": 1}
    for linear, average in ((True, "logits"), (False, "probabilities")):  # the probe stands on the mean feature
        results = finetune(squares, model=finished, out=tmp_path / average, linear=linear, settings=other)
        assert results["average"] == average
        assert json.loads((tmp_path / average / "classifier/config.json").read_text())["video"]["average"] == average


def test_the_tables_agree_with_the_predictions(tuned, probed):
    for run, main in ((tuned, "fine-tuned"), (probed, "linear probe")):
        results, rows = results_of(run), rows_of(run / "predictions.csv")
        for labels, numbers in results["recognition"][main].items():
            mine = [row for row in rows if row["labels_per_class"] == labels]
            right = [row["label"] == row["predicted"] for row in mine]
            assert numbers["top-1"] == pytest.approx(100 * np.mean(right), abs=0.01)
            assert [int(row["right"]) for row in mine] == [int(r) for r in right]
            assert [int(row["label_rank"]) == 1 for row in mine] == right
        every = [row for row in rows if row["labels_per_class"] == "all"]
        assert {row["path"] for row in every} == {f"test/{'ab'[n % 2]}/v{n:02}.mp4" for n in range(8, 12)}
        by_class = {name: [r["right"] == "1" for r in every if r["label"] == name] for name in "ab"}
        assert results["per class"] == pytest.approx({k: 100 * np.mean(v) for k, v in by_class.items()})
        assert results["chance"] == 50
        assert (run / "confusion.png").read_bytes()[:4] == b"\x89PNG"
        assert not list(run.rglob("checkpoints"))


def test_k_nn_and_the_linear_probe_stand_beside_every_result(tuned, probed):
    assert list(results_of(tuned)["recognition"]) == ["fine-tuned", "linear probe", "k-NN"]
    assert list(results_of(probed)["recognition"]) == ["linear probe", "k-NN"]
    for name in ("linear probe", "k-NN"):  # the same encoder and the same videos
        both = [results_of(run)["recognition"][name]["all"] for run in (tuned, probed)]
        assert both[0] == both[1]
    assert [len(results_of(run)["parts"]) for run in (tuned, probed)] == [3, 4]  # all labels once, the draws


def test_mean_and_spread_over_draws_by_hand(tuned):
    results = results_of(tuned)
    single = [part["recognition"]["fine-tuned"]["top-1"] for part in results["parts"] if part["labels"] == "1"]
    assert len(single) == 2
    assert results["recognition"]["fine-tuned"]["1"]["top-1"] == pytest.approx(np.mean(single))
    assert results["standard deviation"]["fine-tuned"]["1"]["top-1"] == pytest.approx(np.std(single, ddof=1), abs=1e-3)
    assert "all" not in results["standard deviation"]["fine-tuned"]
    assert [part["train videos"] for part in results["parts"]] == [8, 2, 2]


def test_summarise_takes_all_splits_and_draws_together():
    def part(labels, top1):
        return {"labels": labels, "recognition": {"k-NN": {"top-1": top1}}}

    means, deviations = summarise([part("all", 10), part("all", 20), part("5", 7)])
    assert means == {"k-NN": {"5": {"top-1": 7}, "all": {"top-1": 15}}}
    assert deviations == {"k-NN": {"all": {"top-1": pytest.approx(np.sqrt(50))}}}


def test_the_classifier_kept_is_that_of_the_results(tuned, probed, squares, tmp_path):
    for run in (tuned, probed):
        found = classify(run, squares / "test", out=tmp_path / "table.csv", top=9)
        expected = {row["path"]: row for row in rows_of(run / "predictions.csv") if row["labels_per_class"] == "all"}
        table = rows_of(tmp_path / "table.csv")
        assert len(table) == len(expected) == 4
        for row in table:
            wanted = expected[f"test/{row['path']}"]
            assert row["class_1"] == wanted["predicted"]
            assert float(row["probability_1"]) == pytest.approx(float(wanted["probability"]), abs=1e-4)
            assert float(row["probability_1"]) + float(row["probability_2"]) == pytest.approx(1, abs=1e-5)
        right = np.mean([row["label"] == row["predicted"] for row in expected.values()])
        assert f"Of 4 videos with a label: top-1 {100 * right:.1f} %" in found.note
        classes = Classifier.load(run).classes
        assert classes == ("a", "b")


class StopsOnce(StopRequest):
    """As SIGTERM, after so many steps of training all in all."""

    left = 0

    @property
    def requested(self):
        StopsOnce.left -= 1
        self._signal = signal.SIGTERM if StopsOnce.left == 0 else 0
        return StopsOnce.left == 0


@pytest.mark.parametrize("steps", [3, 9])  # in the second epoch of the first part; in the second part
def test_stopped_and_resumed_it_ends_as_if_it_had_not_been(steps, tuned, squares, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(recognition, "StopRequest", StopsOnce)
    StopsOnce.left = steps
    model = shutil.copytree(finished, tmp_path / "model")
    with pytest.raises(Stopped):
        finetune(squares, model=model, out=tmp_path / "run", settings=FINETUNING, labels_per_class=[1, None], draws=2)
    shutil.rmtree(model)  # the run has its own copy
    done = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("result.json")}
    assert len(done) == (0 if steps == 3 else 1)
    assert not (tmp_path / "run" / "results.json").exists()
    resume_finetune(tmp_path / "run")
    assert all(p.stat().st_mtime_ns == when for p, when in done.items())
    whole, found = results_of(tuned), results_of(tmp_path / "run")
    whole.pop("model"), found.pop("model")
    assert found == whole
    for name in ("predictions.csv", "classifier/model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tuned / name).read_bytes()


def test_a_finished_run_says_so(probed, capsys):
    before = (probed / "results.json").read_bytes()
    assert resume_finetune(probed) == json.loads(before)
    assert "is finished already" in capsys.readouterr().err
    assert (probed / "results.json").read_bytes() == before


def test_checkpoints_of_a_finished_part_are_taken_away_after_a_kill(tuned, tmp_path):
    """A kill between the part's result and the removal of its checkpoints left them there for good."""
    run = shutil.copytree(tuned, tmp_path / "run")
    (run / "results.json").unlink()
    left = run / "parts" / "split1-all" / "checkpoints" / "step-00000006"
    left.mkdir(parents=True)
    resume_finetune(run)
    assert not left.parent.exists()
    assert results_of(run)["recognition"] == results_of(tuned)["recognition"]


@pytest.mark.parametrize("before", [True, False])
def test_whether_frames_are_kept_is_decided_once(before, squares, finished, tmp_path, monkeypatch):
    """The room on the disk was asked for at each start: features of kept frames, training on the videos."""

    def room(there):
        usage = SimpleNamespace(total=2**40, used=0, free=2**40 if there else 0)
        monkeypatch.setattr("cacl.data.videos.dataset.shutil", SimpleNamespace(disk_usage=lambda folder: usage))

    settings, results = {**FINETUNING, "data.store": "auto", "optim.epochs": 1}, []
    room(before)
    for name in ("whole", "parts"):
        with monkeypatch.context() as patch:
            if name == "parts":
                patch.setattr(recognition, "StopRequest", StopsOnce)
                StopsOnce.left = 1
                with pytest.raises(Stopped):
                    finetune(squares, model=finished, out=tmp_path / name, settings=settings)
        if name == "parts":
            room(not before)
            resume_finetune(tmp_path / name)
        else:
            finetune(squares, model=finished, out=tmp_path / name, settings=settings)
        results.append((tmp_path / name / "classifier" / "model.safetensors").read_bytes())
        assert (tmp_path / name / "store").exists() == before
    assert results[0] == results[1]


def test_a_classifier_gives_its_network_and_gets_a_new_head(tuned, squares, tmp_path):
    results = finetune(squares, model=tuned, out=tmp_path / "again", linear=True, settings=FINETUNING)
    assert results["classes"] == ["a", "b"]
    assert json.loads((tmp_path / "again" / "start" / "config.json").read_text())["clip"]["layer"] == "max"


def test_a_store_will_do(squares, finished, probed, tmp_path):
    build_store(scan(squares), tmp_path / "s", height=32, width=40, kind="raw")
    results = finetune(tmp_path / "s", model=finished, out=tmp_path / "r", linear=True, settings=FINETUNING)
    assert results["recognition"]["k-NN"]["all"] == results_of(probed)["recognition"]["k-NN"]["all"]
    build_store(scan(squares), tmp_path / "t", height=20, width=20, kind="raw")
    with pytest.raises(UserError, match="holds frames of 20x20, but the encoder knows 32x40"):
        finetune(tmp_path / "t", model=finished, out=tmp_path / "q", linear=True, settings=FINETUNING)


def test_runs_of_the_two_kinds_are_not_taken_for_each_other(tuned, squares, finished, tmp_path):
    with pytest.raises(UserError, match="was made by cacl finetune"):
        resume(tuned)
    with pytest.raises(UserError, match="was made by cacl pretrain"):
        resume_finetune(finished)
    with pytest.raises(UserError, match=f"holds a run already. Continue it: cacl finetune --resume {tuned}"):
        finetune(squares, model=finished, out=tuned, settings=FINETUNING)
    with pytest.raises(UserError, match="holds no classifier"):
        classify(finished, squares)


def test_bad_videos_are_listed_and_the_others_told(tuned, squares, tmp_path, make_square):
    folder = tmp_path / "mixed" / "deep" / "tree"
    folder.mkdir(parents=True)
    shutil.copy(squares / "test" / "a" / "v08.mp4", folder / "ä b.MP4")
    write_video(folder / "short.mp4", make_square(3))
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(3000))
    (folder / "empty.avi").touch()
    found = classify(tuned, tmp_path / "mixed", out=tmp_path / "t.json", top=1)
    assert [one.video.path for one in found.predicted] == ["deep/tree/short.mp4", "deep/tree/ä b.MP4"]
    assert [item.path for item in found.skipped] == ["deep/tree/empty.avi", "deep/tree/noise.mp4"]
    table = json.loads((tmp_path / "t.json").read_text())
    assert [len(video["predictions"]) for video in table["videos"]] == [1, 1]
    assert [item["path"] for item in table["skipped"]] == [item.path for item in found.skipped]
    assert all(item["reason"] for item in table["skipped"])


def test_other_class_names_are_said(tuned, squares, tmp_path):
    for name, source in (("dogs", "a"), ("cats", "b")):
        shutil.copytree(squares / "test" / source, tmp_path / "v" / name)
    assert classify(tuned, tmp_path / "v").note == (
        "The folders or lists name cats, dogs, none of the classifier's classes (a, b …)."
    )
    (tmp_path / "v" / "cats").rename(tmp_path / "v" / "b")
    note = classify(tuned, tmp_path / "v").note
    assert note.startswith("Of 2 videos with a label: top-1")
    assert note.endswith("Left out: dogs, no class of the classifier.")


def test_videos_that_the_classifier_learnt_from_are_said(tuned, squares):
    told, *seen = classify(tuned, squares / "train").note.splitlines()
    assert told.startswith("Of 8 videos with a label: top-1")
    assert seen[0].startswith("The classifier was trained with the labels of 8 of the 8 videos with a label")
    assert seen[1].startswith("The encoder was pretrained on 8 of the 8 videos with a label")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top": 0}, "--top is 0"),
        ({"out": "table.xls"}, r"a table ends in \.csv, \.json, \.parquet or \.arrow"),
        ({"out": "no/such/table.csv"}, "could not be written"),
        ({"videos": "nowhere"}, "there is no such file or folder"),
    ],
)
def test_wrong_requests_to_classify_are_named(change, message, tuned, squares, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        classify(tuned, **{"videos": squares / "test", **change})
    assert not list(Path().iterdir())
