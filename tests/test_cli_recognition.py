"""``cacl finetune`` and ``cacl classify`` as they are typed."""

from __future__ import annotations

import csv
import io
import json
import shutil
import signal
from pathlib import Path

import pyarrow
import pytest
from pyarrow import feather, parquet
from tiny import FINETUNING

from cacl.experiments.recognition import finetune as recognition
from cacl.training.stop import StopRequest

SETTINGS = {**FINETUNING, "test.clips": 2}
SETS = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def probed(squares, finished, tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "probed"
    recognition.finetune(squares, model=finished, out=out, linear=True, settings=SETTINGS)
    return out


def test_the_few_label_curve_is_a_table(cacl, squares, finished):
    ended = cacl("finetune", squares, "--model", finished, "--linear", "--labels-per-class", "1,2,all", "--draws", 2,
                 "--out", "few", *SETS)  # fmt: skip
    assert ended.status == 0, ended.err
    lines = ended.out.splitlines()
    assert [line.split("│")[1].strip() for line in lines if line.startswith("│")] == ["1", "2", "all"]
    assert "linear probe top-1" in ended.out
    assert "k-NN top-1" in ended.out
    assert "top-5" not in ended.out  # of two classes it says nothing
    assert lines[-1] == "few"
    assert "Chance: 50.0 %" in ended.out
    assert "split 1, 2 a class, draw 2: linear probe" in ended.err


def test_fine_tuning_prints_what_it_wrote(cacl, squares, finished):
    ended = cacl("finetune", squares, "--model", finished, "--epochs", 1, "--seed", 3, "--out", "r", "--json", *SETS)
    assert ended.status == 0, ended.err
    printed, written = json.loads(ended.out), json.loads(Path("r/results.json").read_text())
    assert printed["recognition"].keys() == written["recognition"].keys() == {"fine-tuned", "linear probe", "k-NN"}
    assert printed["parts"][0]["epochs"] == 1
    config = Path("r/config.yaml").read_text()
    assert "epochs: 1" in config
    assert "# flag" in config
    again = cacl("finetune", "--resume", "r")
    assert again.status == 0
    assert "is finished already" in again.err


def test_stopped_it_says_how_to_go_on(cacl, squares, finished, monkeypatch):
    class Stops(StopRequest):
        @property
        def requested(self):
            self._signal = signal.SIGTERM
            return True

    with monkeypatch.context() as patch:
        patch.setattr(recognition, "StopRequest", Stops)
        ended = cacl("finetune", squares, "--model", finished, "--epochs", 1, "--out", "runs/a b", *SETS)
    assert ended.status == 143
    assert ended.err.splitlines()[-1] == "Stopped, everything is saved. Go on: cacl finetune --resume 'runs/a b'"
    assert cacl("finetune", "--resume", "runs/a b").status == 0


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["Name labelled videos and an encoder (cacl finetune LABELLED --model RUN)"]),
        (["VIDEOS"], ["cacl finetune LABELLED --model RUN"]),
        (["VIDEOS", "--model", "nowhere"], ["nowhere does not exist"]),
        (["nowhere", "--model", "MODEL"], ["nowhere does not exist"]),
        (["VIDEOS", "--model", "MODEL", "--splits", "1,b"], ["--splits is 1,b; it must be numbers"]),
        (["VIDEOS", "--model", "MODEL", "--labels-per-class", "1,some"], ["numbers or all, separated by commas"]),
        (["VIDEOS", "--model", "MODEL", "--labels-per-class", "9"], ["asks for 9", "a has 4, b has 4"]),
        (["VIDEOS", "--model", "MODEL", "--set", "optim.lrr=1"], ["Did you mean 'optim.lr'"]),
        (["VIDEOS", "--model", "MODEL", "--preset", "tiny"], ["tiny is not a preset"]),
        (["--resume", "MODEL"], ["was made by cacl pretrain"]),
        (["--resume", "MODEL", "--epochs", "3", "--linear"], ["leave out --linear, --epochs"]),
    ],
)
def test_mistakes_are_one_sentence(words, parts, cacl, squares, finished):
    real = {"VIDEOS": squares, "MODEL": finished}
    cacl("finetune", *[real.get(word, word) for word in words]).refused(*parts)
    assert not list(Path().glob("runs/*"))


def test_classify_prints_a_table_or_writes_one(cacl, probed, squares):
    ended = cacl("classify", probed, squares / "test", "--top", 2)
    assert ended.status == 0, ended.err
    rows = list(csv.DictReader(io.StringIO(ended.out)))
    assert [row["path"] for row in rows] == ["a/v08.mp4", "a/v10.mp4", "b/v09.mp4", "b/v11.mp4"]
    assert {row["class_1"] for row in rows} <= {"a", "b"}
    assert "4 used, 0 skipped." in ended.err
    assert "Of 4 videos with a label: top-1" in ended.err
    written = cacl("classify", probed, squares / "test", "--out", "t.csv", "--top", 2)
    assert written.out == "t.csv\n"
    assert list(csv.DictReader(io.StringIO(Path("t.csv").read_text()))) == rows


@pytest.mark.parametrize(("name", "read"), [("t.parquet", parquet.read_table), ("t.arrow", feather.read_table)])
def test_classify_writes_tables_of_arrow(cacl, probed, squares, tmp_path, name, read):
    """The same cells as the CSV on stdout, a file that cannot be read among them."""
    shutil.copytree(squares / "test", tmp_path / "some")
    (tmp_path / "some" / "text.mp4").write_text("no video")
    rows = list(csv.DictReader(io.StringIO(cacl("classify", probed, tmp_path / "some", "--top", 2).out)))
    assert cacl("classify", probed, tmp_path / "some", "--top", 2, "--out", name).status == 0
    table = read(name)
    assert table.column_names == list(rows[0])
    for found, told in zip(table.to_pylist(), rows, strict=True):
        for key, cell in told.items():
            if key.startswith("probability") and cell:
                assert abs(found[key] - float(cell)) <= 5e-7
            else:
                assert ("" if found[key] is None else str(found[key])) == cell
    assert [row["status"] for row in table.to_pylist()][-1] == "skipped"
    again = cacl("classify", probed, tmp_path / "some", "--out", name)
    assert "has been replaced" in again.err
    feather.write_feather(pyarrow.table({"path": ["mine"]}), name, compression="uncompressed")
    cacl("classify", probed, tmp_path / "some", "--out", name).refused("was not written by cacl classify")


def test_classify_names_what_it_cannot_do(cacl, probed, finished, squares):
    cacl("classify", finished, squares).refused("holds no classifier")
    cacl("classify", probed, "nowhere").refused("nowhere does not exist")
    cacl("classify", probed, squares, "--out", "t.pdf").refused("a table ends in .csv, .json, .parquet or .arrow")


def test_other_verbs_say_what_a_fine_tuning_is(cacl, probed):
    cacl("pretrain", "--resume", probed).refused("was made by cacl finetune")
    cacl("evaluate", probed).refused("was made by cacl finetune")
