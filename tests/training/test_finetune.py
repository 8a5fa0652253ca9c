"""Fine-tuning: every step's learning rates and updates against values by hand, resuming bit for bit, its settings."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import FINETUNING
from training.rows import rows, timeless
from training.stops import StopAfter

from cacl.config import load_resolved_as
from cacl.data.videos.catalog import Catalog, Video
from cacl.data.videos.dataset import Dataset
from cacl.errors import UserError
from cacl.finetune_settings import FINETUNE_PRESETS, FineTune, resolve_finetune
from cacl.methods.classify import Classify
from cacl.models.cnn3d import build_cnn3d
from cacl.models.encoder import ClipSpec, Encoder
from cacl.training.finetune import (
    Part,
    finetune_auto_values,
    finetune_stage,
    train_classifier,
)
from cacl.training.loop import train
from cacl.training.optim import build_optimizer, load_optimizer
from cacl.training.stop import Stopped, StopRequest

SPEC = ClipSpec(frames=8, stride=1, resize=(20, 24), size=16, standardise="motion")
QUICK = {**FINETUNING, "run.log_every": 2}
LABELS = (0, 1, 2, 0, 1, 2, 0, 1)


class Noise:
    height, width = 20, 24

    def read(self, video, indices):
        return np.random.default_rng(video).integers(0, 256, (30, 20, 24, 3), dtype=np.uint8)[indices]


def videos(count=8):
    entries = [Video(f"v{i}.mp4", f"v{i}", "a", "train", 30, 25.0, 24, 20) for i in range(count)]
    return Dataset(Catalog(Path("."), tuple(entries)), Noise())


def stage_of(folder, preset, network="r3d10", **changes):
    settings = resolve_finetune(preset=preset, flags={**QUICK, **changes}).settings
    torch.manual_seed(0)
    late = settings.optim.late_lr
    method = Classify(build_cnn3d(network, width=4), classes=3, labels=LABELS, frames=8, stride=1, late_lr=late)
    return finetune_stage(Part(folder, tuple(range(8)), LABELS, 0), method, videos(), SPEC, settings)


def late_by_hand(network):
    """Which parameters keep the small rate, spelt out from the authors' names."""
    if network == "c3d":
        convolutions = {f"network.conv{n}.{w}" for n in ("4a", "4b", "5a", "5b") for w in ("weight", "bias")}
        return convolutions | {"linear.weight", "linear.bias"}
    parts = ["conv1.temporal_spatial_conv.weight", "conv2.temporal_spatial_conv.weight",
             "downsampleconv.temporal_spatial_conv.weight", "bn1.weight", "bn1.bias", "bn2.weight", "bn2.bias",
             "downsamplebn.weight", "downsamplebn.bias"]  # fmt: skip
    return {f"network.conv{n}.block1.{part}" for n in (4, 5) for part in parts} | {"linear.weight", "linear.bias"}


@pytest.mark.parametrize("network", ["c3d", "r3d10"])
@pytest.mark.parametrize("preset", ["paper", "released"])
def test_every_step_is_the_one_worked_by_hand(preset, network, tmp_path):
    stage = stage_of(tmp_path, preset, network)
    late = late_by_hand(network) if preset == "released" else set()
    parameters = dict(stage.step.method.named_parameters())
    assert late <= set(parameters)
    speed = {name: torch.zeros_like(p) for name, p in parameters.items()}
    original, rates = stage.step.optimizer.step, []

    def step():
        epoch = len(rates) // 2  # 8 videos, 4 a batch
        rates.append(0.1 * (1 + math.cos(math.pi * epoch / 3)) / 2)
        expected = {}
        for name, p in parameters.items():
            speed[name] = 0.9 * speed[name] + p.grad + 5e-4 * p.detach()
            expected[name] = p.detach() - (1e-3 if name in late else rates[-1]) * speed[name]
        original()
        for name, p in parameters.items():
            assert torch.allclose(p.detach(), expected[name], rtol=1e-5, atol=1e-7), (len(rates), name)

    stage.step.optimizer.step = step
    train(stage, StopRequest())
    assert rates == pytest.approx([0.1, 0.1, 0.075, 0.075, 0.025, 0.025])
    found = rows(tmp_path)
    assert [row["lr"] for row in found] == pytest.approx(rates)
    assert {"loss", "accuracy", "kind"} <= set(found[0])


def test_the_groups_hold_every_parameter_once_and_survive_a_checkpoint():
    torch.manual_seed(0)
    method = Classify(build_cnn3d("r2plus1d10", width=4), classes=3, labels=LABELS, late_lr=1e-3)
    optimizer = build_optimizer(method, optimizer="adamw", lr=0.1, weight_decay=0.05)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in method.parameters())
    assert [group["constant"] for group in optimizer.param_groups] == [None, None, 1e-3, 1e-3]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.05, 0.0, 0.05, 0.0]
    again = build_optimizer(method, optimizer="adamw", lr=0.1, weight_decay=0.05)
    load_optimizer(again, optimizer.state_dict())
    assert [group["constant"] for group in again.param_groups] == [None, None, 1e-3, 1e-3]


