"""Each finding of the doctor, made to happen."""

from __future__ import annotations

import json
import os
import resource
from collections import namedtuple
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch

from cacl.config import Settings, resolve
from cacl.extras import install_extra
from cacl.machine import doctor
from cacl.machine import hardware as machine
from cacl.machine.convolutions import Finding
from cacl.machine.doctor import check_codecs, check_decoding, check_known_defects, check_precisions, check_versions
from cacl.machine.hardware import check_devices, check_disk, check_limits, check_memory, check_shared_memory
from cacl.presets import PRESETS
from cacl.training.wiring import checked_networks

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def settings(tiny: dict[str, Any]) -> Settings:
    return resolve(PRESETS["small"], flags=tiny).settings


@pytest.mark.parametrize(
    ("torch_version", "cudnn", "status", "words"),
    [
        ("2.13.0+cpu", None, "ok", "without CUDA"),
        ("2.9.0+cu128", 91002, "wrong", "cuDNN 9.10.2: 3D convolutions"),
        ("2.9.1+cu128", 91400, "wrong", "cuDNN 9.14.0"),
        ("2.9.0+cu128", 91600, "wrong", "PyTorch 2.9.0"),  # does not use what it has
        ("2.9.1+cu130", 91501, "ok", "none known"),
        ("2.8.0+cu126", 90501, "ok", "none known"),
        ("2.8.0+cu128", 91002, "note", "9.8 to 9.12"),
        ("2.10.0", 91501, "ok", "none known"),
    ],
)
def test_bad_versions_are_known_with_their_cure(torch_version: str, cudnn: int | None, status: str, words: str) -> None:
    check = check_known_defects(torch_version, cudnn)
    assert check.status == status
    assert words in check.found
    assert ("nvidia-cudnn-cu12>=9.15" in check.advice) == (status != "ok")


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_versions().status == "ok"
    monkeypatch.setattr(doctor, "_PACKAGES", ("torch", "no-such-package"))
    check = check_versions()
    assert check.status == "wrong"
    assert "pip install no-such-package" in check.advice


def test_a_codec_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_codecs().status == "ok"
    monkeypatch.setattr(doctor, "_USUAL", ("h264", "no_such_codec"))
    check = check_codecs()
    assert (check.status, "not no_such_codec" in check.found) == ("note", True)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    assert check_codecs().status == "wrong"


def test_decoding_is_tried_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_decoding().status == "ok"
    inner = doctor.DecodedVideos.read
    with monkeypatch.context() as patch:  # a decoder that is one frame late
        patch.setattr(doctor.DecodedVideos, "read", lambda self, video, frames: inner(self, video, frames - 1))
        check = check_decoding()
        assert check.status == "wrong"
        assert "frames differ from what was written" in check.found
    monkeypatch.setattr("cacl.data.media.stream.MAX_PIXELS", 5)  # this process's: the decode processes have their own
    assert check_decoding().status == "ok"


@pytest.mark.parametrize(
    ("files", "size", "status"),
    [
        (1024, resource.RLIM_INFINITY, "ok"),
        (resource.RLIM_INFINITY, 2**40, "ok"),
        (256, resource.RLIM_INFINITY, "note"),
        (64, resource.RLIM_INFINITY, "wrong"),
        (4096, 2**20, "wrong"),
    ],
)
def test_limits(files: int, size: int, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {resource.RLIMIT_NOFILE: files, resource.RLIMIT_FSIZE: size}
    monkeypatch.setattr(machine.resource, "getrlimit", lambda kind: (limits[kind], limits[kind]))
    check = check_limits()
    assert check.status == status
    assert ("ulimit" in check.advice) == (status != "ok")


def test_memory_and_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_memory().status in ("ok", "note")
    assert check_shared_memory("/no/such/folder").status == "ok"
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: Usage(2**26, 0, 2**26))
    assert check_shared_memory().status == "note"
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (2**32, 2**32))
    assert check_memory().status == "wrong"


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 10_000)
    check = check_devices()
    assert check.status == "note"
    assert "run.threads=" in check.advice


def test_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_TEST_BYTES", 2**20)
    check = check_disk(tmp_path)
    assert check.status in ("ok", "note")
    assert "MB/s" in check.found
    assert list(tmp_path.iterdir()) == []
    assert check_disk(tmp_path / "absent").status == "wrong"

    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr(machine, "try_lock", refuse)
        assert "no locks available" in check_disk(tmp_path).found
    with monkeypatch.context() as patch:
        patch.setattr(machine.shutil, "disk_usage", lambda _: Usage(2**40, 0, 1000))
        assert "Make room" in check_disk(tmp_path).advice


def test_networks_are_checked_in_each_precision(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = {check.name: check for check in check_precisions(settings, checked_networks)}
    assert checks["float32 on cpu"].status == "ok"
    assert checks["precision auto"].status == "ok"
    wrong = Finding("conv5", "weight gradient", 1e30, (2, 8, 2, 4, 4))
    seen: list[Any] = []

    def check(model: torch.nn.Module, shape: tuple[int, ...], dtype: torch.dtype, **_: Any) -> list[Finding]:
        seen.append((type(model).__name__, tuple(shape)))
        return [wrong]

    monkeypatch.setattr(doctor, "checked_convolutions", check)
    monkeypatch.setattr(doctor, "choose_precision", lambda *_, **__: __import__("types").SimpleNamespace(why="x."))
    checks = {check.name: check for check in check_precisions(settings, checked_networks)}
    assert checks["float32 on cpu"].status == "wrong"
    assert checks["bfloat16 on cpu"].status == "note"
    assert "weight gradient of conv5 at 2x8x2x4x4" in checks["bfloat16 on cpu"].found
    assert seen[:2] == [("ResNet3D", (4, 3, 16, 32, 32)), ("ResNet", (8, 3, 32, 32))]


def test_the_command_ends_with_0_or_1(
    cacl: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(machine, "_TEST_BYTES", 2**20)
    monkeypatch.setattr(
        "cacl.training.resolve.resolve_settings", lambda **_: __import__("types").SimpleNamespace(settings=settings)
    )
    ended = cacl("doctor", "--json")
    content = json.loads(ended.out)
    assert content["trains"] is (ended.status == 0)
    assert {"versions", "known defects", "codecs", "decoding", "precision auto"} <= {
        c["name"] for c in content["checks"]
    }
    assert all(set(c) == {"name", "status", "found", "advice"} for c in content["checks"])
    assert os.listdir() == []
    ended = cacl("doctor", "absent")
    assert ended.status == 1
    lines = ended.out.splitlines()
    assert lines[-1] == "1 of 13 would break a training."
    assert next(line for line in lines if line.startswith("wrong")).startswith(
        "wrong  disk of absent: cannot be written"
    )
    assert ended.err == ""


def test_an_unknown_preset_is_refused(cacl: Callable[..., Any]) -> None:
    cacl("doctor", "--preset", "smal").refused("Did you mean 'small'?")


def test_the_line_that_gets_a_frozen_image_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "cacl import --image-encoder efficientnet-lite0 --out encoders/efficientnet-lite0"
    assert line in doctor.check_image_encoders().found or "mobilenet-v2" in doctor.check_image_encoders().found

    def missing(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(doctor, "version", missing)
    assert f"{install_extra('image')} && {line}" in doctor.check_image_encoders().found
