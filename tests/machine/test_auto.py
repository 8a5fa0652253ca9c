"""Each auto is worked out once, from numbers that a user can check."""

from __future__ import annotations

import pytest

from cacl.config import resolve
from cacl.machine import auto
from cacl.machine.auto import auto_values, frame_auto_values, samples_per_video
from cacl.presets import PAPER, RELEASED, SMALL, ablation


def small(*assignments, method=None):
    return resolve(SMALL, assignments=assignments, ablation=ablation(method, SMALL) if method else None)


@pytest.mark.parametrize("videos", [1, 5, 31, 32, 33, 300, 843, 9537, 100_000])
def test_epochs_make_about_the_steps_that_are_worth_it(videos):
    settings = small().settings
    epochs, reason = auto_values(settings, videos=videos)["optim.epochs"]
    batch = settings.optim.batch_size
    steps = videos * samples_per_video(videos, batch) // batch
    assert steps >= 1
    assert auto.STEPS <= epochs * steps < auto.STEPS + steps
    assert str(auto.STEPS) in reason


@pytest.mark.parametrize(
    ("videos", "method", "size"),
    [
        (843, "cacl", 843),  # 2 keys a clip, half an epoch
        (843, "v-moco", 421),
        (843, "pairs2", 421),  # Tk is not queued
        (843, "pairs3", 843),
        (20, "cacl", 64),
        (100_000, "cacl", 6400),
    ],
)
def test_the_queue_spans_at_most_half_an_epoch(videos, method, size):
    found, reason = auto_values(small(method=method).settings, videos=videos)["method.queue_size"]
    assert found == size
    assert str(videos) in reason


@pytest.mark.parametrize(
    ("keys", "size", "words"),
    [(843, 843, "half an epoch"), (20, 64, "the smallest queue, more than"), (99_999, 6400, "the largest queue, less")],
)
def test_what_decided_the_queue_is_said(keys, size, words):
    found, reason = auto_values(small().settings, videos=keys)["method.queue_size"]
    assert found == size
    assert reason.startswith(words)
    frames = frame_auto_values(small().settings, frames=2 * min(keys, 60_000))["frames.queue_size"]
    assert frames[1].startswith({843: "half of", 20: "the smallest queue", 99_999: "the largest queue"}[keys])


def test_nothing_auto_is_left_but_what_the_frames_and_the_device_decide():
    resolved = small()
    resolved = resolved.with_auto(auto_values(resolved.settings, videos=100))
    resolved = resolved.with_auto(frame_auto_values(resolved.settings, frames=2000))
    left = [line.strip() for line in resolved.to_yaml().splitlines() if ": auto " in line]
    assert [line.split(":")[0] for line in left] == ["store", "levels", "precision"]
    assert all("auto: " in resolved.origins[key] for key in ("run.threads", "run.device", "frames.optim.epochs"))
    assert resolved.settings.data.workers in range(1, 5)
    assert auto_values(resolved.settings, videos=7) == {}
    assert frame_auto_values(resolved.settings, frames=7) == {}


def test_what_is_given_is_not_replaced():
    resolved = small(
        "optim.epochs=7",
        "method.queue_size=99",
        "run.device=cpu",
        "run.tf32=false",
        "data.workers=0",
        "run.threads=1",
        "run.channels_last=false",
    )
    assert auto_values(resolved.settings, videos=100) == {}


@pytest.mark.parametrize("preset", [PAPER, RELEASED])
def test_paper_and_released_leave_nothing_that_matters_to_auto(preset):
    settings = resolve(preset).settings
    values = auto_values(settings, videos=8737, held_out=800)
    assert values.pop("data.hold_out", (800,))[0] == 800  # of UCF101's 9537, as the released code's
    assert set(values) <= {"run.device", "run.threads", "run.tf32"}
    assert frame_auto_values(settings, frames=180_000) == {}


@pytest.mark.parametrize(("device", "chosen"), [("cpu", True), ("cuda:1", True), ("mps", False)])
def test_the_layout_follows_the_device_unless_it_is_set(device: str, chosen: bool):
    run = small(f"run.device={device}").settings.run
    assert auto.channels_last(run, device) is chosen
    assert auto.channels_last(run.model_copy(update={"channels_last": not chosen}), device) is not chosen


def test_a_run_says_how_it_uses_the_machine():
    resolved = small("run.device=cpu", "run.threads=1", "data.workers=2", "run.precision=bfloat16")
    run = resolved.with_auto(auto_values(resolved.settings, videos=100)).settings.run
    said = "On cpu in bfloat16, channels last, 1 thread, 2 workers; why: config.yaml."
    assert auto.machine_choices(run, workers=2, why_threads="auto: PyTorch's choice for this machine") == said
    shared = "auto: other programs use 1.0 of 2 processors"
    assert "1 thread (other programs use 1.0 of 2 processors), 2 w" in auto.machine_choices(
        run, workers=2, why_threads=shared
    )


def test_the_chosen_layout_is_written_down():
    assert auto_values(small("run.device=cpu").settings, videos=100)["run.channels_last"][0] is True


def test_frames():
    settings = small().settings
    values = frame_auto_values(settings, frames=2000)
    assert values["frames.queue_size"][0] == 1000
    steps = 2000 // settings.frames.optim.batch_size
    assert auto.FRAME_STEPS <= values["frames.optim.epochs"][0] * steps < auto.FRAME_STEPS + steps
    assert frame_auto_values(settings, frames=10)["frames.queue_size"][0] == 64


@pytest.mark.parametrize(("videos", "passes"), [(1, 32), (5, 7), (31, 2), (32, 1), (33, 1), (1000, 1)])
def test_few_videos_are_passed_often_enough_to_fill_a_batch(videos, passes):
    assert samples_per_video(videos, 32) == passes
    assert videos * passes >= 32


def test_device(monkeypatch):
    monkeypatch.setattr(auto.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(auto.torch.backends.mps, "is_available", lambda: False)
    assert auto.device_auto() == ("cpu", "no GPU found")
    monkeypatch.setattr(auto.torch.backends.mps, "is_available", lambda: True)
    assert auto.device_auto()[0] == "mps"
    monkeypatch.setattr(auto.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(auto.torch.cuda, "get_device_name", lambda: "Some GPU")
    assert auto.device_auto() == ("cuda", "Some GPU found")
