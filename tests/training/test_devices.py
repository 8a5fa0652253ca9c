"""Everything on a GPU that is none (``pretend_gpu.py``): no tensor is left on the CPU, and none is fetched unawares."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from cacl import analyse, classify, evaluate, finetune, load, pretrain, resume
from cacl.data.clips.augment import AUGMENT_DRAWS, augment, draw_augmentation
from cacl.distributed import processes
from cacl.experiments.reproduce import step_time as measured_step
from cacl.finetune_settings import resolve_finetune
from cacl.machine.auto import set_deterministic
from cacl.models.export import export_encoder
from cacl.presets import ABLATIONS
from cacl.training.pretrain import resolve_settings

sys.path.insert(0, str(Path(__file__).parents[1]))
from pretend_gpu import PretendedGpu, pretended_gpu

OPTIONS: dict[str, dict[str, Any]] = {
    "one pass": {"method.one_pass": True, "model.standardise": "motion"},
    "two passes": {"method.one_pass": False, "model.standardise": "clip", "method.key_order": "swapped"},
    "negatives": {"method.mask_own_keys": True, "method.batch_negatives": True, "method.tq_negatives": True},
    "moments": {"method.loss": "outside", "data.moments": 2},
    "heads": {"model.projection": "mlp", "model.degree_input": "pair", "model.degree_dropout": 0.3},
    "colours": {"augment.hue": "yiq", "augment.jitter_p": 0.5, "augment.gray_p": 0.5},
    "exact colours": {"augment.hue": "hsv", "augment.jitter_p": 0.5, "augment.gray_p": 0.5, "augment.blur_p": 0.5},
    "normalised": {"augment.mean": [0.4, 0.4, 0.4], "augment.std": [0.2, 0.2, 0.2], "augment.crop": "area"},
    "adamw": {"optim.optimizer": "adamw", "method.momentum_schedule": "cosine"},
    "c3d": {"model.network": "c3d", "run.channels_last": False},
    "r2plus1d": {"model.network": "r2plus1d10"},
    "bfloat16": {"run.precision": "bfloat16"},
}


@pytest.fixture
def gpu() -> Iterator[PretendedGpu]:
    with pretended_gpu() as found:
        yield found


@pytest.fixture
def one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured_step, "_WARM_UP", 1)
    monkeypatch.setattr(measured_step, "_STEPS", 1)


def step(settings: Mapping[str, Any], method: str = "cacl") -> None:
    """Two steps of a training, as they are measured: augmentation, loss, gradients, optimiser, copies and queue."""
    measured_step.pretrain_step(resolve_settings(method=method, flags=settings).settings, "cuda")


# The GPU that is none -------------------------------------------------------------------------------------------------


def test_the_pretended_gpu_refuses_what_a_gpu_refuses(gpu: PretendedGpu) -> None:
    here, there = torch.ones(3, 2, device="cuda"), torch.ones(3, 2)
    assert (here.device, (here * 2).T.device, there.device) == (
        torch.device("cuda:0"),
        here.device,
        torch.device("cpu"),
    )
    for mixed in (
        lambda: here + there,
        lambda: torch.cat([here, there]),
        lambda: torch.stack([here.sum(), there.sum()]),
        lambda: there[here[:, 0].long()],
        lambda: here.__setitem__(torch.tensor([1]), there[:1]),
        lambda: torch.nn.functional.cross_entropy(here, torch.zeros(3, dtype=torch.int64)),
    ):
        with pytest.raises(RuntimeError, match="same device"):
            mixed()
    for fetched in (lambda: here.numpy(), lambda: np.asarray(here)):
        with pytest.raises(TypeError, match="can't convert cuda:0"):
            fetched()


def test_the_pretended_gpu_allows_what_a_gpu_allows(gpu: PretendedGpu) -> None:
    here, there = torch.ones(3, 2, device="cuda"), torch.full((3, 2), 2.0)
    assert (here + torch.tensor(1.0)).sum().item() == 12
    assert here[torch.tensor([0, 2])].device.type == "cuda"
    here[1:] = there[1:]
    assert here.cpu().numpy().sum() == 10
    layer = torch.nn.Linear(2, 1).to("cuda")
    layer(here).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.device.type == "cuda"


@pytest.mark.usefixtures("gpu", "one_step")
@pytest.mark.parametrize(
    "place", ["cacl.data.clips.augment", "cacl.data.clips.colour", "cacl.data.clips.batch", "cacl.training.views"]
)
def test_one_tensor_left_on_the_cpu_is_found(place: str, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {**tiny, "augment.blur_p": 1.0, "model.degree_dropout": 0.5}
    step(settings)
    monkeypatch.setattr(f"{place}.sent", lambda values, device: values)
    with pytest.raises(RuntimeError, match="same device"):
        step(settings)


# Trainings ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("gpu", "one_step")
@pytest.mark.parametrize("method", list(ABLATIONS))
def test_a_step_of_every_method(method: str, tiny: dict[str, Any]) -> None:
    step(tiny, method)


@pytest.mark.usefixtures("gpu", "one_step")
@pytest.mark.parametrize("options", list(OPTIONS))
def test_a_step_with_every_option(options: str, tiny: dict[str, Any]) -> None:
    step({**tiny, **OPTIONS[options]})


@pytest.mark.usefixtures("gpu", "one_step")
def test_a_step_of_the_frame_encoder_and_of_fine_tuning(tiny: dict[str, Any]) -> None:
    settings = resolve_settings(flags=tiny).settings
    measured_step.frames_step(settings, "cuda")
    for preset in ("small", "paper", "released"):
        finetuning = resolve_finetune(preset=preset, flags={"optim.batch_size": 4}).settings
        measured_step.finetune_step(settings, finetuning, "cuda", classes=3)
    measured_step.embedding_time(settings, "cuda")


@pytest.fixture
def quick(tiny: dict[str, Any], finished: Path) -> dict[str, Any]:
    """One epoch of two steps on the GPU, with the frame encoder of another run."""
    weights = str(finished / "frame_encoder")
    return {**tiny, "optim.epochs": 1, "model.frame_weights": weights, "run.device": "cuda"}


@pytest.mark.usefixtures("gpu", "quick_end")
def test_a_run_of_both_stages_goes_on_and_is_evaluated(tiny: dict[str, Any], squares: Path, tmp_path: Path) -> None:
    run = pretrain(squares, out=tmp_path / "run", settings={**tiny, "run.device": "auto"})
    assert run.settings.run.device == "cuda"
    steps = len(run.metrics)
    assert len(resume(run.path, epochs=3).metrics) == steps + 2
    assert set(evaluate(run.path)) == {"retrieval", "degree"}


@pytest.mark.usefixtures("quick_end")
def test_the_numbers_are_those_of_the_cpu(quick: dict[str, Any], squares: Path, tmp_path: Path) -> None:
    fixed = {**quick, "augment.crop": "fixed"}  # area crops are resized by other kernels
    with pretended_gpu():
        here = pretrain(squares, out=tmp_path / "gpu", settings=fixed)
    there = pretrain(squares, out=tmp_path / "cpu", settings={**fixed, "run.device": "cpu"})
    for on_gpu, on_cpu in zip(here.metrics, there.metrics, strict=True):
        timed = {"kind", "clips_per_second"}
        assert {k: v for k, v in on_gpu.items() if k not in timed} == pytest.approx(
            {k: v for k, v in on_cpu.items() if k not in timed}, rel=1e-3, abs=1e-5
        )


def test_an_encoder_that_a_user_moves(finished: Path, squares: Path, tmp_path: Path) -> None:
    encoder, video = load(finished), squares / "train" / "a" / "v00.mp4"
    clips = np.random.default_rng(0).integers(0, 256, (2, 16, 48, 64, 3), dtype=np.uint8)
    with torch.no_grad():
        features, segments = encoder(clips), encoder.embed_video(video)
    with pretended_gpu(), torch.no_grad():
        encoder.to("cuda")
        moved = encoder(clips)
        assert moved.device.type == "cuda"
        np.testing.assert_allclose(moved.cpu().numpy(), features.numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(encoder.embed_video(video).vector, segments.vector, rtol=1e-4, atol=1e-5)
        assert export_encoder(encoder, tmp_path / "encoder.safetensors", to="safetensors").difference < 1e-5


def test_area_crops_differ_by_less_than_a_level() -> None:
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 2, 40, 56, 3), dtype=np.uint8))
    uniforms = np.random.default_rng(1).random((3, AUGMENT_DRAWS))
    draw = draw_augmentation(uniforms, height=40, width=56, size=32, crop="area", jitter_p=0.0, blur_p=0.0)
    on_cpu = augment(frames, draw)
    with pretended_gpu():
        on_gpu = augment(frames.to("cuda"), draw).cpu()
    assert (on_cpu - on_gpu).abs().max() < 1.01 / 255


@pytest.mark.slow
def test_what_a_run_learned_and_what_it_can_be_taught(
    gpu: PretendedGpu, tiny: dict[str, Any], squares: Path, finished: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("device: cpu", "device: cuda"))
    assert set(analyse(tmp_path / "run")) >= {"similarity", "attention", "degree", "features", "probes"}
    quick = {"optim.batch_size": 4, "optim.epochs": 1, "data.workers": 0, "run.precision": "float32", "run.threads": 1}
    for name, more in {"tuned": {}, "probed": {"linear": True}}.items():
        settings = {**quick, "run.device": "cuda"}
        finetune(squares, model=tmp_path / "run", out=tmp_path / name, settings=settings, **more)
        assert len(classify(tmp_path / name, squares).predicted) == 12


@pytest.mark.usefixtures("gpu", "quick_end")
@pytest.mark.parametrize(
    "saving",
    [{"run.precision": "float16"}, {"run.checkpoint_activations": True, "run.deterministic": True}],
    ids=["float16", "checkpointed"],
)
def test_a_run_with_what_saves_memory(
    saving: dict[str, Any], quick: dict[str, Any], squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**quick, **saving, "optim.accumulate": 2, "optim.clip_gradient": 1.0, "optim.epochs": 2}
    try:
        run = pretrain(squares, out=tmp_path / "run", settings=settings, profile=True)
        assert len(run.metrics) == 4
        assert len(resume(run.path, epochs=3).metrics) == 6  # optimiser and scaler go back to their device
    finally:
        set_deterministic(False)
    assert "train: where the time of a step goes" in capsys.readouterr().err
    (last,) = (run.path / "checkpoints" / "train").iterdir()
    scaler = torch.load(last / "state.pt", weights_only=True)["scaler"]
    assert (scaler.get("scale", 0.0) > 0) == ("run.precision" in saving)


@pytest.mark.usefixtures("gpu", "quick_end")
@pytest.mark.parametrize("batchnorm", ["global", "process"])
def test_one_of_two_processes(
    batchnorm: str, quick: dict[str, Any], squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one has the same clips, so that nothing need be sent; what would be must lie on one device."""

    def all_gather(parts: list[torch.Tensor], rows: torch.Tensor) -> None:
        assert {part.device for part in parts} == {rows.device}
        for part in parts:
            part.copy_(rows)

    def all_gather_object(found: list[Any], value: Any, group: Any = None) -> None:
        found[:] = [value] * len(found)

    answers = {"is_initialized": True, "get_world_size": 2, "get_rank": 0, "is_nccl_available": True, "barrier": None}
    for name, answer in answers.items():
        monkeypatch.setattr(dist, name, lambda *args, answer=answer, **kwargs: answer)
    monkeypatch.setattr(processes, "_patient", object())  # joined already
    monkeypatch.setattr(dist, "all_gather", all_gather)
    monkeypatch.setattr(dist, "all_gather_object", all_gather_object)
    monkeypatch.setattr(dist, "all_reduce", lambda values: values.mul_(2))
    run = pretrain(squares, out=tmp_path / "run", settings={**quick, "method.batchnorm": batchnorm})
    assert len(run.metrics) == 2
