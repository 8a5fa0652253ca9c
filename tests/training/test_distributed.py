"""Trainings in several processes against the same training in one, on gloo: losses, weights, queue, failures, ends."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cacl.config import Settings, resolve
from cacl.data.catalog import Catalog, Video
from cacl.data.dataset import Dataset
from cacl.data.loader import ClipBatch, ClipLoader
from cacl.errors import UserError, VideoError
from cacl.methods.batch import ViewBatch
from cacl.methods.cacl import CACL
from cacl.methods.frame_moco import FrameMoCo
from cacl.models.batchnorm import global_batchnorm_
from cacl.models.encoder import ClipSpec, Encoder
from cacl.models.processes import LostProcess, everyones, rank, world
from cacl.presets import PRESETS
from cacl.training import distributed, loop
from cacl.training.checkpoint import load_checkpoint, newest_checkpoint
from cacl.training.distributed import any_wants, check_processes
from cacl.training.finetune import Part, train_classifier
from cacl.training.finetune_settings import resolve_finetune
from cacl.training.loop import Stage, train
from cacl.training.numbers import StepNumbers
from cacl.training.optim import build_optimizer
from cacl.training.stop import Stopped, StopRequest
from cacl.training.wiring import build_frame_moco, build_frames_network, build_method, initial_network, views_maker

VIDEOS, BATCH = 32, 8  # 4 steps an epoch
TINY = {
    "data.frames": 4,
    "data.stride": 1,
    "data.resize": [36, 40],
    "augment.size": 32,
    "model.width": 4,
    "model.frame_width": 4,
    "model.token_width": 12,
    "model.depth": 1,
    "model.degree_hidden": 8,
    "model.degree_dropout": 0.5,
    "method.queue_size": 40,  # wraps around within 20 steps, not at the end of a batch
    "optim.batch_size": BATCH,
    "run.precision": "float32",
    "run.device": "cpu",
}
# The preset small has batch negatives with Tq, masked own keys, two moments, BatchNorm in its heads and one pass.
OTHERWISE = {
    "method.one_pass": False,
    "method.symmetric": True,
    "method.loss": "inside",
    "method.key_order": "swapped",
    "model.projection": "linear",
    "model.degree_input": "pair",
    "model.standardise": "none",
    "optim.optimizer": "sgd",
    "optim.lr": 1e-2,
}


class Drifting:
    """Coloured noise that drifts, its own in every video; ``bad`` videos cannot be read."""

    height, width = 36, 40

    def __init__(self, bad: Sequence[int] = ()) -> None:
        self.bad = bad

    def read(self, video: int, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        if video in self.bad:
            raise VideoError(f"v{video}.mp4", "breaks")
        rng = np.random.default_rng(video)
        base = rng.integers(0, 150, (36, 40, 3)) + rng.integers(0, 105, 3)
        return np.stack([np.roll(base, (video % 7 + 1) * int(t) // 4, axis=1) for t in indices]).astype(np.uint8)


def settings_of(**changes: Any) -> Settings:
    return resolve(PRESETS["small"], flags={**TINY, **changes}).settings


def build(settings: Settings, kind: str) -> CACL | FrameMoCo:
    frame_encoder = build_frames_network(settings, weights=None)
    if kind == "frames":
        return build_frame_moco(settings, frame_encoder, queue_size=40)
    return build_method(settings, network=initial_network(settings), frame_encoder=frame_encoder)


def stage(folder: Path, settings: Settings, kind: str = "clips", *, epochs: int = 5, **changes: Any) -> Stage:
    """As ``stages.py`` puts it together, over made-up videos of which several share a number."""
    folder.mkdir(exist_ok=True)
    method = changes.pop("method", None) or build(settings, kind)
    if world() > 1 and settings.method.batchnorm == "global":
        global_batchnorm_(method)
    dtype = next(method.parameters()).dtype
    make = views_maker(settings, method=method)

    def views(batch: ClipBatch) -> ViewBatch:
        made = make(batch)
        return ViewBatch(tuple(x.to(dtype) for x in made.views), made.targets, made.video % 9, made.uniforms)

    optim = settings.optim
    values: dict[str, Any] = {
        "name": "train",
        "method": method,
        "loader": ClipLoader(
            Drifting(changes.pop("bad", ())),
            [40] * VIDEOS,
            method.plan,
            seed=3,
            batch_size=BATCH,
            rank=rank(),
            world=world(),
            on_failure=changes.pop("heard", None),
        ),
        "optimizer": build_optimizer(method, optimizer=optim.optimizer, lr=1.0, weight_decay=optim.weight_decay),
        "make_views": views,
        "video_names": [f"v{i}.mp4" for i in range(VIDEOS)],
        "learning_rate": lambda step: optim.lr,
        "epochs": epochs,
        "checkpoints": folder / "checkpoints",
        "metrics": folder / "metrics.jsonl",
        "device": torch.device("cpu"),
        "autocast": None,
        "clip_gradient": None,
        "log_every": 3,
        "save_minutes": 60.0,
    }
    return Stage(**{**values, **changes})


def rows(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in line if key not in ("kind", "clips_per_second")} for line in lines]


def state(folder: Path) -> dict[str, Tensor]:
    path = newest_checkpoint(folder / "checkpoints")
    assert path is not None
    found: dict[str, Tensor] = load_checkpoint(path)[1]["method"]
    return found


def compare(one: Path, several: Path, *, rtol: float, atol: float) -> None:
    """Every number of every step, weights and queue in the last checkpoint; running statistics to ten times that."""
    for expected, found in zip(rows(one), rows(several), strict=True):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, rel=10 * rtol if "grad" in key else rtol, abs=atol), key
    before, after = state(one), state(several)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        allowed = 10 * atol if "running" in name else atol
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=allowed, msg=lambda text, n=name: f"{n}: {text}")


def double_everywhere() -> None:
    """``.float()`` gives float64 in this (forked) process, so that rounding does not hide a wrong formula."""
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign, assignment]


InProcesses = Callable[..., list[Any]]


# The same training ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["clips", "frames"])
def test_twenty_steps_in_float32(kind: str, in_processes: InProcesses, tmp_path: Path) -> None:
    # a small learning rate, as BatchNorm over few values of networks this narrow amplifies rounding tenfold a step
    settings = settings_of(**{"optim.optimizer": "sgd", "optim.lr": 1e-6})

    def work() -> int:
        train(stage(tmp_path / str(world()), settings, kind), StopRequest())
        return world()

    counts = [2, 4] if kind == "clips" else [2]  # frames in four processes: below
    assert in_processes(1, work) == [1]
    assert len(rows(tmp_path / "1")) == 20
    for count in counts:
        assert in_processes(count, work) == [count] * count
        compare(tmp_path / "1", tmp_path / str(count), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kind", "changes"), [("clips", {}), ("clips", OTHERWISE), ("frames", {})])
def test_at_a_real_learning_rate_in_float64(
    kind: str, changes: dict[str, Any], in_processes: InProcesses, tmp_path: Path
) -> None:
    settings = settings_of(**changes)

    def work() -> int:
        double_everywhere()
        train(
            stage(tmp_path / str(world()), settings, kind, epochs=1, method=build(settings, kind).double()),
            StopRequest(),
        )
        return world()

    for count in (1, 4):
        assert in_processes(count, work) == [count] * count
    learnt, initial = state(tmp_path / "1"), build(settings, kind).state_dict()
    assert max((learnt[name] - initial[name]).abs().max() for name in initial if name.endswith("weight")) > 1e-3
    compare(tmp_path / "1", tmp_path / "4", rtol=1e-10, atol=1e-10)


def test_fine_tuning_learns_the_same(in_processes: InProcesses, tmp_path: Path) -> None:
    settings = resolve_finetune(
        preset="small",
        flags={
            "data.workers": 0,
            "optim.epochs": 2,
            "optim.batch_size": BATCH,
            "optim.lr": 1e-5,
            "run.device": "cpu",
            "run.precision": "float32",
        },
    ).settings
    names = [f"v{i}.mp4" for i in range(VIDEOS)]
    entries = [
        Video(path=name, id=name, label=None, split=None, frames=40, fps=25.0, width=40, height=36) for name in names
    ]
    data = Dataset(Catalog(Path("."), tuple(entries)), Drifting())
    spec = ClipSpec(frames=8, stride=1, resize=(36, 40), size=32)
    labels = tuple(i % 3 for i in range(VIDEOS))

    def work() -> int:
        torch.manual_seed(0)
        encoder = Encoder("r3d10", width=4, clip=spec)
        part = Part(tmp_path / str(world()), tuple(range(VIDEOS)), labels, 0)
        train_classifier(part, encoder, ("a", "b", "c"), data, settings, StopRequest())
        return world()

    for count in (1, 2):
        assert in_processes(count, work) == [count] * count
    assert len(rows(tmp_path / "1")) == 8
    compare(tmp_path / "1", tmp_path / "2", rtol=1e-5, atol=2e-5)


# Own BatchNorm with shuffled keys, as the authors' code --------------------------------------------------------------


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


def by_hand(settings: Settings, kind: str) -> nn.Module:
    method = build(settings, kind).double()
    if isinstance(method, CACL):
        assert method.key is not None
        method.query.network, method.key.network = Split(method.query.network, 2), Split(method.key.network, 2)  # type: ignore[assignment]
        keys, column = method.key.network, -1
    else:
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
    settings = settings_of(**{**OTHERWISE, "method.symmetric": False, "method.batchnorm": "process"})

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
        method.shuffle_keys = (tmp_path / "shuffled").exists()
        folder = tmp_path / str(method.shuffle_keys)
        train(stage(folder, settings, epochs=1, method=method, learning_rate=lambda step: 0.0), StopRequest())
        return [row["loss"] for row in rows(folder)] if rank() == 0 else []

    straight = in_processes(2, work)[0]
    (tmp_path / "shuffled").mkdir()
    shuffled = in_processes(2, work)[0]
    assert shuffled != pytest.approx(straight, rel=1e-4)


# Failures, stops and ends --------------------------------------------------------------------------------------------


class Mean(nn.Module):
    """One layer over the mean of a clip: a training whose steps take no time."""

    views, uniforms = 1, 1

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 4)

    plan = CACL.plan

    def forward(self, batch: ViewBatch) -> Any:
        from cacl.methods.batch import StepOutput

        features = self.layer(batch.views[0].mean((2, 3, 4)))
        loss = (features - batch.video[:, None] / 9).square().mean()
        return StepOutput({"total": loss}, {}, features)

    def after_step(self, output: Any, progress: float) -> None:
        pass


def mean_stage(folder: Path, **changes: Any) -> Stage:
    method = Mean()
    method.frames, method.stride, method.start_window, method.moments, method.twin = 2, 1, None, 1, False  # type: ignore[assignment]
    return stage(folder, settings_of(**{"optim.lr": 1e-2}), method=method, **changes)


def test_a_video_that_fails_in_one_process_is_left_out_by_all(in_processes: InProcesses, tmp_path: Path) -> None:
    def work() -> dict[str, Any]:
        heard: list[Any] = []
        told = mean_stage(tmp_path / str(world()), bad=(4, 11, 30), epochs=3, heard=heard.append)
        train(told, StopRequest())
        return {
            "failures": [[f.video, f.epoch] for f in told.loader.failures],
            "heard": sorted(f.video for f in heard),
        }

    (one,), two = in_processes(1, work), in_processes(2, work)
    assert sorted(video for video, _ in one["failures"]) == [4, 11, 30]
    assert two == [one, one]
    compare(tmp_path / "1", tmp_path / "2", rtol=1e-5, atol=1e-6)


def test_a_signal_to_one_process_stops_all_after_the_same_step(in_processes: InProcesses, tmp_path: Path) -> None:
    class After(StopRequest):
        """Signalled in the second process, after its fifth step."""

        steps = 0

        @property
        def requested(self) -> bool:
            self.steps += 1
            if rank() == 1 and self.steps == 5:
                self._signal = signal.SIGTERM
            return super().requested

    def stopped() -> int:
        try:
            train(mean_stage(tmp_path / "parts"), After())
        except Stopped as stop:
            return stop.code
        return 0

    def to_the_end() -> int:
        for name in ("parts", "whole"):
            train(mean_stage(tmp_path / name), StopRequest())
        return 0

    assert in_processes(2, stopped) == [143, 143]
    assert len(rows(tmp_path / "parts")) == 5
    assert in_processes(2, to_the_end) == [0, 0]
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    whole = state(tmp_path / "whole")
    assert all(torch.equal(tensor, whole[name]) for name, tensor in state(tmp_path / "parts").items())


def test_from_two_processes_to_one_is_said_and_gives_the_same_training(
    in_processes: InProcesses, tmp_path: Path
) -> None:
    def first() -> None:
        train(mean_stage(tmp_path / "parts", epochs=2), StopRequest())

    def whole() -> None:
        train(mean_stage(tmp_path / "whole"), StopRequest())

    in_processes(2, first)
    in_processes(1, whole)
    said: list[str] = []
    train(mean_stage(tmp_path / "parts", say=said.append), StopRequest())
    assert len(said) == 1
    assert "8 of 20 steps were made with 2 processes, now it is 1. The samples stay the same" in said[0]
    compare(tmp_path / "whole", tmp_path / "parts", rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_dies_or_hangs_ends_the_others(
    how: int, in_processes: InProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    average = distributed.average_gradients
    monkeypatch.setattr(loop, "average_gradients", lambda module: dying(module))
    steps = iter(range(100))

    def dying(module: nn.Module) -> None:
        if next(steps) == 6:
            if rank() == 1:
                (tmp_path / "dead").write_text(str(os.getpid()))
                os.kill(os.getpid(), how)
            time.sleep(0.5)
        average(module)

    def work() -> str:
        try:
            train(mean_stage(tmp_path / "run"), StopRequest())
        except LostProcess as error:
            if how == signal.SIGSTOP and rank() == 0:
                os.kill(int((tmp_path / "dead").read_text()), signal.SIGKILL)
            return str(error)
        return "nothing happened"

    found = in_processes(4, work, timeout=2)
    assert found[1] is None
    for message in (found[0], *found[2:]):
        assert message.startswith("Another process of this job has gone, or answers no more (")


def test_processes_that_see_other_checkpoints_do_not_begin(in_processes: InProcesses, tmp_path: Path) -> None:
    train(mean_stage(tmp_path / "0", epochs=1), StopRequest())

    def work() -> str:
        with pytest.raises(UserError) as caught:
            train(mean_stage(tmp_path / str(rank())), StopRequest())
        return str(caught.value)

    assert all("not every process sees the same files" in message for message in in_processes(2, work))


# What they agree on --------------------------------------------------------------------------------------------------


def test_means_wishes_and_words(in_processes: InProcesses) -> None:
    def work() -> list[Any]:
        scalars = [{"a": torch.tensor(float(rank() + n)), "b": torch.tensor(2.0)} for n in (0, 1)]
        means = StepNumbers.fetch([StepNumbers({"step": 7}, values, torch.zeros(1)) for values in scalars])
        return [means, any_wants(rank() == 1, 15 * (rank() == 2)), everyones(f"rank {rank()}")]

    rows = [{"step": 7, "a": 1.0, "b": 2.0}, {"step": 7, "a": 2.0, "b": 2.0}]
    expected = [rows, [1, 15], ["rank 0", "rank 1", "rank 2"]]
    assert in_processes(3, work) == [expected] * 3
    alone = [{"step": 7, "a": 0.0, "b": 2.0}, {"step": 7, "a": 1.0, "b": 2.0}]
    assert in_processes(1, work) == [[alone, [False, 0], ["rank 0"]]]


def test_settings_that_do_not_fit_are_refused(in_processes: InProcesses) -> None:
    cases: list[dict[str, Any]] = [
        {
            "device": "cpu",
            "batch_sizes": {"optim.batch_size": (6, 1), "frames.optim.batch_size": (9, 1)},
            "compiled": False,
        },
        {"device": "cpu", "batch_sizes": {"optim.batch_size": (2, 1)}, "compiled": False, "own_batchnorm": True},
        {"device": "mps", "batch_sizes": {}, "compiled": False},
        {"device": "cuda:1", "batch_sizes": {}, "compiled": False},
        {"device": "cpu", "batch_sizes": {}, "compiled": True},
        {"device": "cpu", "batch_sizes": {"optim.batch_size": (2, 1)}, "compiled": False},
        {"device": "cpu", "batch_sizes": {"optim.batch_size": (12, 4)}, "compiled": False},
    ]

    def work() -> list[str]:
        said = []
        for case in cases:
            try:
                check_processes(**case)
                said.append("")
            except UserError as error:
                said.append(str(error))
        return said

    (said, _), alone = in_processes(2, work), in_processes(1, work)
    assert said[0] == "frames.optim.batch_size is 9, which 2 processes cannot share equally; set it to 8."
    assert "optim.batch_size is 2" in said[1]
    assert "set it to 4" in said[1]
    assert "run.device is mps" in said[2]
    assert "run.device is cuda:1" in said[3]
    assert "run.compile" in said[4]
    assert said[5] == ""
    assert said[6] == "optim.batch_size is 12, which 2 processes cannot share equally in 4 parts; set it to 16."
    assert alone == [[""] * len(cases)]
