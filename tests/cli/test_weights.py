"""import, export and info from the command line: from somebody's checkpoint to a file that runs without cacl."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from sent_files import Evil

import cacl as library
from cacl.models.cnn3d import build_cnn3d

Command = Callable[..., Any]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = build_cnn3d("r3d10", width=2).state_dict()
    state = {f"module.encoder_q.base_network.{name}": value for name, value in network.items()}
    state |= {"module.queue": torch.zeros(128, 8), "module.encoder_q.fc8.bias": torch.zeros(16)}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "checkpoint.pth.tar")
    return tmp_path / "checkpoint.pth.tar"


def test_there_and_on(cacl: Command, checkpoint: Path):
    ended = cacl("import", checkpoint, "--out", "e", "--size", 32, "--resize", 40, 52, "--stride", 1)
    assert ended.status == 0
    assert "r3d10 of width 2, 72 tensors found below 'module.encoder_q.base_network.'" in ended.out
    assert "Left out: 2 other tensors (queue, encoder_q)." in ended.out
    encoder = library.load("e")
    assert (encoder.clip.stride, encoder.clip.size, encoder.clip.resize) == (1, 32, (40, 52))
    card = Path("e/README.md").read_text()
    assert "imported from checkpoint.pth.tar" in card
    assert "trained without labels" not in card
    ended = cacl("export", "e", "--to", "onnx", "--out", "e.onnx")
    assert ended.status == 0
    assert "largest difference" in ended.out
    assert "In: clips, float32 [B, 3, 16, 32, 32] in [0, 1]. Out: features, float32 [B, 32]." in ended.out
    x = torch.rand(2, 3, 16, 32, 32)
    session = onnxruntime.InferenceSession("e.onnx", providers=["CPUExecutionProvider"])
    (features,) = session.run(["features"], {"clips": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(features), encoder(x).detach(), rtol=0, atol=1e-4)
    assert json.loads(cacl("info", "e.onnx", "--json").out)["network"] == "r3d10 of width 2"


def test_a_run_is_exported_and_told_about(cacl: Command, finished: Path):
    assert cacl("export", finished, "--to", "safetensors", "--out", "e.safetensors").status == 0
    assert cacl("info", finished).out.startswith(f"{finished}: run, finished\n")
    assert cacl("import", "e.safetensors", "--out", "again").status == 0
    own = library.load(finished)
    x = torch.rand(1, 3, own.clip.frames, own.clip.size, own.clip.size)
    assert library.load("again").clip == own.clip
    assert torch.equal(library.load("again")(x), own(x))


def test_bad_input_is_a_sentence(cacl: Command, checkpoint: Path, tmp_path: Path):
    cacl("import", checkpoint, "--out", "e", "--network", "r3d11").refused("--network is r3d11", "Did you mean 'r3d1")
    cacl("import", checkpoint, "--out", "e", "--network", "c3d").refused(checkpoint, "--network r3d10")
    cacl("import", checkpoint, "--out", "e", "--size", 200).refused("size 200 does not fit")
    cacl("import", checkpoint, "--out", "e", "--mean", 0.5, 0.5, 0.5).refused("go together")
    cacl("import", "nothing.pt", "--out", "e").refused("nothing.pt does not exist")
    torch.save({"state_dict": {}, "args": Evil(Path("harm"))}, "bad.pt")
    cacl("import", "bad.pt", "--out", "e").refused("bad.pt", "never loaded because they can run code")
    cacl("info", "bad.pt").refused("bad.pt", "can run code")
    assert not Path("harm").exists()
    assert not Path("e").exists()
    cacl("export", tmp_path, "--to", "torch", "--out", "e.pt2").refused("holds no encoder")
    cacl("export", tmp_path, "--to", "torch").refused("--out")
    (tmp_path / "notes.txt").write_text("x")
    cacl("info", tmp_path / "notes.txt").refused("nothing that cacl writes")
    Path("mine").mkdir()
    Path("mine/thesis.tex").touch()
    cacl("import", checkpoint, "--out", "mine").refused("mine exists and was not made by cacl import")