def tuned(folder, preset, stop):
    torch.manual_seed(5)
    encoder = Encoder("r3d10", width=4, clip=SPEC)
    settings = resolve_finetune(preset=preset, flags=QUICK).settings
    part = Part(folder, tuple(range(8)), LABELS, 7)
    return train_classifier(part, encoder, ["a", "b", "c"], videos(), settings, stop)[0], encoder


@pytest.mark.parametrize("preset", ["small", "released"])
def test_stopped_in_the_middle_of_an_epoch_it_ends_as_if_it_had_not_been(preset, tmp_path):
    whole, encoder = tuned(tmp_path / "whole", preset, StopRequest())
    for steps in (3, 2):  # 3 of 6: the second epoch has begun
        with pytest.raises(Stopped):
            tuned(tmp_path / "torn", preset, StopAfter(steps))
    assert len(timeless(tmp_path / "torn")) == 5
    torn, _ = tuned(tmp_path / "torn", preset, StopRequest())
    for (name, a), (_, b) in zip(whole.state_dict().items(), torn.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert timeless(tmp_path / "torn") == timeless(tmp_path / "whole")
    assert [row["step"] for row in timeless(tmp_path / "whole")] == list(range(1, 7))
    weights = encoder.network.state_dict()
    assert not torch.equal(whole.encoder.network.state_dict()["conv5.block1.conv2.temporal_spatial_conv.weight"],
                           weights["conv5.block1.conv2.temporal_spatial_conv.weight"])  # fmt: skip
    assert whole.encoder.clip.layer == "mean"
    assert whole.encoder.clip.standardise == "motion"


def test_the_encoder_given_is_left_as_it_is(tmp_path):
    torch.manual_seed(5)
    before = Encoder("r3d10", width=4, clip=SPEC).network.state_dict()
    _, encoder = tuned(tmp_path, "small", StopRequest())
    assert all(torch.equal(value, encoder.network.state_dict()[name]) for name, value in before.items())


def test_the_presets_are_what_their_sources_say():
    paper, released, small = (resolve_finetune(preset=name).settings for name in ("paper", "released", "small"))
    for each in (paper, released):  # section 4.1, supervised fine-tuning
        optim = each.optim
        assert (optim.optimizer, optim.lr, optim.weight_decay) == ("sgd", 0.1, 5e-4)
        assert (optim.batch_size, optim.epochs, optim.schedule, optim.schedule_per) == (128, 150, "cosine", "epoch")
        assert (each.augment.crop, each.augment.jitter_p, each.augment.gray_p, each.augment.flip) == (
            "fixed", 0.5, 0.2, 0.5
        )  # fmt: skip
        assert (each.test.clips, each.test.average) == (10, "logits")
    assert (paper.optim.late_lr, released.optim.late_lr) == (None, 1e-3)
    assert (paper.data.hold_out, released.data.hold_out) == (0, "auto")
    assert small.optim.epochs == "auto"


@pytest.mark.parametrize(("found", "wanted"), [(9537, 800), (3570, 400), (28, 2)])
def test_hold_out_auto_is_that_of_the_released_code(found, wanted):
    settings = resolve_finetune(preset="released", flags=QUICK).settings
    values = finetune_auto_values(settings, Encoder("r3d10", width=4, clip=SPEC), videos=found)
    assert values["data.hold_out"][0] == wanted


def test_settings_come_back_with_their_origins(tmp_path):
    resolved = resolve_finetune(assignments=("optim.late_lr=1e-3",), flags={"optim.epochs": 4})
    (tmp_path / "config.yaml").write_text(resolved.to_yaml())
    again = load_resolved_as(FineTune, tmp_path / "config.yaml")
    assert again == resolved
    assert again.origins["optim.late_lr"] == "--set"
    assert again.origins["optim.lr"] == "preset small"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optim.latelr=1", r"optim\.latelr is not a setting\. Did you mean 'optim\.late_lr'"),
        ("model.dropout=1", r"model\.dropout must be"),
        ("test.average=clips", r"test\.average must be 'logits' or 'probabilities'"),
        ("augment.area=[0.5, 0.2]", r"augment\.area must be shares"),
        ("augment.blur_sigma=[2, 1]", r"augment\.blur_sigma must go from low to high"),
        ("data.hold_out=-1", r"data\.hold_out must be"),
    ],
)
def test_wrong_settings_are_named(assignment, message):
    with pytest.raises(UserError, match=message):
        resolve_finetune(assignments=(assignment,))


def test_unknown_presets_get_the_nearest_one():
    with pytest.raises(UserError, match="papers is not a preset; there are paper, released, small"):
        resolve_finetune(preset="papers")
    assert set(FINETUNE_PRESETS) == {"paper", "released", "small"}


def test_a_loss_that_is_not_finite_names_the_videos_and_the_setting(tmp_path):
    stage = stage_of(tmp_path, "paper", **{"optim.lr": 1e30})
    with pytest.raises(UserError, match=r"finetune.*Lower optim\.lr.*v\d\.mp4"):
        train(stage, StopRequest())
