"""What every method must do, whatever it learns: run, resume, and be the same in two processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import TINY
from torch import Tensor
from training import drifting_stage
from training.rows import rows, timeless
from training.stops import StopAfter

from cacl.config import Settings, resolve
from cacl.distributed.processes import world
from cacl.methods.contract import Method, MethodBatch
from cacl.presets import PRESETS
from cacl.run import Run
from cacl.training import pretrain as module
from cacl.training.loop import train
from cacl.training.pretrain import pretrain, resume
from cacl.training.resolve import resolve_settings
from cacl.training.stop import Stopped, StopRequest
from cacl.training.wiring import build_method, initial_network

InProcesses = Callable[..., list[Any]]


def tiny_settings(method: str, **changes: Any) -> Settings:
    """Of the preset ``small``, with clips of 8 x 32 x 32 and a network of width 4."""
    flags = {
        "data.frames": 8,
        "data.stride": 1,
        "data.resize": [36, 40],
        "augment.size": 32,
        "model.width": 4,
        "model.standardise": "none",
    }
    return resolve_settings(method=method, flags={**flags, **changes}).settings


def tiny_method(method: str, *, videos: int = 12, **changes: Any) -> Method:
    settings = tiny_settings(method, **changes)
    return build_method(settings, network=initial_network(settings), videos=videos).train()


def doubled(batch: MethodBatch) -> MethodBatch:
    """The same batch in float64."""
    numbers = {"uniforms": batch.uniforms.double(), "shared": batch.shared.double()}
    return replace(batch, views=tuple(view.double() for view in batch.views), **numbers)


def noise(method: Method, size: int, *, targets: dict[str, Tensor], frames: int = 8, side: int = 32) -> MethodBatch:
    """Views of noise of another brightness each, and the method's own random numbers."""
    rng = np.random.default_rng(size)
    base = rng.random((size, 1, 1, 1, 1))
    views = [base + 0.5 * rng.random((size, 3, frames, side, side)) for _ in method.views]
    return MethodBatch(
        tuple(torch.from_numpy(view).float() for view in views),
        targets,
        torch.arange(size),
        torch.from_numpy(rng.random((size, method.uniforms))).float(),
        torch.from_numpy(rng.random(method.shared)).float(),
    )


def equal_gradients(found: Tensor, expected: Tensor, parameters: list[torch.nn.Parameter], *, rtol: float) -> None:
    """Both losses, and what they make of the parameters."""
    torch.testing.assert_close(found, expected, rtol=rtol, atol=0)
    ours, theirs = (
        torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True) for loss in (found, expected)
    )
    assert any(gradient is not None and gradient.abs().max() > 0 for gradient in ours)
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert (a - b).abs().max() <= rtol * max(1.0, b.abs().max().item())


def same_in_two_processes(
    method: str, in_processes: InProcesses, folder: Path, *, changes: dict[str, Any] | None = None
) -> None:
    """Two epochs at a real learning rate in float64: numbers of every step, weights and state."""
    flags = {key: value for key, value in drifting_stage.TINY.items() if key != "method.queue_size"}
    flags |= {"method.name": method, "data.frames": 8, "optim.optimizer": "sgd", "optim.lr": 1e-2}
    settings = resolve(PRESETS["small"], flags={**flags, **(changes or {})}).settings

    def work() -> int:
        drifting_stage.double_everywhere()
        made = drifting_stage.build(settings, "clips").double()
        train(drifting_stage.stage(folder / str(world()), settings, epochs=2, method=made), StopRequest())
        return world()

    for count in (1, 2):
        assert in_processes(count, work) == [count] * count
    learnt, initial = drifting_stage.state(folder / "1"), drifting_stage.build(settings, "clips").state_dict()
    assert max((learnt[name] - initial[name]).abs().max() for name in initial if name.endswith("weight")) > 1e-4
    drifting_stage.compare(folder / "1", folder / "2", rtol=1e-9, atol=1e-9)


def runs_and_resumes(method: str, videos: Path, folder: Path, *, settings: dict[str, Any] | None = None) -> Run:
    """A whole run with its report; and the same, stopped and resumed, bit for bit."""
    flags = {key: value for key, value in TINY.items() if key != "method.queue_size"} | (settings or {})
    whole = pretrain(videos, out=folder / "whole", method=method, settings=flags)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "StopRequest", lambda path: StopAfter(3))
        with pytest.raises(Stopped):
            pretrain(videos, out=folder / "stopped", method=method, settings=flags)
    again = resume(folder / "stopped")
    assert timeless(again.path) == timeless(whole.path)
    assert len(rows(whole.path)) == 4
    one, two = (newest_state(run.path) for run in (whole, again))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert (whole.path / "report.html").exists()
    assert (whole.path / "samples" / "first-batch.png").exists()
    assert whole.method == method
    return whole


def newest_state(run: Path) -> dict[str, Tensor]:
    (last,) = (run / "checkpoints" / "train").iterdir()
    found: dict[str, Tensor] = torch.load(last / "state.pt", weights_only=True)["method"]
    return found
