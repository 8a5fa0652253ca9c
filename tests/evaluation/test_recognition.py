"""Accuracies against scikit-learn and by hand; a video's prediction against a loop over its clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from array_videos import data_of
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, top_k_accuracy_score

from cacl.data.clips.augment import centre_crop
from cacl.data.clips.sampling import evaluation_clips
from cacl.evaluation.recognition import average_clips, predict_videos, recognition
from cacl.models.classifier import Classifier
from cacl.models.encoder import ClipSpec, Encoder

NAMES = tuple("abcdefghij")


@given(seed=st.integers(0, 2**32 - 1), videos=st.integers(1, 40), classes=st.integers(2, 10))
def test_numbers_are_those_of_scikit_learn(seed, videos, classes):
    rng = np.random.default_rng(seed)
    scores, labels = rng.normal(size=(videos, classes)), rng.integers(0, classes, videos)
    found = recognition(scores, labels.tolist(), NAMES[:classes])
    every = list(range(classes))
    right = scores.argmax(axis=1) == labels
    assert found.top1 == pytest.approx(100 * right.mean())
    if classes > 5:
        assert found.top5 == pytest.approx(100 * top_k_accuracy_score(labels, scores, k=5, labels=every))
    else:
        assert found.top5 == 100
    assert np.array_equal(found.confusion, confusion_matrix(labels, scores.argmax(axis=1), labels=every))
    assert found.mean_class == pytest.approx(100 * recall_of_present(labels, scores.argmax(axis=1)))
    assert set(found.per_class) == {NAMES[k] for k in set(labels.tolist())}


def recall_of_present(labels, told):
    return np.mean([(told[labels == k] == k).mean() for k in np.unique(labels)])


def test_the_mean_over_classes_is_the_balanced_accuracy():
    labels, told = [0, 0, 0, 1, 2, 2], [0, 0, 1, 1, 0, 2]
    found = recognition(np.eye(3)[told], labels, "xyz")
    assert found.mean_class == pytest.approx(100 * balanced_accuracy_score(labels, told))
    assert found.per_class == pytest.approx({"x": 200 / 3, "y": 100, "z": 50})


def test_of_equal_scores_the_class_named_first_wins():
    found = recognition(np.zeros((7, 7)), list(range(7)), NAMES[:7])
    assert found.top1 == pytest.approx(100 / 7)  # class a alone
    assert found.top5 == pytest.approx(500 / 7)  # a to e
    assert found.confusion[:, 0].tolist() == [1] * 7


def test_the_two_means_by_hand():
    # Two clips, two classes: one sure of the second class, one mildly for the first.
    logits = torch.tensor([[0.0, 4.0], [3.0, 0.0]])
    mean = 1 / (1 + np.exp(1.5 - 2.0))
    assert average_clips(logits, "logits")[1] == pytest.approx(mean)
    each = [1 / (1 + np.exp(-4.0)), 1 / (1 + np.exp(3.0))]
    assert average_clips(logits, "probabilities")[1] == pytest.approx(np.mean(each))
    three = torch.tensor([[0.0, 10.0], [1.5, 0.0], [1.5, 0.0]])  # the two can disagree
    assert average_clips(three, "logits").argmax() == 1
    assert average_clips(three, "probabilities").argmax() == 0


@pytest.mark.parametrize("wrong", [([0, 3], 2), ([-1, 0], 2), ([0], 2), ([], 0)])
def test_wrong_labels_are_refused(wrong):
    labels, videos = wrong
    with pytest.raises(ValueError, match=r"labels|scores"):
        recognition(np.zeros((videos, 3)), labels, "abc")


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_predictions_are_those_of_a_loop_over_the_clips(make_videos, average):
    source, videos = make_videos(count=4, broken=(2,), lengths=[40, 9, 40, 75])
    torch.manual_seed(0)
    spec = ClipSpec(frames=8, stride=2, resize=(20, 26), size=16, standardise="motion", layer="mean")
    classifier = Classifier(Encoder("r3d10", width=4, clip=spec), ["a", "b", "c"], clips=3, average=average)
    classifier.train()
    told = predict_videos(classifier, data_of(source, videos), batch_size=4)
    assert classifier.training
    assert told.kept.tolist() == [0, 1, 3]
    assert [item.path for item in told.skipped] == ["v2.mp4"]
    classifier.eval()
    for row, position in enumerate(told.kept.tolist()):
        logits = []
        for clip in evaluation_clips(videos[position].frames, frames=8, stride=2, clips=3):
            pixels = torch.from_numpy(source.videos[position][clip])[None]
            x = centre_crop(pixels, 16, standardise="motion")
            with torch.no_grad():
                logits.append(classifier.linear(classifier.encoder.network(x))[0].double())
        stacked = torch.stack(logits)
        expected = stacked.mean(0).softmax(0) if average == "logits" else stacked.softmax(1).mean(0)
        assert told.probabilities[row] == pytest.approx(expected.numpy(), abs=1e-5)
