"""A step whose batch goes through a method in equal parts, against the same batch at once; and several objectives.

In evaluation mode, where BatchNorm takes nothing from the batch; in training its statistics are each part's own.
"""

from __future__ import annotations

import copy
import dataclasses
import threading
from dataclasses import dataclass

import pytest
import torch
from methods.conftest import tiny_batch, tiny_method
from torch import nn

from cacl.errors import UserError
from cacl.methods.contract import Group, Method, MethodBatch, StepOutput
from cacl.training.optim import build_optimizer
from cacl.training.step import Step


@dataclass
class Ready:
    """A batch of views as if it had been read: the step cuts it and asks nothing of augmentation."""

    batch: MethodBatch

    def to(self, device):
        return self

    def parts(self, count):
        size = len(self.batch.video) // count
        return [self._rows(slice(start, start + size)) for start in range(0, len(self.batch.video), size)]

    def _rows(self, rows):
        targets = {name: target[rows] for name, target in self.batch.targets.items()}
        views = tuple(view[rows] for view in self.batch.views)
        return MethodBatch(views, targets, self.batch.video[rows], self.batch.uniforms[rows], self.batch.shared)


def make_step(method, **settings) -> Step:
    optimizer = build_optimizer(method, optimizer="sgd", lr=0.1, weight_decay=0.0)
    return Step(method, optimizer, lambda part: part, torch.device("cpu"), **settings)


def gradient(method) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {"queue_size": 20},  # 12 keys a step: the order of what is overwritten matters in the second step
        {"queue_size": 20, "mask_own_keys": True, "one_pass": True, "loss": "outside"},
        {"twin": False, "pairs": ("gq_gk",), "degree_weight": 0.0},
        {"pairs": ()},
    ],
)
def test_parts_of_a_batch_are_the_batch(settings, parts):
    whole = tiny_method(**settings).eval()
    pieces = copy.deepcopy(whole)
    one, other = make_step(whole), make_step(pieces, accumulate=parts)
    for seed in (1, 2):
        batch = Ready(tiny_batch(6, seed=seed))
        a, b = one(batch, progress=0.5, measure=True), other(batch, progress=0.5, measure=True)
        assert a.scalars.keys() == b.scalars.keys()
        for name in a.scalars:
            torch.testing.assert_close(b.scalars[name], a.scalars[name], rtol=1e-5, atol=1e-6)
        assert b.measured == pytest.approx(a.measured, rel=1e-3)
        assert torch.equal(a.video, b.video)
        wanted, found = gradient(whole), gradient(pieces)
        assert (found - wanted).norm() <= 1e-5 * wanted.norm()
    state = whole.state_dict()
    for name, value in pieces.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=1e-5, atol=1e-6)


def test_what_is_detached_holds_no_graph():
    output = tiny_method()(tiny_batch()).detached()
    assert not any(v.requires_grad for v in (*output.losses.values(), *output.terms.values(), output.features))


class Duel(Method):
    """Two numbers: one falls towards the other, the other runs away from it."""

    uniforms = 0

    def __init__(self) -> None:
        super().__init__()
        self.hunter, self.prey = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([1.0]))

    def parameter_groups(self):
        return {"main": [Group([self.hunter])], "prey": [Group([self.prey], scale=0.5, decay=0.0)]}

    def forward(self, batch):
        distance = ((self.hunter - self.prey) ** 2).sum()
        return StepOutput({"main": distance, "prey": -distance}, {"distance": distance})


@pytest.mark.parametrize("parts", [1, 2])
def test_each_objective_moves_its_own_parameters_only(parts):
    method = Duel()
    step = make_step(method, accumulate=parts)
    batch = MethodBatch((torch.zeros(2, 1),), {}, torch.arange(2), torch.zeros(2, 0))
    result = step(Ready(batch), progress=1.0, measure=True)
    assert method.hunter.grad.item() == pytest.approx(2 * (3 - 1))
    assert method.prey.grad.item() == pytest.approx(2 * (3 - 1))  # -d/dprey of (h - p)^2
    assert {name: value.item() for name, value in result.scalars.items()} == {
        "loss": 4.0,
        "loss_prey": -4.0,
        "distance": 4.0,
    }
    assert result.measured == {}


