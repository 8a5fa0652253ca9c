"""Own BatchNorm in every process with shuffled keys, as the authors' code, against a batch split by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training.drifting_stage import OTHERWISE, build, double_everywhere, settings_of, stage, state
from training.rows import rows

from cacl.config import Settings
from cacl.distributed.processes import rank, world
from cacl.methods.cacl import CACL
from cacl.methods.contract import Method
from cacl.methods.moco import MoCo
from cacl.training.loop import train
from cacl.training.stop import StopRequest

InProcesses = Callable[..., list[Any]]


class Split(nn.Module):
    """What several processes compute, written out: each part of the batch with BatchNorm of its own, in ``order``."""

    def __init__(self, network: nn.Module, parts: int) -> None:
        super().__init__()
        self.network, self.parts = network, parts
        self.order: Tensor | None = None
        self.num_features = network.num_features

    def forward(self, x: Tensor) -> Tensor:
        order = torch.arange(len(x)) if self.order is None else self.order
        out = torch.cat([self.network(part) for part in x[order].chunk(self.parts)])
        return out[order.argsort()]


def by_hand(settings: Settings, kind: str) -> Method:
    method = build(settings, kind).double()
    if isinstance(method, CACL):
        assert method.key is not None
        method.query.network, method.key.network = Split(method.query.network, 2), Split(method.key.network, 2)  # type: ignore[assignment]
        keys, column = method.key.network, -1
    else:
        assert isinstance(method, MoCo)
        method.query[0], method.key[0] = Split(method.query[0], 2), Split(method.key[0], 2)
        keys, column = method.key[0], 0
    assert isinstance(keys, Split)
    method.register_forward_pre_hook(
        lambda module, given: setattr(keys, "order", given[0].uniforms[:, column].argsort())
    )
    return method


@pytest.mark.parametrize("kind", ["clips", "frames"])
def test_own_batchnorm_and_shuffled_keys_are_those_of_a_batch_split_by_hand(
    kind: str, in_processes: InProcesses, tmp_path: Path
) -> None:
    settings = settings_of(**{**OTHERWISE, "method.batchnorm": "process"})

    def work() -> int:
        double_everywhere()
        method = build(settings, kind).double() if world() == 2 else by_hand(settings, kind)
        train(stage(tmp_path / str(world()), settings, kind, epochs=1, method=method), StopRequest())
        return world()

    in_processes(1, work)
    in_processes(2, work)
    one, two = rows(tmp_path / "1"), rows(tmp_path / "2")
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], rel=1e-9)
    before = {
        name.replace("network.network", "network").replace("0.network.", "0."): x
        for name, x in state(tmp_path / "1").items()
    }
    for name, tensor in state(tmp_path / "2").items():
        if "running" not in name and "tracked" not in name:  # each process has statistics of its own
            torch.testing.assert_close(tensor, before[name], rtol=0, atol=1e-9, msg=name)


def test_without_the_shuffle_own_batchnorm_would_be_another_training(in_processes: InProcesses, tmp_path: Path) -> None:
    settings = settings_of(**{"method.batchnorm": "process"})

    def work() -> list[float]:
        method = build(settings, "frames")
        assert isinstance(method, MoCo)
        method.shuffle_keys = (tmp_path / "shuffled").exists()
        folder = tmp_path / str(method.shuffle_keys)
        train(stage(folder, settings, epochs=1, method=method, learning_rate=lambda step: 0.0), StopRequest())
        return [row["loss"] for row in rows(folder)] if rank() == 0 else []

    straight = in_processes(2, work)[0]
    (tmp_path / "shuffled").mkdir()
    shuffled = in_processes(2, work)[0]
    assert shuffled != pytest.approx(straight, rel=1e-4)
