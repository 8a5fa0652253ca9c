"""Which videos ``finetune`` trains on and tests: splits, held-out videos, ones that break; wrong requests are named."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from experiments.tables import rows_of
from tiny import FINETUNING

from cacl.data.videos.store import DecodedVideos
from cacl.errors import UserError, VideoError
from cacl.experiments.recognition import finetune as recognition
from cacl.experiments.recognition.finetune import finetune

FIND = recognition.find_splits


@pytest.fixture
def lists(squares, tmp_path):
    """Two splits of ``squares`` in the manner of UCF101; the second tests what the first trains on."""
    names = {n: f"{'ab'[n % 2]}/v{n:02}.avi" for n in range(12)}
    (tmp_path / "lists").mkdir()
    for split, test in ((1, range(8, 12)), (2, range(4))):
        train = [f"{names[n]} {n % 2 + 1}" for n in names if n not in test]
        (tmp_path / "lists" / f"trainlist0{split}.txt").write_text("\n".join(train))
        (tmp_path / "lists" / f"testlist0{split}.txt").write_text("\n".join(names[n] for n in test))
    return tmp_path / "lists"


def test_several_splits_are_averaged_and_what_the_pretraining_saw_is_said(lists, squares, finished, tmp_path):
    results = finetune(
        squares, model=finished, out=tmp_path / "r", lists=lists, splits=[2, 1], linear=True, settings=FINETUNING
    )
    assert [part["split"] for part in results["parts"]] == [2, 1]
    assert results["notes"] == [
        "The encoder was pretrained on 4 of the 4 test videos of split 2 "
        f"({finished}/videos.csv), without their labels: on new videos it may do worse."
    ]
    assert Counter(row["split"] for row in rows_of(tmp_path / "r" / "predictions.csv")) == {"1": 4, "2": 4}


def test_the_untrained_network_of_a_run_and_of_a_preset(squares, finished, tmp_path):
    own = finetune(squares, model=finished / "initial", out=tmp_path / "own", linear=True, settings=FINETUNING)
    assert own["notes"] == []
    preset = finetune(squares, model="untrained", out=tmp_path / "preset", linear=True, seed=3, settings=FINETUNING)
    assert preset["model"] == "untrained"
    start = json.loads((tmp_path / "preset" / "start" / "config.json").read_text())
    assert (start["network"], start["clip"]["standardise"]) == ({"name": "r3d10", "width": 16}, "motion")


def test_held_out_videos_are_not_trained_on_and_measured(squares, finished, tmp_path):
    settings = {**FINETUNING, "data.hold_out": 3, "optim.epochs": 1}
    results = finetune(squares, model=finished, out=tmp_path / "r", preset="released", settings=settings)
    (part,) = results["parts"]
    assert (part["train videos"], part["validation"]["videos"]) == (5, 3)
    few = {"labels_per_class": [4], "draws": 1, "settings": {**settings, "data.hold_out": 3}}
    (part,) = finetune(squares, model=finished, out=tmp_path / "few", preset="released", **few)["parts"]
    assert part["train videos"] == 8
    assert "validation" not in part


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels_per_class": [1, 5]}, "asks for 5 training videos of each class, but a has 4, b has 4"),
        ({"labels_per_class": [0]}, "--labels-per-class are numbers from 1 or 'all'"),
        ({"draws": 0}, "--draws is 0"),
        ({"splits": [1, 2]}, "split 2 was asked for"),
        ({"splits": [1, 1]}, "--splits are numbers from 1, each once"),
        ({"lists": "nowhere"}, "there is no such folder of lists"),
        ({"model": "nowhere"}, "nowhere does not exist"),
        ({"preset": "big"}, "big is not a preset"),
        ({"settings": {**FINETUNING, "run.device": "cuda:9"}}, "run.device is cuda:9"),
    ],
)
def test_wrong_requests_are_named_and_leave_nothing(change, message, squares, finished, tmp_path):
    given = {"model": finished, "settings": FINETUNING, "linear": True, **change}
    with pytest.raises(UserError, match=message):
        finetune(squares, out=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_a_video_that_cannot_be_read_is_left_out_and_said(squares, finished, tmp_path, monkeypatch):
    original = DecodedVideos.read

    def read(self, video, indices):
        path = self.catalog.videos[video].path
        if path in ("train/b/v03.mp4", "test/a/v08.mp4"):
            raise VideoError(path, "the disk has a scratch here")
        return original(self, video, indices)

    monkeypatch.setattr(DecodedVideos, "read", read)
    results = finetune(squares, model=finished, out=tmp_path / "r", settings={**FINETUNING, "optim.epochs": 2})
    assert results["notes"][-1].startswith(
        "2 labelled videos could not be read: test/a/v08.mp4: the disk has a scratch"
    )
    (part,) = results["parts"]
    assert part["skipped"] == ["test/a/v08.mp4"]
    assert part["unreadable"] == {"train/b/v03.mp4": "the disk has a scratch here"}
    assert len(rows_of(tmp_path / "r" / "predictions.csv")) == 3


def test_a_video_in_both_lists_is_refused(lists, squares, finished, tmp_path):
    with (lists / "testlist01.txt").open("a") as file:
        file.write("\na/v00.avi\n")
    with pytest.raises(UserError, match=r"train/a/v00\.mp4 is in the training and in the test part of split 1"):
        finetune(squares, model=finished, out=tmp_path / "run", lists=lists, linear=True, settings=FINETUNING)
    assert not (tmp_path / "run").exists()


def test_a_disk_that_is_full_at_the_beginning_leaves_nothing_in_the_way(squares, finished, tmp_path, monkeypatch):
    """A folder without a file was left, and the same command refused the place as not empty."""

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(recognition, "find_splits", lambda *parts: patch.setattr("os.fsync", full) or FIND(*parts))
        with pytest.raises(UserError, match=r"split-1\.csv could not be written"):
            finetune(squares, model=finished, out=tmp_path / "run", settings=FINETUNING, linear=True)
    assert not (tmp_path / "run").exists()
    assert finetune(squares, model=finished, out=tmp_path / "run", settings=FINETUNING, linear=True)
