"""Learning rates against values worked by hand, and which parameters decay."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cacl.methods.contract import Group, Method
from cacl.models.cnn3d import channels_last_
from cacl.training.optim import build_optimizer, learning_rate, load_optimizer, set_learning_rate

COSINE = {"lr": 0.4, "schedule": "cosine", "schedule_per": "step", "milestones": (), "warmup_epochs": 0.0}
SIZE = {"steps_per_epoch": 10, "epochs": 4}


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0.4), (10, 0.4 * (1 + math.sqrt(0.5)) / 2), (20, 0.2), (30, 0.4 * (1 - math.sqrt(0.5)) / 2)],
)
def test_cosine_by_the_step(step, rate):
    assert learning_rate(step, **COSINE, **SIZE) == pytest.approx(rate)


def test_cosine_by_the_step_ends_just_above_0():
    assert 0 < learning_rate(39, **COSINE, **SIZE) < 0.001


def test_cosine_by_the_epoch_is_a_stair_as_of_the_authors():
    rates = [learning_rate(step, **{**COSINE, "schedule_per": "epoch"}, **SIZE) for step in range(40)]
    for epoch, rate in enumerate([0.4, 0.4 * (1 + math.sqrt(0.5)) / 2, 0.2, 0.4 * (1 - math.sqrt(0.5)) / 2]):
        assert rates[10 * epoch : 10 * epoch + 10] == pytest.approx([rate] * 10)


def test_cosine_by_the_epoch_is_pytorchs():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=300)
    for epoch in range(300):
        found = learning_rate(
            epoch * 7 + 3,
            **{**COSINE, "lr": 0.01, "schedule_per": "epoch"},
            steps_per_epoch=7,
            epochs=300,
        )
        assert found == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        schedule.step()


def test_a_cosine_that_counts_epochs_from_1_is_that_of_the_authors():
    """Their epochs are 1 … E and the rate of each is lr · (1 + cos(π · epoch / E)) / 2: never lr, and 0 at the end."""
    stair = {**COSINE, "schedule_per": "epoch", "first_epoch": 1}
    rates = [learning_rate(step, **stair, **SIZE) for step in range(40)]
    wanted = [0.4 * 0.5 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(1, 5) for _ in range(10)]
    assert rates == pytest.approx(wanted, abs=1e-12)
    assert rates[-1] == 0
    steps = {**stair, "schedule": "step", "milestones": (2,)}
    assert [learning_rate(10 * epoch, **steps, **SIZE) for epoch in range(3)] == pytest.approx([0.4, 0.04, 0.04])


@pytest.mark.parametrize("per", ["step", "epoch"])
def test_milestones_of_moco(per):
    moco = {"lr": 0.03, "schedule": "step", "schedule_per": per, "milestones": (120, 160), "warmup_epochs": 0.0}
    expected = {0: 0.03, 119: 0.03, 120: 0.003, 159: 0.003, 160: 0.0003, 199: 0.0003}
    for epoch, rate in expected.items():
        for within in (0, 4):
            found = learning_rate(epoch * 5 + within, **moco, steps_per_epoch=5, epochs=200)
            assert found == pytest.approx(rate)


def test_warm_up_is_a_straight_line_to_the_full_rate():
    warm = {**COSINE, "warmup_epochs": 0.5}
    rates = [learning_rate(step, **warm, **SIZE) for step in range(6)]
    assert rates == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4, 0.4])
    half = 5 + (40 - 5) / 2
    below, above = (learning_rate(int(half) + i, **warm, **SIZE) for i in (0, 1))
    assert above < 0.2 < below


@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.sampled_from(["cosine", "step"]),
    st.sampled_from(["step", "epoch"]),
    st.floats(0, 40),
)
def test_rates_are_positive_and_never_above_the_setting(per_epoch, epochs, schedule, per, warmup):
    rest = {"lr": 0.1, "schedule": schedule, "schedule_per": per, "milestones": (2, 9), "warmup_epochs": warmup}
    rates = [
        learning_rate(s, **rest, steps_per_epoch=per_epoch, epochs=epochs) for s in range(min(60, per_epoch * epochs))
    ]
    assert all(0 < rate <= 0.1 + 1e-12 for rate in rates)
    after = rates[round(warmup * per_epoch) :]
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(after))


class Net(Method):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 4, 1)
        self.bn = nn.BatchNorm3d(4)
        self.norm = nn.LayerNorm(4)
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.frozen = nn.Linear(4, 4).requires_grad_(False)


def method_of(network):
    method = Method()
    method.network = network
    return method


def test_sgd_is_the_papers():
    net = Net()
    optimizer = build_optimizer(net, optimizer="sgd", lr=0.001, weight_decay=5e-4)
    (group,) = optimizer.param_groups
    assert isinstance(optimizer, torch.optim.SGD)
    assert (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]) == (0.001, 0.9, 5e-4, False)
    assert {id(p) for p in group["params"]} == {id(p) for p in net.parameters() if p.requires_grad}


def test_adamw_decays_neither_biases_nor_normalisation():
    net = Net()
    optimizer = build_optimizer(net, optimizer="adamw", lr=0.002, weight_decay=0.05)
    names = {id(p): name for name, p in net.named_parameters()}
    decays, others = ({names[id(p)] for p in group["params"]} for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.05, 0.0]
    assert decays == {"conv.weight", "token"}
    assert others == {"conv.bias", "bn.weight", "bn.bias", "norm.weight", "norm.bias"}


def test_another_factor_is_pytorchs():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.01)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [45, 90, 125, 160], gamma=0.2)
    iic = {"lr": 0.01, "schedule": "step", "schedule_per": "epoch", "warmup_epochs": 0.0}
    iic |= {"milestones": (45, 90, 125, 160), "milestone_factor": 0.2}
    for epoch in range(240):
        found = learning_rate(epoch * 3 + 1, **iic, steps_per_epoch=3, epochs=240)
        assert found == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_one_step_is_the_formula(kind):
    """Two steps of SGD with momentum, one of AdamW, for a single number."""
    weight = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        weight.weight.fill_(2.0)
    optimizer = build_optimizer(method_of(weight), optimizer=kind, lr=0.1, weight_decay=0.01)
    w = 2.0
    if kind == "sgd":
        speed = 0.0
        for _ in range(2):
            weight.weight.grad = torch.full((1, 1), 3.0)
            optimizer.step()
            speed = 0.9 * speed + 3.0 + 0.01 * w
            w -= 0.1 * speed
    else:
        weight.weight.grad = torch.full((1, 1), 3.0)
        optimizer.step()
        w = w - 0.1 * 0.01 * w - 0.1  # the first step of Adam has length lr
    assert weight.weight.item() == pytest.approx(w, rel=1e-6)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_fused_step_is_the_plain_one(kind, channels_last):
    """Over ten steps, with decay, for weights of every layout; ``foreach=False`` is one parameter after the other."""
    torch.manual_seed(0)
    fast = nn.Sequential(nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8), nn.Conv3d(8, 4, (1, 3, 3)), nn.Linear(5, 7))
    if channels_last:
        channels_last_(fast)
    slow = copy.deepcopy(fast)
    one = build_optimizer(method_of(fast), optimizer=kind, lr=0.05, weight_decay=0.02)
    assert one.defaults["fused"]
    plain = torch.optim.SGD if kind == "sgd" else torch.optim.AdamW
    groups = [
        {
            "params": [p for p in slow.parameters() if (p.ndim > 1) == decays],
            "weight_decay": 0.02 * (kind == "sgd" or decays),
        }
        for decays in (True, False)
    ]
    other = plain(groups, lr=0.05, foreach=False, fused=False, **({"momentum": 0.9} if kind == "sgd" else {}))
    for _ in range(10):
        for a, b in zip(fast.parameters(), slow.parameters(), strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        one.step()
        other.step()
    for a, b in zip(fast.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


class Two(Method):
    """Two objectives, one with groups of its own: twice the rate without decay, and a rate that stays."""

    def __init__(self):
        super().__init__()
        self.encoder_, self.head, self.old, self.generator = (nn.Linear(2, 2) for _ in range(4))

    def parameter_groups(self):
        head, old = list(self.head.parameters()), list(self.old.parameters())
        return {
            "main": [
                Group(list(self.encoder_.parameters())),
                Group(head, scale=2.0, decay=0.0),
                Group(old, constant=7.0),
            ],
            "generator": [Group(list(self.generator.parameters()))],
        }


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_every_group_has_its_own_rate_and_decay(kind):
    method = Two()
    optimizer = build_optimizer(method, optimizer=kind, lr=1.0, weight_decay=0.3)
    set_learning_rate(optimizer, 0.5)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert len(groups) == sum(len(group["params"]) for group in optimizer.param_groups) == 8
    expected = {"encoder_": (0.5, 0.3), "head": (1.0, 0.0), "old": (7.0, 0.3), "generator": (0.5, 0.3)}
    for name, parameter in method.named_parameters():
        rate, decay = expected[name.split(".")[0]]
        group = groups[id(parameter)]
        assert group["lr"] == rate, name
        assert group["weight_decay"] == (decay if kind == "sgd" or parameter.ndim > 1 else 0.0), name


def test_a_state_from_before_groups_had_rates_leaves_these_as_they_were_built():
    method = Two()
    optimizer = build_optimizer(method, optimizer="adamw", lr=1.0, weight_decay=0.3)
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        assert {"scale", "constant"} <= group.keys()
        constant = group.pop("constant")
        del group["scale"]
        if constant is not None:
            group["constant_lr"] = constant
    load_optimizer(optimizer, state)
    set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5, 1.0, 1.0, 7.0, 7.0, 0.5, 0.5]
