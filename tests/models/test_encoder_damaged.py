"""Encoder folders that came to harm: one sentence each, at once, whatever number stands in them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from cacl.errors import UserError
from cacl.models.encoder import ClipSpec, Encoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    Encoder("r3d10", width=2, clip=ClipSpec(resize=(40, 52), size=32)).save(tmp_path / "e")
    return tmp_path / "e"


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        Encoder.load(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    assert len(message) < 600
    return message


@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.99])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_cut_short(folder: Path, name: str, share: float):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(share * len(content))])
    assert f"{folder / name} is damaged" in refusal(folder)


@pytest.mark.parametrize("header", [0, 7, 2**20, 2**40, 2**63, 2**64 - 1])
def test_a_header_of_absurd_size(folder: Path, header: int):
    file = folder / "model.safetensors"
    file.write_bytes(struct.pack("<Q", header) + file.read_bytes()[8:])
    assert "is damaged" in refusal(folder)


def test_tensors_that_claim_more_than_the_file_has(folder: Path):
    file = folder / "model.safetensors"
    content = file.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    header["bn1.bias"] |= {"shape": [2**40], "data_offsets": [0, 2**42]}
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])
    assert "is damaged" in refusal(folder)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("width", [1, 3, 1000, 10**5, 10**9, 10**30, -1, 0, 2.0, "2", True, None, [2]])
def test_another_width(folder: Path, width: Any):
    """Refused by shape before memory is asked for: a network of width 10^5 has 2 TB of weights in one layer alone."""
    config = json.loads((folder / "config.json").read_text())
    config["network"]["width"] = width
    (folder / "config.json").write_text(json.dumps(config))
    message = refusal(folder)
    if width in (3, 1000, 10**5):
        assert f"does not fit its config.json, which says r3d10 of width {width}: take the folder" in message


@pytest.mark.parametrize("network", [{"name": "r3d18", "width": 2}, {"name": "c3d", "width": 2}, {"name": "x"}, [], 3])
def test_another_network(folder: Path, network: Any):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"network": network}))
    refusal(folder)


@pytest.mark.parametrize("text", ["[" * 100_000, "null", "[]", '{"format": "cacl encoder"}', "\ud800", "{}" * 2])
def test_another_json(folder: Path, text: str):
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    refusal(folder)
