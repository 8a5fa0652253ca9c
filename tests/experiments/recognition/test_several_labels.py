"""Videos of several labels from the list to the tables: fine-tuned, classified, retrieved."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from tiny import FINETUNING

import cacl
from cacl.data.videos.catalog import Video
from cacl.experiments.recognition.classify import classify
from cacl.experiments.recognition.labelled import draw_labels, held_out
from cacl.experiments.report import report
from cacl.models.classifier import Classifier

LABELS = {"a": ("red", "slow"), "b": ("blue",)}


@pytest.fixture(scope="module")
def listed(squares, tmp_path_factory):
    """The squares with a list: every other one of class a has a second label."""
    folder = tmp_path_factory.mktemp("several") / "squares"
    shutil.copytree(squares, folder)
    rows = []
    for part in ("train", "test"):
        for n, file in enumerate(sorted((folder / part).rglob("*.mp4"))):
            labels = LABELS[file.parent.name][: 1 + n % 2]
            rows.append([str(file.relative_to(folder)), ";".join(labels), part])
    with (folder / "videos.csv").open("w", newline="") as out:
        csv.writer(out).writerows([["path", "labels", "split"], *rows])
    return folder


@pytest.fixture(scope="module")
def tuned(listed, finished, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "run"
    settings = {**FINETUNING, "data.balance": True}
    return out, cacl.finetune(listed, model=finished, out=out, settings=settings, draws=1, labels_per_class=[1, None])


def test_a_fine_tuning_says_map_beside_top_k(tuned):
    run, results = tuned
    assert results["classes"] == ["blue", "red", "slow"]
    assert "chance" not in results
    for name in ("fine-tuned", "linear probe", "k-NN"):
        for labels in ("1", "all"):
            assert set(results["recognition"][name][labels]) == {"mAP", "top-1", "top-5"}
    assert not (run / "confusion.png").exists()
    assert "confusion" not in results["parts"][0]
    with (run / "predictions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["labels_per_class"] == "all"]
    assert {row["label"] for row in rows} == {"red", "red;slow", "blue"}
    right = [row["predicted"] in row["label"].split(";") for row in rows]
    assert results["recognition"]["fine-tuned"]["all"]["top-1"] == pytest.approx(100 * np.mean(right))
    assert [int(row["right"]) for row in rows] == [int(r) for r in right]


def test_the_classifier_gives_each_class_a_probability_of_its_own(tuned, listed):
    run, results = tuned
    assert Classifier.load(run).several
    assert json.loads((run / "classifier" / "config.json").read_text())["video"]["several"] is True
    found = classify(run, listed)
    sums = [sum(p for _, p in one.classes) for one in found.predicted]
    assert max(abs(total - 1) for total in sums) > 0.01
    tests = [one for one in found.predicted if one.video.split == "test"]
    each = [
        average_precision_score([name in one.video.labels for one in tests], [dict(one.classes)[name] for one in tests])
        for name in results["classes"]
    ]
    assert results["recognition"]["fine-tuned"]["all"]["mAP"] == pytest.approx(100 * np.mean(each), abs=1e-3)
    assert "mAP" in found.note


def test_retrieval_counts_a_shared_label(listed, run):
    results = cacl.evaluate(run, listed)
    for row in results["retrieval"].values():
        assert 0 <= row["mAP"] <= 100
    chance = results["retrieval"]["chance"]
    assert chance["R@1"] == pytest.approx(50)  # half of the training videos share a label with each
    assert chance["R@5"] > 90


def test_a_page_is_written(tuned):
    run, _ = tuned
    page = report([run])
    assert "mAP" in page.read_text(encoding="utf-8")


def video(n, *labels):
    one = labels[0] if len(labels) == 1 else None
    return Video(f"{n}.mp4", str(n), one, "train", 40, 25.0, 64, 48, several=labels if len(labels) > 1 else ())


def test_draws_and_held_out_videos_keep_every_class():
    videos = [video(0, "a", "b"), video(1, "a"), video(2, "b"), video(3, "c"), video(4, "c", "a")]
    drawn = draw_labels(videos, 1, seed=0, draw=0, split=1)
    assert {label for v in drawn for label in v.labels} >= {"a", "b", "c"}
    assert len(draw_labels(videos, 5, seed=0, draw=0, split=1)) == 5
    for seed in range(10):
        kept, aside = held_out(videos, 3, seed=seed, split=1)
        assert {label for v in kept for label in v.labels} == {"a", "b", "c"}
        assert len(kept) + len(aside) == 5
