"""Everything that the contract of a method offers, in one file: a toy, trained, resumed, shared, reported, tuned.

It has terms and curves of its own, two objectives with parameters and rates of their own, two clips of different
length, a view whose colours change with every frame, one that is not augmented at all, a plan that refuses short videos
without changing its target, a number that the whole step shares, and a bank with the age of each video's row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from squares import make_squares
from tiny import FINETUNING
from torch import Tensor, nn
from training.rows import rows, timeless
from training.stops import StopAfter

from cacl.data.clips.augment import centre_crop
from cacl.data.clips.batch import ClipBatch
from cacl.data.clips.loader import ClipLoader
from cacl.data.clips.sampling import ClipPlan, TooShort
from cacl.data.randomness import generator
from cacl.distributed.processes import world
from cacl.errors import UserError
from cacl.evaluation.health import warnings_from
from cacl.experiments.evaluate import evaluate
from cacl.experiments.recognition.finetune import finetune
from cacl.experiments.report import report
from cacl.methods.contract import MAIN, Group, Method, MethodBatch, StepOutput, View
from cacl.methods.curves import Curve, Mark
from cacl.models.cnn3d import CNN3D, build_cnn3d
from cacl.run import Run
from cacl.settings import METHODS, MethodSettings, Positive, Settings
from cacl.training import pretrain as module
from cacl.training.pretrain import pretrain, resume
from cacl.training.resolve import resolve_settings
from cacl.training.stop import Stopped
from cacl.training.views import augmented_views

LONG, SHORT = 8, 4
CURVES = (
    Curve("Speed", {"speed_right": "training clips"}, (Mark("chance", 0.5),), percent=True, chance=0.5, advice="Wait."),
    Curve("Pull to the bank", {"pull": "cosine"}, shown={"pull": "pull"}),
)


class ToySettings(MethodSettings):
    name: Literal["toy"] = "toy"
    hidden: Positive = 6

    def curves(self, frames: int) -> Sequence[Curve]:
        return CURVES

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> Method:
        return Toy(network, hidden=self.hidden, videos=videos)


class Toy(Method):
    views = (View(clip=0, draw=0), View(clip=1, draw=0, jitter="frame"), View(clip=1, crop="centre"))
    uniforms, shared = 2, 1
    curves = CURVES
    bank: Tensor
    age: Tensor

    def __init__(self, network: CNN3D, *, hidden: int, videos: int) -> None:
        super().__init__()
        self.network, self.speed = network, nn.Linear(2 * network.num_features, 2)
        self.critic = nn.Linear(network.num_features, 1)
        self.register_buffer("bank", F.normalize(torch.randn(videos, network.num_features), dim=1))
        self.register_buffer("age", torch.zeros(videos, dtype=torch.int64))

    @property
    def encoder(self) -> CNN3D:
        return self.network

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        speed = int(rng.integers(2))  # drawn first: another video keeps it
        step, span = 1 + speed, LONG * (1 + speed)
        if n_frames < span:
            raise TooShort(f"{n_frames} frames are fewer than {span}")
        start = int(rng.integers(n_frames - span + 1))
        long = start + step * np.arange(LONG, dtype=np.int64)
        return ClipPlan((long, long[:SHORT]), {"speed": np.array(speed), "weight": np.array(1.5, np.float32)})

    def forward(self, batch: MethodBatch) -> StepOutput:
        long, short, plain = (self.network(view) for view in batch.views)
        features = torch.stack([long, short])
        logits = self.speed(torch.cat([features[0], features[1]], dim=1)).float()
        guess = (F.cross_entropy(logits, batch.targets["speed"], reduction="none") * batch.targets["weight"]).mean()
        unit = F.normalize(features[0].float(), dim=1)
        pull = (unit * self.bank[batch.video]).sum(dim=1).mean()
        judged = (self.critic(plain.detach()) - self.critic(features[1])).float()  # of each sample
        noise = batch.uniforms.mean() * 0.01 + batch.shared[0] * 0.1
        terms = {"speed_loss": guess, "pull_loss": -pull}
        right = (logits.argmax(dim=1) == batch.targets["speed"]).float().mean()
        return StepOutput(
            {MAIN: guess - 0.1 * pull * (1 + noise) + 0.01 * judged.mean(), "critic": ((judged - 1) ** 2).mean()},
            terms,
            {"speed_right": right, "pull": pull.detach(), "shared": batch.shared[0]},
            features,
            {"row": unit.detach()},
        )

    @torch.no_grad()
    def after_step(self, state: Mapping[str, Tensor], video: Tensor, progress: float) -> None:
        self.age += 1
        self.age[video] = 0
        self.bank[video] = F.normalize(0.5 * self.bank[video] + 0.5 * state["row"], dim=1)

    def parameter_groups(self) -> Mapping[str, Sequence[Group]]:
        own = list(self.critic.parameters())
        encoder = list(self.network.parameters())
        return {
            MAIN: [Group(encoder), Group(list(self.speed.parameters()), scale=10.0)],
            "critic": [Group(own, constant=0.01, decay=0.0)],
        }


SETTINGS: dict[str, Any] = {
    "data.resize": [32, 40],
    "data.workers": 2,
    "data.store": "none",
    "augment.size": 32,
    "model.width": 4,
    "model.standardise": "none",
    "optim.batch_size": 4,
    "optim.epochs": 3,
    "optim.warmup_epochs": 0.0,
    "optim.lr": 1e-4,
    "run.device": "cpu",
    "run.precision": "float32",
    "run.threads": 1,
    "run.log_every": 2,
}


@pytest.fixture(scope="module", autouse=True)
def known() -> Iterator[None]:
    """One line of the table."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "toy", "training.test_toy_method:ToySettings")
        yield


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_squares(tmp_path_factory.mktemp("squares"))


