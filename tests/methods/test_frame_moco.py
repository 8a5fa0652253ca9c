"""MoCo on frames against a literal transcription."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from cacl.data.randomness import generator
from cacl.methods.contract import MethodBatch
from cacl.methods.frame_moco import FrameMoCo
from cacl.models.frame_encoder import build_frame_encoder


def make(**settings):
    torch.manual_seed(0)
    method = FrameMoCo(build_frame_encoder("resnet18", width=4), queue_size=10, **settings)
    with torch.no_grad():
        for parameter in method.key.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter) * parameter.std(correction=0))
        method.queue.videos[:4] = torch.tensor([1, 2, 2, 3])
    return method


def frames(size=5, *, videos=(2, 1, 2, 0, 8)):
    rng = np.random.default_rng(0)
    views = tuple(torch.from_numpy(rng.random((size, 3, 1, 32, 32))) for _ in range(2))
    return MethodBatch(views, {}, torch.tensor(videos), torch.zeros(size, 1))


def literal(method, batch):
    def embed(network, x):
        rows = network[1](network[0](x[:, :, 0]))
        return torch.stack([row / torch.sqrt((row**2).sum()) for row in rows])

    q = embed(method.query, batch.views[0])
    with torch.no_grad():
        k = embed(method.key, batch.views[1])
    loss = 0.0
    for i in range(len(q)):
        positive = torch.exp(torch.dot(q[i], k[i]) / method.temperature)
        below = positive
        for key, video in zip(method.queue.keys, method.queue.videos.tolist(), strict=True):
            if not (method.mask_own_keys and video == batch.video[i]):
                below = below + torch.exp(torch.dot(q[i], key) / method.temperature)
        for j in range(len(k)):
            if method.batch_negatives and batch.video[j] != batch.video[i]:
                below = below + torch.exp(torch.dot(q[i], k[j]) / method.temperature)
        loss = loss - torch.log(positive / below)
    return loss / len(q), k


@pytest.mark.parametrize("projection", ["linear", "mlp"])
@pytest.mark.parametrize("batch_negatives", [False, True])
@pytest.mark.parametrize("mask_own_keys", [False, True])
def test_step_is_its_literal_transcription(mask_own_keys, batch_negatives, projection, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    method, batch = (
        make(mask_own_keys=mask_own_keys, batch_negatives=batch_negatives, projection=projection).double(),
        frames(),
    )
    output = method(batch)
    expected, keys = literal(method, batch)
    assert output.losses["main"].item() == pytest.approx(expected.item(), abs=1e-9)
    torch.testing.assert_close(output.state["key"], keys, rtol=0, atol=1e-9)
    parameters = list(method.query.parameters())
    found = torch.autograd.grad(output.losses["main"], parameters)
    for gradient, right in zip(found, torch.autograd.grad(expected, parameters), strict=True):
        assert (gradient - right).abs().max() <= 1e-6 * max(1.0, right.abs().max().item())


def test_masking_changes_the_loss():
    batch = frames()
    batch = MethodBatch(tuple(v.float() for v in batch.views), {}, batch.video, batch.uniforms)
    assert make(mask_own_keys=True)(batch).terms["nce"] < make()(batch).terms["nce"]


def test_forward_changes_statistics_only_and_after_step_the_rest():
    method, batch = make(momentum=0.5), frames()
    batch = MethodBatch(tuple(v.float() for v in batch.views), {}, batch.video, batch.uniforms)
    before = copy.deepcopy(method.state_dict())
    output = method(batch)
    changed = [name for name, value in method.state_dict().items() if not torch.equal(value, before[name])]
    assert all(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in changed)
    output.losses["main"].backward()
    assert all(p.grad is None for p in method.key.parameters())
    assert all(p.grad is not None for p in method.query.parameters())
    pairs = zip(method.key.parameters(), method.query.parameters(), strict=True)
    expected = [0.5 * k.detach() + 0.5 * q.detach() for k, q in pairs]
    method.after_step(output.state, batch.video, 0.3)
    for found, right in zip(method.key.parameters(), expected, strict=True):
        torch.testing.assert_close(found, right)
    assert torch.equal(method.queue.keys[:5], output.state["key"])
    assert method.queue.videos[:5].tolist() == [2, 1, 2, 0, 8]


def test_a_sample_is_one_frame_and_the_result_the_frame_encoder():
    method = make()
    plan = method.plan(1, generator(0, "test"))
    assert [clip.tolist() for clip in plan.clips] == [[0]]
    assert plan.targets == {}
    assert method.encoder.name == "resnet18"
    assert [(view.clip, view.draw) for view in method.views] == [(0, 0), (0, 1)]