def test_groups_have_rates_and_decay_of_their_own():
    method = Duel()
    for name, optimizer in (("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)):
        built = build_optimizer(method, optimizer=name, lr=0.1, weight_decay=0.3)
        assert isinstance(built, optimizer)
        rates = [(g["scale"], g["weight_decay"]) for g in built.param_groups if g["params"]]
        assert rates == [(1.0, 0.3 if name == "sgd" else 0.0), (0.5, 0.0)]  # AdamW decays no vector


def made_ahead(monkeypatch, *, processors=2, make=lambda part: part, parts=1):
    monkeypatch.setattr("cacl.training.step.usable_processors", lambda: list(range(processors)))
    step = make_step(tiny_method(), accumulate=parts)
    return dataclasses.replace(step, make_views=make)


def test_the_next_batch_alone_is_augmented_beside_a_step_by_one_thread(monkeypatch):
    made, read = [], []

    def make(part):
        made.append((int(part.video[0]), threading.current_thread().name, torch.get_num_threads()))
        return part

    def batches():
        for seed in range(4):
            read.append(seed)
            yield Ready(tiny_batch(4, seed=seed))

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        step = made_ahead(monkeypatch, make=make, parts=2)
        taken = []
        for ready in step.ahead(batches()):
            assert len(read) == min(len(taken) + 2, 4)
            assert torch.get_num_threads() == 2
            taken.append(ready)
        in_a_new_thread = []
        other = threading.Thread(target=lambda: in_a_new_thread.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert in_a_new_thread == [2]
    finally:
        torch.set_num_threads(threads)
    assert len(made) == 8
    assert {(name.startswith("cacl-ahead"), count) for _, name, count in made} == {(True, 1)}
    for seed, parts in enumerate(taken):
        wanted = Ready(tiny_batch(4, seed=seed)).parts(2)
        assert len(parts) == 2
        for one, other in zip(parts, wanted, strict=True):
            for ours, theirs in zip(one.views, other.views, strict=True):
                assert torch.equal(ours, theirs)


def test_a_step_is_the_same_of_what_was_made_ahead(monkeypatch):
    plain, other = make_step(tiny_method().eval(), accumulate=2), made_ahead(monkeypatch, parts=2)
    other = dataclasses.replace(other, method=copy.deepcopy(plain.method))
    other = dataclasses.replace(other, optimizer=make_step(other.method).optimizer)
    batches = [Ready(tiny_batch(6, seed=seed)) for seed in (1, 2)]
    for batch, ready in zip(batches, other.ahead(batches), strict=True):
        a, b = plain(batch, progress=0.5), other(ready, progress=0.5)
        assert all(torch.equal(a.scalars[name], b.scalars[name]) for name in a.scalars)
    assert torch.equal(gradient(plain.method), gradient(other.method))


def test_on_one_processor_and_on_a_gpu_nothing_is_made_ahead(monkeypatch):
    batches = [Ready(tiny_batch(4, seed=1))]
    assert list(made_ahead(monkeypatch, processors=1).ahead(batches)) == batches
    step = dataclasses.replace(made_ahead(monkeypatch), device=torch.device("meta"))
    assert list(step.ahead(batches)) == batches
    assert list(made_ahead(monkeypatch).ahead([])) == []


def test_what_goes_wrong_in_augmentation_or_in_reading_goes_wrong_in_the_step(monkeypatch):
    def broken(part):
        raise UserError("a crop that does not fit")

    with pytest.raises(UserError, match="does not fit"):
        list(made_ahead(monkeypatch, make=broken).ahead([Ready(tiny_batch(4, seed=1))]))

    def reading():
        yield Ready(tiny_batch(4, seed=1))
        raise UserError("too few videos can be read")

    with pytest.raises(UserError, match="too few"):
        list(made_ahead(monkeypatch).ahead(reading()))
