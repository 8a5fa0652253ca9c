"""Classes from labels: which vectors count, what is held out, what is said of too few labels, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exploring.told import told_index

import cacl
from cacl.errors import UserError
from cacl.exploring.classes import Classes
from cacl.exploring.examples import MOST_ROWS, examples_of
from cacl.exploring.held_out import folds
from cacl.exploring.labels import Stretch
from cacl.exploring.learn import learn
from cacl.exploring.next import least_sure, most_unlike


def labels_of_kinds(videos: range) -> dict[Stretch, str]:
    """Both halves of each video, by the rule of the fixture."""
    names = ["red", "green", "blue"]
    return {
        Stretch(f"v{v:02}.mp4", 6.0 * half, 6.0 * (half + 1)): names[(v + half) % 3] for v in videos for half in (0, 1)
    }


def test_classes_of_few_labels_tell_the_other_videos(kinds: Any):
    learnt = learn(kinds, labels_of_kinds(range(6)), name="labels.csv")
    told = learnt.classes.told(kinds)
    truth = np.array([(v + s // 3) % 3 for v in range(12) for s in range(6)])
    names = np.array(["red", "green", "blue"])[truth]
    assert (np.array(learnt.classes.names)[told.best] == names)[36:].mean() > 0.95
    assert learnt.held_out.labels == 12
    assert learnt.held_out.videos == 6
    assert learnt.held_out.right >= 10
    assert learnt.held_out.guess == pytest.approx(1 / 3)
    assert "So few videos say little" in learnt.held_out.words()
    probabilities = np.concatenate(list(learnt.classes.probabilities(kinds)))
    assert probabilities.sum(axis=1) == pytest.approx(1)
    ordered = np.sort(probabilities, axis=1)
    assert told.margin == pytest.approx(ordered[:, -1] - ordered[:, -2], abs=1e-6)


def test_labels_that_only_tell_the_video_are_held_out_as_such():
    """Vectors know their video and nothing else; stretches on both sides would seem to be told right."""
    random = np.random.default_rng(0)
    index = told_index(np.repeat(random.normal(size=(40, 30)), 4, axis=0), videos=40)
    kinds = random.permutation(np.repeat(["a", "b"], 20)).tolist()
    labels = {Stretch(f"v{v:02}.mp4", 2.0 * s, 2.0 * s + 2): kinds[v] for v in range(40) for s in range(4)}
    said = learn(index, labels, name="x").held_out
    assert said.labels == 160
    assert said.right / 160 < 0.75


def test_the_label_of_the_shorter_part_counts(kinds: Any):
    labels = {
        Stretch("v00.mp4", 2.0, 4.0): "nod",
        Stretch("v00.mp4"): "talk",
        Stretch("v01.mp4"): "nod",
        Stretch("gone.mp4"): "nod",
        Stretch("v02.mp4", 90.0, 95.0): "talk",
    }
    examples = examples_of(kinds, labels, name="x")
    named = {
        int(row): examples.classes[examples.label[e]] for row, e in zip(examples.rows, examples.entry, strict=True)
    }
    assert named == {
        **dict.fromkeys((0, 2, 3, 4, 5), "talk"),
        1: "nod",
        **dict.fromkeys(range(6, 12), "nod"),
    }
    assert examples.covered.tolist() == list(range(12))
    assert [note.split(":")[0] for note in examples.notes] == ["1 label left out", "1 label left out"]


def test_an_hour_weighs_no_more_than_its_share():
    index = told_index(np.random.default_rng(0).normal(size=(2000, 8)), videos=2)
    examples = examples_of(index, {Stretch("v00.mp4"): "a", Stretch("v01.mp4"): "b"}, name="x")
    assert np.bincount(examples.entry).tolist() == [MOST_ROWS, MOST_ROWS]
    assert {0, 999, 1000, 1999} <= set(examples.rows.tolist())


def test_folds_never_split_a_video_and_keep_classes_apart():
    random = np.random.default_rng(0)
    for _ in range(50):
        count = int(random.integers(2, 30))
        video = random.integers(0, count, 60)
        label = random.integers(0, 4, 60)
        fold = folds(label, video)
        assert all(len(set(fold[video == v])) == 1 for v in np.unique(video))
        assert fold.max() < 5
    assert len(set(folds(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3])))) == 4


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({Stretch("v00.mp4"): "a", Stretch("v01.mp4"): "b"}, "Too few labels to say how good this is"),
        (
            {Stretch("v00.mp4"): "a", Stretch("v01.mp4"): "a", Stretch("v02.mp4"): "b", Stretch("v03.mp4"): "b",
             Stretch("v04.mp4"): "rare"},
            "labelled in one video only: rare",
        ),
    ],
)  # fmt: skip
def test_too_few_labels_are_said(kinds: Any, labels: dict[Stretch, str], said: str):
    learnt = learn(kinds, labels, name="x")
    assert said in learnt.held_out.words()
    assert len(learnt.classes.told(kinds).best) == 72


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({}, "x holds no labels"),
        ({Stretch("other.mp4"): "a"}, "x labels no video of my.index (its first is other.mp4)"),
        ({Stretch("v00.mp4"): "a", Stretch("v01.mp4"): "a"}, "x has only the label 'a'"),
    ],
)
def test_what_cannot_be_learnt_from_is_a_sentence(kinds: Any, labels: dict[Stretch, str], said: str):
    with pytest.raises(UserError) as refused:
        learn(kinds, labels, name="x")
    assert said in str(refused.value)


def test_what_to_label_next(kinds: Any):
    """A video between two kinds is the least sure, one of a kind that nobody named the most unlike."""
    vectors = np.concatenate([kinds.vectors, np.zeros((12, 40))])
    vectors[72:78] = 3 * (np.eye(40)[0] + np.eye(40)[1]) / 2
    vectors[78:] = 9 * np.eye(40)[7]
    index = told_index(vectors, videos=14)
    learnt = learn(index, labels_of_kinds(range(12)), name="x")
    sure = least_sure(learnt.classes.told(index), index, learnt.examples)
    unlike = most_unlike(index, learnt.examples)
    assert index.spans.video[sure].tolist()[0] == 12
    assert index.spans.video[unlike].tolist()[0] == 13
    assert sorted(index.spans.video[unlike].tolist()) == [12, 13]  # the others have labels everywhere; a video once


def test_classes_are_kept_whole_and_refused_elsewhere(kinds: Any, tmp_path: Path):
    learnt = learn(kinds, labels_of_kinds(range(6)), name="x")
    learnt.classes.save(tmp_path / "c")
    learnt.classes.save(tmp_path / "c")  # again, in its place
    loaded = Classes.load(tmp_path / "c")
    assert loaded.names == learnt.classes.names
    assert loaded.facts == learnt.classes.facts
    assert np.array_equal(loaded.told(kinds).probability, learnt.classes.told(kinds).probability)
    with pytest.raises(UserError, match="learnt on vectors of encoder ffffffff"):
        loaded.check(told_index_of_another(kinds))
    (tmp_path / "c" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        Classes.load(tmp_path / "c")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "note.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and is no classes folder"):
        learnt.classes.save(tmp_path / "other")


def told_index_of_another(kinds: Any) -> Any:
    kinds.about = {"weights": "a" * 64}
    return kinds


def test_from_the_command_line(small_index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from cacl import cli

    labels = tmp_path / "labels.csv"
    rows = [f"{'ab'[n % 2]}/v{n}.mp4,{'ab'[n % 2]},," for n in range(4)]
    labels.write_text("\n".join(["path,label,start,end", *rows, ""]))
    out = tmp_path / "c.classes"
    assert run(cli, "finetune", small_index, "--labels", labels, "--linear", "--out", out) == 0
    printed = capsys.readouterr().out
    assert "a (2), b (2)" in printed
    assert "Of 4 labels in 4 videos" in printed
    assert run(cli, "classify", out, small_index, "--top", "1") == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "path,start,end,class_1,probability_1"
    with cacl.Index(small_index) as index:
        told = Classes.load(out).told(index)
        assert len(table) == 1 + len(index)
    assert [line.split(",")[3] for line in table[1:]] == ["ab"[k] for k in told.best.tolist()]
    for words, said in (
        ((small_index, "--labels", labels), "add --linear"),
        ((small_index, "--linear", "--preset", "small", "--epochs", "3"), "leave out --preset, --epochs"),
        ((small_index, "--linear", "--videos", small_index, "--set", "run.seed=1"), "leave out --videos, --set"),
        ((small_index, "--linear"), "holds no labels"),
        ((small_index.parent / "v", "--labels", labels), "--labels is for an index"),
    ):
        assert run(cli, "finetune", *words) == 2
        assert said in capsys.readouterr().err
    assert run(cli, "classify", small_index.parent / "v") == 2
    assert "is no index: name the videos" in capsys.readouterr().err
    for words, said in (
        ((small_index,), "my.classes does not exist"),
        ((out, small_index, "--out", "nowhere/t.csv"), "there is no folder nowhere; name another place"),
        ((small_index, small_index.parent / "v"), "is an index, whose classes tell its own stretches"),
        ((out, small_index.parent / "v"), "describes 'cacl classes', not a cacl classifier: give a run folder"),
        (
            (small_index / "encoder", small_index),
            "'cacl encoder', not classes of an index: learn them with cacl finetune",
        ),
    ):
        assert run(cli, "classify", *words) == 2
        assert said in capsys.readouterr().err


def run(cli: Any, *words: Any) -> int:
    import sys
    from unittest import mock

    with mock.patch.object(sys, "argv", ["cacl", *map(str, words)]):
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0