@pytest.fixture(scope="module")
def whole(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained without a stop, profiled."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return pretrain(videos, out=out, method="toy", settings=SETTINGS, profile=True).path


def state(run: Path) -> dict[str, Any]:
    (last,) = (run / "checkpoints" / "train").iterdir()
    found: dict[str, Any] = torch.load(last / "state.pt", weights_only=True)
    return found


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


def test_it_logs_its_own_terms_and_every_objective(whole: Path) -> None:
    found = rows(whole)
    assert len(found) == 6
    for row in found:
        assert {"loss", "loss_critic", "speed_loss", "pull_loss", "speed_right", "pull", "shared"} <= row.keys()
        assert "nce" not in row
        assert ("grad_speed" in row) == ("grad_pull" in row) == ("feature_std" in row) == (row["step"] % 2 == 1)
    assert len({row["shared"] for row in found}) == 6
    groups = state(whole)["optimizer"]["param_groups"]
    rates = sorted({round(group["lr"] / found[-1]["lr"], 6) for group in groups if group["constant"] is None})
    assert rates == [1.0, 10.0]
    assert {group["lr"] for group in groups if group["constant"] is not None} == {0.01}


def test_its_state_is_that_of_a_slow_loop_over_the_videos_it_saw(whole: Path) -> None:
    age = state(whole)["method"]["age"].tolist()
    assert len(age) == 8
    assert sorted(age) == sorted([0, 0, 0, 0, 1, 1, 1, 1])  # two steps an epoch of eight videos, each seen once
    norms = state(whole)["method"]["bank"].norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(8))


def test_stopped_and_resumed_it_is_the_same_bit_for_bit(
    whole: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "StopRequest", lambda path: StopAfter(3))
    with pytest.raises(Stopped):
        pretrain(videos, out=tmp_path / "run", method="toy", settings=SETTINGS)
    monkeypatch.undo()
    assert [folder.name for folder in (tmp_path / "run" / "checkpoints" / "train").iterdir()] < ["step-00000006"]
    run = resume(tmp_path / "run").path
    assert equal(state(run), state(whole))
    assert timeless(run) == timeless(whole)


def test_two_processes_learn_the_same(videos: Path, tmp_path: Path, in_processes: Callable[..., list[Any]]) -> None:
    settings = {**SETTINGS, "optim.lr": 1e-6, "data.workers": 0}  # BatchNorm of so few values amplifies rounding

    def work() -> int:
        pretrain(videos, out=tmp_path / str(world()), method="toy", settings=settings)
        return world()

    assert in_processes(1, work) == [1]
    assert in_processes(2, work) == [2, 2]
    one, two = (state(tmp_path / name)["method"] for name in ("1", "2"))
    assert torch.equal(one["age"], two["age"])
    torch.testing.assert_close(two["bank"], one["bank"], rtol=1e-4, atol=1e-4)
    for a, b in zip(rows(tmp_path / "1"), rows(tmp_path / "2"), strict=True):
        numbers = {key: value for key, value in a.items() if key not in ("kind", "clips_per_second")}
        assert {key: b[key] for key in numbers} == pytest.approx(numbers, rel=1e-3, abs=1e-3)


