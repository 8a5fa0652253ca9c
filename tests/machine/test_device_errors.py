"""What a GPU says when it cannot go on reaches the user as one sentence that names what to change."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cacl.distributed import processes
from cacl.distributed.agree import check_processes
from cacl.distributed.processes import LostProcess, summed
from cacl.errors import UserError
from cacl.experiments.retrieval import device_of
from cacl.machine import auto, doctor
from cacl.machine.auto import check_device, set_deterministic, usable_device
from cacl.machine.device_errors import device_errors, explained, out_of_memory
from cacl.training import loop, pretrain
from cacl.training.pretrain import resolve_settings
from cacl.training.wiring import checked_networks

FULL = (
    "CUDA out of memory. Tried to allocate 2.25 GiB. GPU 0 has a total capacity of 7.60 GiB of which 1.2 GiB is free."
)
OLD = "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might be asynchronous"
NO_POOL = "max_pool3d_with_indices_backward_cuda does not have a deterministic implementation, but you set …"


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """A machine with GPUs of some compute capability; which of them were made the current one."""

    def there(count: int = 1, capability: tuple[int, int] = (9, 0)) -> list[int]:
        taken: list[int] = []
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *which: "Some GPU")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *which: capability)
        monkeypatch.setattr(torch.cuda, "set_device", taken.append)
        return taken

    return there


@pytest.fixture
def computes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception | None], None]:
    """Whether the first thing that is computed on the GPU succeeds."""

    def ends(error: Exception | None) -> None:
        def ones(*shape: int, device: str) -> torch.Tensor:
            if error is not None:
                raise error
            return torch.zeros(shape)

        monkeypatch.setattr(auto.torch, "ones", ones)

    return ends


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError(FULL), "memory is full (CUDA out of memory). End what else"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel"), "memory is full (CUDA error: out of memory)."),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "memory is full (cuDNN error: CUDNN_STATUS_ALLOC"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), "memory is full"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), "memory is full"),
        (RuntimeError("GET was unable to find an engine to execute this computation"), "set run.channels_last=false"),
        (RuntimeError(OLD), "is not built for this GPU: install a build that is"),
        (RuntimeError(NO_POOL), "but max_pool3d_with_indices_backward_cuda of PyTorch"),
        (RuntimeError("Deterministic behavior … you must set CUBLAS_WORKSPACE_CONFIG=:4096:8"), "start Python anew"),
    ],
)
def test_what_a_user_can_mend_is_explained(error: RuntimeError, said: str) -> None:
    sentence = explained(error)
    assert sentence is not None
    assert said in sentence
    assert "\n" not in sentence
    with pytest.raises(UserError) as caught, device_errors():
        raise error
    assert caught.value.__cause__ is error


def test_what_nobody_can_mend_stays_as_it_is() -> None:
    bug = RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x3 and 4x3)")
    assert explained(bug) is None
    assert explained(MemoryError("out of memory")) is None
    assert not out_of_memory(bug)
    with pytest.raises(RuntimeError, match="mat1"), device_errors():
        raise bug


def test_full_memory_in_a_training_says_what_to_lower(
    tiny: dict[str, Any], finished: Path, squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*parts: object) -> None:
        raise torch.OutOfMemoryError(FULL)

    monkeypatch.setattr(loop, "_step", full)
    with pytest.raises(UserError) as caught:
        pretrain.pretrain(squares, out=tmp_path / "frames", settings={**tiny, "frames.optim.accumulate": 2})
    assert "frames sends 4 clips of a batch through the networks at once" in str(caught.value)
    assert "with frames.optim.accumulate=4 or a smaller frames.optim.batch_size" in str(caught.value)
    quick = {**tiny, "model.frame_weights": str(finished / "frame_encoder")}
    with pytest.raises(UserError) as caught:
        pretrain.pretrain(squares, out=tmp_path / "train", settings=quick)
    assert "with run.checkpoint_activations=true, optim.accumulate=2 or a smaller optim.b" in str(caught.value)


def test_the_command_line_explains_too(
    cacl: Callable[..., Any], squares: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*parts: object, **keywords: object) -> None:
        raise torch.OutOfMemoryError(FULL)

    monkeypatch.setattr(pretrain, "pretrain", full)
    ended = cacl("pretrain", squares)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("The device's memory is full (CUDA out of memory). End what else uses it")


def test_full_memory_is_not_taken_for_a_lost_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(error: RuntimeError) -> None:
        def reduce(values: torch.Tensor) -> None:
            raise error

        monkeypatch.setattr(processes.dist, "all_reduce", reduce)

    monkeypatch.setattr(processes, "world", lambda: 2)
    monkeypatch.setattr(processes, "_lost", False)
    fails(torch.OutOfMemoryError(FULL))
    with pytest.raises(torch.OutOfMemoryError):
        summed(torch.ones(2))
    fails(RuntimeError("Connection closed by peer"))
    with pytest.raises(LostProcess):
        summed(torch.ones(2))


# Taking a GPU ---------------------------------------------------------------------------------------------------------


def test_a_named_gpu_becomes_the_current_one(gpus: Any, computes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = gpus(4)
    computes(None)
    check_device("cuda")  # the first, or the one that CUDA_VISIBLE_DEVICES or the user's own code chose
    check_device("auto")
    check_device("cuda:2")
    assert taken == [2]
    monkeypatch.setattr(auto, "world", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    check_device("cuda")
    check_device("cpu")
    assert taken == [2, 3]


def test_a_gpu_that_cannot_be_used_is_refused(gpus: Any, computes: Any, tiny: dict[str, Any]) -> None:
    gpus(1, (5, 2))
    computes(RuntimeError(OLD))
    for device in ("cuda", "auto"):
        with pytest.raises(UserError) as caught:
            check_device(device)
        assert str(caught.value).startswith(
            "run.device is cuda, but Some GPU, compute capability 5.2, cannot be used. PyTorch "
        )
    computes(RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable\nCUDA kernel errors"))
    with pytest.raises(UserError, match=r"all CUDA-capable devices are busy or unavailable$"):
        check_device("cuda")
    assert usable_device()[0] == "cpu"
    computes(None)
    assert usable_device() == ("cuda", "Some GPU found")
    computes(RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable"))
    settings = resolve_settings(flags={**tiny, "run.device": "cuda"}).settings
    found = list(doctor.check_precisions(settings, checked_networks))
    assert [(check.name, check.status) for check in found] == [("computing on cuda", "wrong")]
    assert found[0].advice == "Until then: --set run.device=cpu."


def test_more_processes_than_gpus_are_refused_by_all_of_them(gpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(2)
    monkeypatch.setattr("cacl.distributed.agree.world", lambda: 4)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    for rank in range(4):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        with pytest.raises(UserError, match="this machine has 2 for 4 processes: start 2 or fewer"):
            check_processes(device="cuda", batch_sizes={}, compiled=False)
        check_processes(device="cpu", batch_sizes={}, compiled=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # two machines of two
    check_processes(device="cuda", batch_sizes={}, compiled=False)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: False)
    with pytest.raises(UserError, match="need NCCL, which this PyTorch lacks"):
        check_processes(device="cuda", batch_sizes={}, compiled=False)


# The same bits again --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [(None, ":4096:8"), (":16:8", ":16:8"), (":0:0", ":4096:8")])
def test_cublas_is_told_before_it_is_asked(before: str | None, after: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", before or "")
    if before is None:
        monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    set_deterministic(False)
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == before
    try:
        set_deterministic(True)
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == after
    finally:
        set_deterministic(False)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_network_that_cannot_give_the_same_bits_is_refused_before_anything_is_made(
    gpus: Any, computes: Any, tiny: dict[str, Any], squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_pool(settings: object) -> None:
        raise RuntimeError(NO_POOL)

    gpus()
    computes(None)
    monkeypatch.setattr(pretrain, "initial_network", no_pool)
    settings = {**tiny, "model.network": "c3d", "run.device": "cuda", "run.deterministic": True}
    try:
        with pytest.raises(UserError, match=r"max_pool3d_with_indices_backward_cuda of PyTorch .* set it to false"):
            pretrain.pretrain(squares, out=tmp_path / "run", settings=settings)
    finally:
        set_deterministic(False)
    assert not (tmp_path / "run").exists()


def test_bfloat16_of_another_machine_is_left_alone_on_an_older_gpu(
    gpus: Any, computes: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = SimpleNamespace(run=SimpleNamespace(device="cuda", precision="bfloat16"))
    run: Any = SimpleNamespace(path="run", settings=settings)
    computes(None)
    gpus(1, (8, 0))
    assert device_of(run) == ("cuda", torch.bfloat16)
    gpus(1, (7, 5))
    assert device_of(run) == ("cuda", None)
    assert "was trained in bfloat16, which this GPU has not" in capsys.readouterr().err
