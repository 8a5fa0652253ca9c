"""The supervised method: its loss and dropout against literal formulas, and the same pixels as in evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cacl.data.clips.augment import centre_crop
from cacl.methods.classify import Classify
from cacl.methods.contract import MethodBatch
from cacl.models.classifier import Classifier
from cacl.models.cnn3d import build_cnn3d
from cacl.models.encoder import ClipSpec, Encoder


def build(**settings):
    torch.manual_seed(0)
    return Classify(build_cnn3d("r3d10", width=4), classes=3, labels=[2, 0, 1, 2], frames=8, stride=2, **settings)


def batch(videos, *, size=16, features=32, seed=0):
    rng = np.random.default_rng(seed)
    views = torch.from_numpy(rng.random((len(videos), 3, 8, size, size))).float()
    uniforms = torch.from_numpy(rng.random((len(videos), features))).float()
    return MethodBatch((views,), {}, torch.tensor(videos), uniforms)


def test_the_loss_is_the_cross_entropy_of_each_videos_own_label():
    method, given = build().eval(), batch([3, 1, 0, 1, 2])
    with torch.no_grad():
        output = method(given)
        logits = method.linear(method.network(given.views[0])).double().numpy()
    labels = [2, 0, 2, 0, 1]
    losses = [np.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, labels, strict=True)]
    assert float(output.losses["main"]) == pytest.approx(np.mean(losses), rel=1e-5)
    right = np.mean([row.argmax() == label for row, label in zip(logits, labels, strict=True)])
    assert float(output.metrics["accuracy"]) == pytest.approx(right)
    assert output.features.shape == (5, 32)
    assert output.terms == {}


def test_dropout_is_drawn_from_each_samples_numbers_and_only_in_training():
    method, given = build(dropout=0.25), batch([0, 1, 2, 3])
    method.train()
    output = method(given)
    x = output.features.detach() * (given.uniforms >= 0.25) / 0.75
    logits = x @ method.linear.weight.T + method.linear.bias
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([2, 0, 1, 2]))
    assert float(output.losses["main"].detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    method.eval()
    other = MethodBatch(given.views, {}, given.video, 1 - given.uniforms)
    assert torch.equal(method(given).losses["main"], method(other).losses["main"])


@pytest.mark.parametrize("standardise", ["none", "clip", "motion"])
def test_it_sees_the_pixels_that_evaluation_sees(standardise):
    method = build(standardise=standardise).eval()
    spec = ClipSpec(frames=8, stride=2, resize=(20, 26), size=16, standardise=standardise, layer="mean")
    encoder = Encoder("r3d10", width=4, clip=spec, network=method.network)
    classifier = Classifier(encoder, "abc", linear=method.linear).eval()
    frames = np.random.default_rng(1).integers(0, 256, (4, 8, 20, 26, 3), dtype=np.uint8)
    view = centre_crop(torch.from_numpy(frames), 16)  # as augmentation leaves it: not yet standardised
    before = view.clone()
    with torch.no_grad():
        output = method(MethodBatch((view,), {}, torch.arange(4), torch.zeros(4, 32)))
        expected = torch.nn.functional.cross_entropy(classifier(frames), torch.tensor([2, 0, 1, 2]))
    assert float(output.losses["main"]) == pytest.approx(float(expected), rel=1e-5)
    assert torch.equal(view, before)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_folded_the_layer_gives_the_same_logits_without_the_norm(norm):
    method = build(norm=norm)
    for seed in range(3):
        method(batch([0, 1, 2, 3, 0, 1], seed=seed))  # running statistics
    method.eval()
    given = batch([3, 2, 1, 0], seed=9)
    with torch.no_grad():
        x = method.network(given.views[0])
        whole = method.linear(x if method.norm is None else method.norm(x))
        assert torch.allclose(method.folded()(x), whole, atol=1e-5)
        assert torch.allclose(method.linear(x), whole) == (norm == "none")


def test_the_norm_brings_every_feature_to_mean_0_and_deviation_1():
    method, given = build(norm="batch").train(), batch([0, 1, 2, 3, 1, 2])
    output = method(given)
    x = output.features.detach()
    z = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
    expected = torch.nn.functional.cross_entropy(method.linear(z), torch.tensor([2, 0, 1, 2, 0, 1]))
    assert float(output.losses["main"].detach()) == pytest.approx(float(expected.detach()), rel=1e-4)


def test_all_of_it_is_trained_and_labels_are_not_saved():
    method = build()
    method(batch([0, 1, 2, 3])).losses["main"].backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in method.parameters())
    assert "labels" not in method.state_dict()


@pytest.mark.parametrize("n_frames", [1, 7, 9, 15, 60])
def test_the_plan_is_one_clip_of_the_video(n_frames):
    (frames,) = build().plan(n_frames, np.random.default_rng(0)).clips
    assert frames.shape == (8,)
    assert frames.min() >= 0
    assert frames.max() < n_frames