def test_the_report_draws_its_curves_and_warns_in_its_words(whole: Path) -> None:
    page = (whole / "report.html").read_text(encoding="utf-8")
    assert report([whole]).read_text(encoding="utf-8").count("<section") == page.count("<section")
    for curve in CURVES:
        assert curve.title in page
    assert "shuffle" not in page.lower()
    assert Run(whole).method == "toy"
    assert (whole / "samples" / "first-batch.png").exists()
    rows_of_guessing = [{"speed_right": 0.5, "step": step} for step in range(8)]
    assert "speed task has not started" in warnings_from(rows_of_guessing, CURVES)[0]


def test_a_profile_says_where_its_time_went(whole: Path) -> None:
    log = (whole / "log.txt").read_text()
    assert "train: where the time of a step goes, mean of 3 steps" in log  # of six, three to warm up
    assert "backward" in log


def test_a_plan_that_refuses_short_videos_keeps_its_target() -> None:
    method = Toy(build_cnn3d("r3d10", width=4), hidden=6, videos=2)

    class Videos:
        height, width = 2, 2

        def read(self, video: int, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
            assert len(set(indices.tolist())) == len(indices), "equal frames are read once"
            return np.broadcast_to(indices[:, None, None, None], (len(indices), 2, 2, 3)).astype(np.uint8)

    lengths = [10, 40]  # the first is too short for the double speed
    loader = ClipLoader(Videos(), lengths, method.plan, seed=0, batch_size=2)
    seen = []
    for epoch in range(30):
        (batch,) = loader.epoch(epoch)
        for row, sample in enumerate(batch.sample.tolist()):
            wanted = int(generator(0, "clip", epoch, sample).integers(2))
            assert batch.targets["speed"][row] == wanted
            assert batch.video[row] == (1 if wanted and sample == 0 else sample)
            assert torch.equal(batch.clips[0][row, :SHORT], batch.clips[1][row])
            seen.append(wanted)
    assert set(seen) == {0, 1}
    assert batch.targets["weight"].dtype == torch.float32
    short = ClipLoader(Videos(), [5, 6], method.plan, seed=0, batch_size=2)
    with pytest.raises(UserError, match="no video is long enough"):
        next(short.epoch(0))


def test_views_share_a_draw_or_have_one_a_frame_or_none() -> None:
    method = Toy(build_cnn3d("r3d10", width=4), hidden=6, videos=2)
    settings = resolve_settings(
        method="toy", flags={**SETTINGS, "augment.jitter_p": 1.0, "augment.gray_p": 0.0}
    ).settings
    make = augmented_views(method, settings.augment, seed=0, channels_last=False)
    frame = torch.randint(0, 256, (1, 1, 32, 40, 3), dtype=torch.uint8)
    clips = (frame.expand(2, LONG, -1, -1, -1), frame.expand(2, SHORT, -1, -1, -1))
    targets = {"speed": torch.zeros(2, dtype=torch.int64), "weight": torch.ones(2)}
    order = torch.arange(2)
    views = make(ClipBatch(clips, targets, order, order, epoch=0)).views
    assert [view.shape for view in views] == [(2, 3, LONG, 32, 32), (2, 3, SHORT, 32, 32), (2, 3, SHORT, 32, 32)]
    still = [float((view - view[:, :, :1]).abs().max()) for view in views]
    assert still[0] == still[2] == 0, "one draw for the clip"
    assert still[1] > 0.02, "one for each frame"
    torch.testing.assert_close(views[2], centre_crop(clips[1], 32))
    grey = views[0][:, :, 0].mean(1) - views[1][:, :, 0].mean(1)  # the same crop and flip: only colours differ
    assert float((grey - grey.mean((1, 2), keepdim=True)).abs().mean()) < 0.1


def test_what_it_learned_is_evaluated_and_fine_tuned(whole: Path, videos: Path, tmp_path: Path) -> None:
    recalls = evaluate(whole)["retrieval"]
    assert {"toy", "untrained"} <= recalls.keys()
    found = finetune(videos, model=whole, out=tmp_path / "tuned", settings={**FINETUNING, "optim.epochs": 1})
    assert 0 <= found["rows"]["fine-tuned"]["top-1"] <= 100 if "rows" in found else found
