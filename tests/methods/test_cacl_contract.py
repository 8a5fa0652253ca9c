"""What CACL's forward and after_step must and must not do."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from cacl.methods.contract import MethodBatch, StepOutput

ALL = ("gq_gk", "gq_tq", "gq_tk", "tq_tk")


def test_all_that_is_logged(make_method, make_batch):
    method, batch = make_method(), make_batch()
    output = method(batch)
    assert set(output.terms) == {"nce", "degree_loss"}
    similarities = {f"similarity_{pair}" for pair in (*ALL, "negatives")}
    assert set(output.metrics) == {"degree_accuracy", *similarities}
    assert not any(value.requires_grad for value in output.metrics.values())
    embedding = method.query.embed(tuple(output.features))
    own = (embedding * output.state["gk"]).sum(1).mean()
    torch.testing.assert_close(output.metrics["similarity_gq_gk"], own.detach())
    assert output.features.shape == (2, 4, 32)


def test_each_term_has_a_gradient_at_the_features(make_method, make_batch):
    output = make_method()(make_batch())
    for term in ("nce", "degree_loss"):
        (gradient,) = torch.autograd.grad(output.terms[term], output.features, retain_graph=True)
        assert gradient.norm() > 0


@pytest.mark.parametrize(
    ("settings", "views"),
    [
        ({}, 2),
        ({"pairs": ALL[:2]}, 1),  # Tq alone: view k's frames are not needed
        ({"pairs": ALL[:3]}, 2),
    ],
)
def test_the_frame_encoder_runs_once_a_frame_and_view(settings, views, make_method, make_batch):
    method, batch, seen = make_method(**settings), make_batch(), []
    method.frame_encoder.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    method(batch)
    frames = torch.cat(seen)
    assert len(frames) == views * 4 * 16
    assert len(torch.unique(frames.flatten(1), dim=0)) == len(frames)


def test_forward_changes_nothing_but_running_statistics(make_method, make_batch):
    method, batch = make_method(), make_batch()
    method.train()
    before = copy.deepcopy(method.state_dict())
    state = torch.get_rng_state()
    method(batch).losses["main"].backward()
    assert torch.equal(torch.get_rng_state(), state)
    changed = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert changed
    assert all(name.endswith(statistics) and name.startswith(("query.", "key.")) for name in changed)


def test_no_gradient_reaches_copies_and_frame_encoder(make_method, make_batch):
    method = make_method()
    method(make_batch()).losses["main"].backward()
    for part in (method.key, method.key_transformer, method.frame_encoder):
        assert all(p.grad is None and not p.requires_grad for p in part.parameters())
    for part in (method.query, method.transformer, method.degree):
        assert all(p.grad is not None for p in part.parameters())


def test_the_frame_encoder_stays_in_evaluation_mode(make_method):
    method = make_method()
    for mode in (True, False, True):
        method.train(mode)
        assert method.query.network.training is mode
        assert not any(module.training for module in method.frame_encoder.modules())


def test_dropout_is_a_function_of_the_uniforms_in_training_only(make_method, make_batch):
    method, batch = make_method(), make_batch()
    method.train()
    torch.manual_seed(1)
    first = method(batch).terms["degree_loss"]
    torch.manual_seed(2)
    assert torch.equal(method(batch).terms["degree_loss"], first)
    other = MethodBatch(batch.views, batch.targets, batch.video, 1 - batch.uniforms)
    assert not torch.equal(method(other).terms["degree_loss"], first)
    method.eval()
    assert torch.equal(method(batch).terms["degree_loss"], method(other).terms["degree_loss"])


def test_samples_in_another_order_give_the_same_loss(make_method, make_batch):
    """Nothing depends on the place of a sample in its batch."""
    method, batch = make_method(batch_negatives=True), make_batch(videos=[5, 2, 5, 0])
    order = torch.tensor([2, 0, 3, 1])
    other = MethodBatch(
        tuple(view[order] for view in batch.views),
        {name: target[order] for name, target in batch.targets.items()},
        batch.video[order],
        batch.uniforms[order],
    )
    torch.testing.assert_close(method(other).losses["main"], method(batch).losses["main"], rtol=1e-4, atol=1e-4)


def test_after_step_moves_both_copies_then_queues(make_method, make_batch):
    method = make_method(momentum=0.9, momentum_schedule="cosine")
    output = method(make_batch(videos=[4, 5, 6, 7]))
    momentum = 1 - 0.1 * (math.cos(math.pi * 0.25) + 1) / 2
    parts = [(method.key, method.query), (method.key_transformer, method.transformer)]
    expected = [
        [
            momentum * a.detach() + (1 - momentum) * b.detach()
            for a, b in zip(k.parameters(), q.parameters(), strict=True)
        ]
        for k, q in parts
    ]
    method.after_step(output.state, torch.tensor([4, 5, 6, 7]), 0.25)
    for (key, _), wanted in zip(parts, expected, strict=True):
        for found, right in zip(key.parameters(), wanted, strict=True):
            torch.testing.assert_close(found, right)
    assert torch.equal(method.queue.keys[:8], torch.cat([output.state["gk"], output.state["tk"]]))
    assert method.queue.videos[:8].tolist() == [4, 5, 6, 7, 4, 5, 6, 7]
    assert method.queue.pointer.item() == 8


def test_the_degree_task_alone_has_neither_copies_nor_queue(make_method, make_batch):
    method = make_method(pairs=())
    assert method.key is None
    assert method.key_transformer is None
    assert method.queue is None
    assert len(method.views) == 1
    batch = make_batch()
    output = method(MethodBatch(batch.views[:1], batch.targets, batch.video, batch.uniforms))
    assert set(output.terms) == {"degree_loss"}
    assert output.state == {}
    before = copy.deepcopy(method.state_dict())
    method.after_step(output.state, batch.video, 0.5)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_pairs_with_t_want_its_parts(make_method):
    network = make_method(pairs=()).encoder
    with pytest.raises(ValueError, match="transformer"):
        type(make_method(pairs=()))(network, None, None, pairs=ALL)


def test_a_batch_checks_its_lengths(make_batch):
    batch = make_batch()
    with pytest.raises(ValueError, match="equally long"):
        MethodBatch(batch.views, batch.targets, batch.video[:3], batch.uniforms)


def test_a_step_output_is_frozen(make_method, make_batch):
    output = make_method()(make_batch())
    assert isinstance(output, StepOutput)
    with pytest.raises(AttributeError):
        output.state = {}
