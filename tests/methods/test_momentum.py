"""Momentum copies and queue against loops over single numbers and a plain list."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cacl.methods.moco import Queue, momentum_copy, momentum_update, scheduled_momentum


class SlowQueue:
    """First in, first out, the first key at place 0: a list and a counter."""

    def __init__(self, keys, videos):
        self.keys, self.videos, self.next = keys, videos, 0

    def put(self, key, video):
        self.keys[self.next], self.videos[self.next] = key, video
        self.next = self.next + 1 if self.next + 1 < len(self.keys) else 0


@given(st.integers(1, 9), st.lists(st.integers(1, 25), min_size=1, max_size=6), st.integers(0, 99))
def test_queue_is_first_in_first_out(size, counts, seed):
    """Also where the number of keys does not divide K, and where it is larger than K."""
    torch.manual_seed(seed)
    queue = Queue(size, 3)
    slow = SlowQueue(queue.keys.tolist(), queue.videos.tolist())
    for count in counts:
        keys, videos = torch.randn(count, 3), torch.randint(0, 50, (count,))
        queue.enqueue(keys, videos)
        for key, video in zip(keys.tolist(), videos.tolist(), strict=True):
            slow.put(key, video)
        assert queue.keys.tolist() == slow.keys
        assert queue.videos.tolist() == slow.videos
        assert queue.pointer.item() == slow.next


def test_queue_holds_the_newest_keys():
    queue = Queue(10, 2)
    for step in range(7):  # 4 keys a step do not divide 10
        queue.enqueue(torch.full((4, 2), float(step)), torch.full((4,), step))
    assert sorted(queue.videos.tolist()) == [4, 4, 5, 5, 5, 5, 6, 6, 6, 6]


def test_queue_starts_with_random_unit_keys_of_no_video():
    queue = Queue(64, 128)
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(64))
    assert (queue.keys @ queue.keys.T - torch.eye(64)).abs().max() < 0.6
    assert set(queue.videos.tolist()) == {-1}
    assert queue.pointer.item() == 0


def test_queue_is_all_state_and_no_parameter():
    queue, other = Queue(5, 2), Queue(5, 2)
    queue.enqueue(torch.randn(3, 2), torch.tensor([7, 8, 9]))
    other.load_state_dict(queue.state_dict())
    for each in (queue, other):
        each.enqueue(torch.ones(4, 2), torch.zeros(4, dtype=torch.int64))
    assert torch.equal(queue.keys, other.keys)
    assert torch.equal(queue.pointer, other.pointer)
    assert not list(queue.parameters())


def test_queue_takes_no_gradient_along():
    queue, keys = Queue(4, 2), torch.randn(2, 2, requires_grad=True)
    queue.enqueue(keys, torch.zeros(2, dtype=torch.int64))
    assert not queue.keys.requires_grad


def make_pair():
    torch.manual_seed(0)
    query = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    key = momentum_copy(query)
    with torch.no_grad():
        for parameter in query.parameters():
            parameter.add_(torch.randn_like(parameter))
    return query, key


def test_momentum_update_is_the_formula_for_every_number():
    query, key = make_pair()
    expected = []
    for k, q in zip(key.parameters(), query.parameters(), strict=True):
        flat = [0.999 * a + (1 - 0.999) * b for a, b in zip(k.flatten().tolist(), q.flatten().tolist(), strict=True)]
        expected.append(torch.tensor(flat, dtype=torch.float64).view_as(k))
    before = [q.clone() for q in query.parameters()]
    momentum_update(key, query, 0.999)
    for k, wanted in zip(key.parameters(), expected, strict=True):
        torch.testing.assert_close(k.detach(), wanted, rtol=0, atol=1e-12)
    assert all(torch.equal(q, b) for q, b in zip(query.parameters(), before, strict=True))


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.99, 0.999, 1.0])
def test_momentum_update_is_the_plain_one_in_float32_and_any_layout(momentum):
    torch.manual_seed(1)
    query = nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.Conv2d(4, 5, 3), nn.Linear(6, 2))
    key = momentum_copy(query)
    query[0].weight.data = torch.randn_like(query[0].weight).contiguous(memory_format=torch.channels_last_3d)
    pairs = list(zip(key.parameters(), query.parameters(), strict=True))
    wanted = [k.detach() * momentum + q.detach() * (1 - momentum) for k, q in pairs]
    momentum_update(key, query, momentum)
    for found, plain in zip(key.parameters(), wanted, strict=True):
        torch.testing.assert_close(found.detach(), plain, rtol=1e-6, atol=1e-7)


def test_a_copy_of_something_else_is_refused():
    with pytest.raises(ValueError, match="2 parameters, its query 4"):
        momentum_update(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), 0.9)


@pytest.mark.parametrize(("momentum", "stays"), [(1.0, True), (0.0, False)])
def test_extremes_keep_or_copy(momentum, stays):
    query, key = make_pair()
    old = [k.clone() for k in key.parameters()]
    momentum_update(key, query, momentum)
    for k, o, q in zip(key.parameters(), old, query.parameters(), strict=True):
        torch.testing.assert_close(k.detach(), o if stays else q.detach())


def test_batch_norm_statistics_of_the_key_are_its_own():
    query, key = make_pair()
    query(torch.randn(8, 3, dtype=torch.float64))
    momentum_update(key, query, 0.5)
    assert torch.equal(key[1].running_mean, torch.zeros(4, dtype=torch.float64))
    assert not torch.equal(query[1].running_mean, key[1].running_mean)


def test_copy_is_equal_apart_and_without_gradient():
    query = nn.Linear(3, 2)
    key = momentum_copy(query)
    assert torch.equal(key.weight, query.weight)
    assert key.weight.data_ptr() != query.weight.data_ptr()
    assert not any(p.requires_grad for p in key.parameters())
    assert all(p.requires_grad for p in query.parameters())


def test_schedule():
    assert scheduled_momentum(0.99, "constant", 0.7) == 0.99
    assert scheduled_momentum(0.99, "cosine", 0.0) == pytest.approx(0.99)
    assert scheduled_momentum(0.99, "cosine", 0.5) == pytest.approx(0.995)
    assert scheduled_momentum(0.99, "cosine", 1.0) == 1.0
    quarter = 1 - 0.01 * (1 + math.sqrt(0.5)) / 2
    assert scheduled_momentum(0.99, "cosine", 0.25) == pytest.approx(quarter)
