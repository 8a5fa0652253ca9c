"""What a model was trained on is read from its runs: the same files, copies, and what its encoder began with."""

from __future__ import annotations

import json

import pytest

from cacl.data.videos.catalog import Catalog, Video
from cacl.experiments.trained_on import trained_on_notes


def video(path, split=None, *, frames=40, label="a"):
    return Video(path, path, label, split, frames, 25.0, 64, 48)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "videos").mkdir()
    return tmp_path / "videos"


@pytest.fixture
def run(tmp_path, root):
    """A pretraining on a/1.mp4."""
    (tmp_path / "run").mkdir()
    Catalog(root, (video("a/1.mp4", "train"), video("a/2.mp4", "test", frames=33))).write_csv(
        tmp_path / "run/videos.csv"
    )
    (tmp_path / "run/data.json").write_text(json.dumps({"videos": str(root)}))
    return tmp_path / "run"


@pytest.fixture
def tuned(tmp_path, root, run):
    """A fine-tuning of it on split 2, where b/1.mp4 is a training video."""
    folder = tmp_path / "tuned"
    (folder / "videos").mkdir(parents=True)
    Catalog(root, (video("b/1.mp4", "train"), video("a/2.mp4", "test"))).write_csv(folder / "videos" / "split-2.csv")
    request = {
        "verb": "finetune",
        "videos": str(root),
        "splits": [2, 1],
        "model": str(run / "encoder"),
        "linear": False,
    }
    (folder / "data.json").write_text(json.dumps(request))
    return folder


@pytest.mark.parametrize("part", ["", "encoder"])
def test_a_pretraining_knows_its_videos(run, root, part):
    (note,) = trained_on_notes(run / part, [video("a/1.mp4"), video("a/2.mp4", frames=33)], root)
    assert note == (
        f"The encoder was pretrained on 1 of the 2 test videos ({run}/videos.csv), without their labels: on new videos "
        "it may do worse."
    )


def test_a_copy_elsewhere_is_the_same_video(run, tmp_path):
    (note,) = trained_on_notes(run, [video("q/a/1.avi"), video("b/1.mp4")], tmp_path, what="videos of split 3")
    assert "1 of the 2 videos of split 3" in note
    assert not trained_on_notes(run, [video("q/a/1.avi", frames=41)], tmp_path)


def test_parts_whose_names_begin_anew_are_other_videos(run, root, tmp_path):
    Catalog(root, (video("train/a/1.mp4", "train"),)).write_csv(run / "videos.csv")
    assert not trained_on_notes(run, [video("test/a/1.mp4")], root)
    assert not trained_on_notes(run, [video("test/a/1.mp4")], tmp_path / "copy")
    assert trained_on_notes(run, [video("train/a/1.mp4")], tmp_path / "copy")
    assert trained_on_notes(run, [video("a/1.mp4")], tmp_path / "flat")
    assert not trained_on_notes(run, [video("a/1.mp4")], root)  # beside the run's own videos it is another file


def test_weights_from_before_and_without_a_run_have_seen_nothing(run, root, tmp_path):
    assert not trained_on_notes(run / "initial", [video("a/1.mp4")], root)
    assert not trained_on_notes(tmp_path / "elsewhere", [video("a/1.mp4")], root)


def test_without_parts_everything_was_trained_on(run, root):
    Catalog(root, (video("a/1.mp4"), video("a/2.mp4"))).write_csv(run / "videos.csv")
    assert "2 of the 2" in trained_on_notes(run, [video("a/1.mp4"), video("a/2.mp4")], root)[0]


@pytest.mark.parametrize("part", ["", "classifier"])
def test_a_fine_tuning_has_seen_labels_and_its_encoder_saw_more(tuned, root, run, part):
    first, second = trained_on_notes(tuned / part, [video("a/1.mp4"), video("b/1.mp4"), video("c/1.mp4")], root)
    assert first.startswith(f"The encoder was trained with the labels of 1 of the 3 test videos ({tuned}/videos):")
    assert second.startswith(f"The encoder was pretrained on 1 of the 3 test videos ({run}/videos.csv)")
    (only,) = trained_on_notes(tuned / "start", [video("a/1.mp4"), video("b/1.mp4")], root)
    assert "pretrained" in only


def test_a_linear_probe_leaves_the_encoder_as_it_was_but_not_the_classifier(tuned, root):
    request = json.loads((tuned / "data.json").read_text())
    (tuned / "data.json").write_text(json.dumps({**request, "linear": True, "model": "untrained"}))
    assert not trained_on_notes(tuned, [video("b/1.mp4")], root)
    (note,) = trained_on_notes(tuned, [video("b/1.mp4")], root, head=True)
    assert note.startswith("The classifier was trained with the labels of 1 of the 1 test videos")
