"""The classifier folder: what is saved comes back, what is damaged is named, nothing else is overwritten."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from cacl.errors import UserError
from cacl.models.classifier import Classifier
from cacl.models.encoder import ClipSpec, Encoder

SPEC = ClipSpec(frames=8, stride=2, resize=(20, 26), size=16, standardise="motion", layer="mean")
NAMES = ["bend", "pjump", "縄跳び"]


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return Classifier(Encoder("r3d10", width=4, clip=SPEC), NAMES, clips=4, average="probabilities").eval()


@pytest.fixture
def clips():
    return np.random.default_rng(0).integers(0, 256, (2, 8, 20, 26, 3), dtype=np.uint8)


def test_logits_are_the_linear_layer_on_the_encoders_feature(classifier, clips):
    with torch.no_grad():
        features = classifier.encoder.network(SPEC.pixels(torch.from_numpy(clips)))
        expected = features @ classifier.linear.weight.T + classifier.linear.bias
        assert torch.allclose(classifier(clips), expected, atol=1e-6)


def test_what_is_saved_comes_back(classifier, clips, tmp_path):
    classifier.save(tmp_path / "run" / "classifier", measured="top-1 90 %.")
    for place in (tmp_path / "run", tmp_path / "run" / "classifier"):
        again = Classifier.load(place)
        assert again.classes == tuple(NAMES)
        assert again.encoder.clip == SPEC
        assert (again.clips, again.average) == (4, "probabilities")
        assert not again.training
        with torch.no_grad():
            assert torch.equal(again(clips), classifier(clips))
    card = (tmp_path / "run" / "classifier" / "README.md").read_text()
    assert "`bend`, `pjump`, `縄跳び`" in card
    assert "pipeline_tag: video-classification" in card
    assert "top-1 90 %." in card
    assert "stretched to 20x26" in card
    assert "cacl.load" not in card
    assert sorted(p.name for p in (tmp_path / "run" / "classifier").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_an_encoder_is_no_classifier_and_the_other_way_round(classifier, tmp_path):
    classifier.save(tmp_path / "c")
    classifier.encoder.save(tmp_path / "e")
    with pytest.raises(UserError, match="describes 'cacl encoder', not a cacl classifier"):
        Classifier.load(tmp_path / "e")
    with pytest.raises(UserError, match="describes 'cacl classifier', not a cacl encoder"):
        Encoder.load(tmp_path / "c")
    with pytest.raises(UserError, match="is no classifier folder"):
        classifier.save(tmp_path / "e")
    with pytest.raises(UserError, match="is no encoder folder"):
        classifier.encoder.save(tmp_path / "c")
    with pytest.raises(UserError, match="holds no classifier"):
        Classifier.load(tmp_path)


def change(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": ["bend", "pjump"]}, "tells 3 classes, but config.json names 2 .bend, pjump"),
        ({"classes": ["bend", "bend", "run"]}, "does not describe a classifier .*distinct"),
        ({"classes": "bend"}, "does not describe a classifier"),
        ({"classes": [1, 2, 3]}, "does not describe a classifier"),
        ({"network": {"name": "r3d10", "width": 8}}, "does not fit its config.json"),
        ({"network": {"name": "r3d10", "width": 10**9}}, "does not"),
        ({"clip": {"frames": -1}}, "does not describe a classifier"),
        ({"video": {"clips": 0, "average": "logits"}}, "does not describe a classifier"),
        ({"video": {"clips": 2, "average": "clips"}}, "does not describe a classifier"),
        ({"version": 99}, "format version 99"),
    ],
)
def test_what_does_not_fit_is_named(classifier, tmp_path, values, message):
    classifier.save(tmp_path / "c")
    change(tmp_path / "c", **values)
    with pytest.raises(UserError, match=message):
        Classifier.load(tmp_path / "c")


def test_a_folder_without_the_linear_layer_is_refused(classifier, tmp_path):
    classifier.save(tmp_path / "c")
    classifier.encoder.save(tmp_path / "e")
    shutil.copy(tmp_path / "e" / "model.safetensors", tmp_path / "c")
    with pytest.raises(UserError, match="tells 0 classes"):
        Classifier.load(tmp_path / "c")


def test_names_must_be_distinct_and_the_layer_must_fit(classifier):
    with pytest.raises(ValueError, match="distinct"):
        Classifier(classifier.encoder, ["a", "a"])
    with pytest.raises(ValueError, match="linear layer"):
        Classifier(classifier.encoder, ["a", "b"], linear=nn.Linear(5, 2))
