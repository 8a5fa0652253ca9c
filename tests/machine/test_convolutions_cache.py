"""What was found is found again without being computed, and never for anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cacl.machine import convolutions_cache as cache
from cacl.machine.cache import cache_folder
from cacl.machine.convolutions import Finding
from cacl.machine.convolutions_cache import checked_convolutions
from cacl.models.cnn3d import build_cnn3d


class Doubled(nn.Conv2d):
    """A convolution with a wrong output."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The checks that were really made, with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found: list[tuple[Any, ...]] = []
    inner = cache.check_convolutions

    def count(*arguments: Any, **keywords: Any) -> list[Finding]:
        found.append(arguments)
        return inner(*arguments, **keywords)

    monkeypatch.setattr(cache, "check_convolutions", count)
    return found


def small(channels: int = 4, kind: type[nn.Conv2d] = nn.Conv2d) -> nn.Module:
    return nn.Sequential(kind(3, channels, 3), nn.ReLU())


def test_a_check_is_made_once(made: list[Any]) -> None:
    for _ in range(2):
        assert checked_convolutions(small(), (64, 3, 8, 8), torch.bfloat16) == []
    assert len(made) == 1
    checked_convolutions(small(), (16, 3, 8, 8), torch.bfloat16)  # of two samples, too
    assert len(made) == 1
    checked_convolutions(small(), (64, 3, 8, 8), torch.bfloat16, again=True)
    assert len(made) == 2


def test_findings_come_back_as_they_were(made: list[Any]) -> None:
    first = checked_convolutions(small(kind=Doubled), (2, 3, 8, 8), torch.bfloat16)
    assert [finding.quantity for finding in first] == ["output", "input gradient", "weight gradient"]
    assert checked_convolutions(small(kind=Doubled), (2, 3, 8, 8), torch.bfloat16) == first
    assert len(made) == 1


def test_whatever_may_change_the_result_makes_it_anew(made: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (2, 3, 8, 8)
    checked_convolutions(small(), shape, torch.bfloat16)
    checked_convolutions(small(), shape, torch.float32)
    checked_convolutions(small(), (2, 3, 9, 8), torch.bfloat16)
    checked_convolutions(small(5), shape, torch.bfloat16)
    checked_convolutions(small(kind=Doubled), shape, torch.bfloat16)
    checked_convolutions(small().to(memory_format=torch.channels_last), shape, torch.bfloat16)
    for name, value in (("__version__", "9.9"), ("get_num_threads", lambda: 77)):
        with monkeypatch.context() as patch:
            patch.setattr(torch, name, value)
            checked_convolutions(small(), shape, torch.bfloat16)
    with monkeypatch.context() as patch:
        patch.setattr("cacl.machine.cache._processor", lambda: "another")
        checked_convolutions(small(), shape, torch.bfloat16)
    assert len(made) == 9
    checked_convolutions(small(), shape, torch.bfloat16)
    assert len(made) == 9


def test_the_source_of_our_own_layers_counts(monkeypatch: pytest.MonkeyPatch, made: list[Any]) -> None:
    network, shape = build_cnn3d("r3d10", width=4), (2, 3, 4, 16, 16)
    checked_convolutions(network, shape, torch.bfloat16)
    source = cache.inspect.getsource
    monkeypatch.setattr(cache.inspect, "getsource", lambda kind: source(kind) + "# changed")
    checked_convolutions(network, shape, torch.bfloat16)
    assert len(made) == 2


@pytest.mark.parametrize("content", [b"", b"[", b'{"a": 1}', b'[{"layer": 1}]', b"[1]", b"\xff"])
def test_a_damaged_file_is_no_knowledge(made: list[Any], content: bytes) -> None:
    checked_convolutions(small(), (2, 3, 8, 8), torch.bfloat16)
    folder = cache_folder("precision")
    assert folder is not None
    (file,) = folder.iterdir()
    file.write_bytes(content)
    assert checked_convolutions(small(), (2, 3, 8, 8), torch.bfloat16) == []
    assert len(made) == 2
    assert file.read_bytes() == b"[]"


def test_without_a_place_to_keep_it_the_check_is_made(made: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    for _ in range(2):
        assert checked_convolutions(small(), (2, 3, 8, 8), torch.bfloat16) == []
    assert len(made) == 2
