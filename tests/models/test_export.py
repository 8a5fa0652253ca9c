"""Exports: the same features from the file alone, for any number of clips, or no file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from cacl.errors import UserError
from cacl.models import export
from cacl.models.cnn3d import build_cnn3d
from cacl.models.encoder import ClipSpec, Encoder
from cacl.models.export import TOLERANCE, Exported, export_encoder

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
GRID = [(name, standardise) for name in ("c3d", "r3d18", "r2plus1d18") for standardise in ("none", "clip", "motion")]
QUICK = {("c3d", "none"), ("r3d18", "motion"), ("r2plus1d18", "clip")}
CASES = [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in GRID]


def clips(count: int, seed: int = 5) -> Tensor:
    """Other clips than the export compares with: smooth, each of its own brightness, contrast and coarseness."""
    generator = torch.Generator().manual_seed(seed)
    low, high = torch.rand(2, count, 1, 1, 1, 1, generator=generator).sort(0).values
    sizes = [(4, 4, 4), (8, 5, 5), (16, 9, 9)]
    coarse = [torch.rand(1, 3, *sizes[i % 3], generator=generator) for i in range(count)]
    return low + (high - low) * torch.cat([F.interpolate(c, size=(16, 32, 32), mode="trilinear") for c in coarse])


def trained(name: Any, *, width: int = 4, **clip: Any) -> Encoder:
    """An encoder whose features are about 1 and differ: its BatchNorm statistics are those of its clips.

    Residual branches count for less than their shortcut, and no channel is blown up because it hardly varies: a deep
    random network would make rounding errors as large as what is looked for.
    """
    torch.manual_seed(0)
    encoder = Encoder(name, width=width, clip=ClipSpec(**{"resize": (40, 52), "size": 32, **clip})).train()
    for place, module in encoder.named_modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = None  # the mean of all batches
            branch = place.endswith("bn2") and "block" in place
            last = place.endswith(("conv5.block1.downsamplebn", "bn5b")) or (branch and "conv5" in place)
            nn.init.constant_(module.weight, (0.3 if branch else 1) * (0.25 if last else 1))
    for number in range(4):
        encoder(clips(4, seed=100 + number))
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm3d) and module.running_var is not None:
            module.running_var.clamp_(min=0.3 * float(module.running_var.mean()))
    return encoder.eval()


def by_hand(encoder: Encoder, x_BCTHW: Tensor) -> Tensor:
    """Pixels as the encoder's description has them, its network, its feature."""
    colours = (1, 3, 1, 1, 1)
    x = (x_BCTHW.double() - torch.tensor(MEAN).view(colours)) / torch.tensor(STD).view(colours)
    if encoder.clip.standardise == "clip":
        each = [(clip - clip.mean()) / (clip.std(correction=0) + 0.05) for clip in x]
        x = torch.stack(each)
    elif encoder.clip.standardise == "motion":
        moving = [clip - clip.mean(1, keepdim=True) for clip in x]
        x = torch.stack([clip / (clip.std(correction=0) + 0.02) for clip in moving])
    network = build_cnn3d(encoder.name, width=encoder.width).double().eval()
    network.load_state_dict(encoder.network.state_dict())
    map_BDTHW = network.forward_features(x)
    B, D, T, H, W = map_BDTHW.shape
    return map_BDTHW.view(B, D, T, H // 2, 2, W // 2, 2).amax((4, 6)).flatten(1)


@pytest.mark.parametrize(("name", "standardise"), CASES)
@torch.no_grad()
def test_the_round_trip(name: str, standardise: str, tmp_path: Path):
    encoder = trained(name, standardise=standardise, pixel_mean=MEAN, pixel_std=STD)
    for to, suffix in (("torch", "pt2"), ("onnx", "onnx")):
        written = export_encoder(encoder, tmp_path / f"e.{suffix}", to=to)
        assert written.difference <= 1e-4
        assert written.largest > 0.1
        assert (written.clip, written.features) == ((3, 16, 32, 32), encoder.num_features)
    program = torch.export.load(tmp_path / "e.pt2").module()
    session = onnxruntime.InferenceSession(tmp_path / "e.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 2, 7):
        x = clips(count)
        before = x.clone()
        expected = by_hand(encoder, x)
        if name != "c3d":  # rounds 2x2 down to one
            assert count == 1 or (expected[0] - expected[1]).abs().max() > 1e-2
        assert (program(x) - expected).abs().max() <= 1e-4
        (features,) = session.run(["features"], {"clips": x.numpy()})
        assert features.dtype == np.float32
        assert np.abs(features - expected.numpy()).max() <= 1e-4
        assert torch.equal(x, before)  # the graph standardises a copy
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.onnx", "e.pt2"]


@torch.no_grad()
def test_the_mean_layer_and_the_description_inside(tmp_path: Path):
    encoder = trained("r3d10", layer="mean", standardise="clip")
    for to, suffix in (("torch", "pt2"), ("onnx", "onnx"), ("safetensors", "safetensors")):
        assert export_encoder(encoder, tmp_path / f"e.{suffix}", to=to).features == 32
    extra = {"cacl.json": ""}
    program = torch.export.load(tmp_path / "e.pt2", extra_files=extra).module()
    x = clips(3)
    torch.testing.assert_close(program(x), encoder(x), rtol=0, atol=1e-4)
    wanted = json.loads(json.dumps(encoder.config))
    assert json.loads(extra["cacl.json"]) == wanted
    session = onnxruntime.InferenceSession(tmp_path / "e.onnx", providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["cacl.json"]) == wanted
    state = load_file(tmp_path / "e.safetensors")
    assert state.keys() == encoder.network.state_dict().keys()
    assert all(torch.equal(value, encoder.network.state_dict()[name]) for name, value in state.items())


@pytest.mark.slow
def test_a_program_runs_where_cacl_is_not(tmp_path: Path):
    encoder = trained("r3d10", width=2, standardise="motion")
    export_encoder(encoder, tmp_path / "e.pt2", to="torch")
    torch.save(clips(3), tmp_path / "clips.pt")
    code = (
        "import sys, torch; sys.modules['cacl'] = None\n"
        "program = torch.export.load('e.pt2').module()\n"
        "torch.save(program(torch.load('clips.pt')), 'features.pt')"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, check=True)
    found = torch.load(tmp_path / "features.pt")
    torch.testing.assert_close(found, encoder(clips(3)), rtol=0, atol=1e-4)


def test_the_encoder_is_left_as_it_was(tmp_path: Path):
    encoder = trained("r3d10", width=2).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    export_encoder(encoder, tmp_path / "sub" / "folder" / "e.pt2", to="torch")
    assert encoder.training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize(("error", "fits"), [(0.5 * TOLERANCE, True), (2 * TOLERANCE, False), (float("nan"), False)])
def test_a_file_that_differs_is_not_kept(error: float, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    encoder = trained("r3d10", width=2)
    with torch.no_grad():  # features below 1: the bound is 1e-4 itself
        encoder.network.conv5.block1.bn2.weight.fill_(0)
        encoder.network.conv5.block1.downsamplebn.weight.fill_(0.1)
    (tmp_path / "e.pt2").write_text("the old one")

    def off(*arguments: object) -> Any:
        def features(x: Tensor) -> Tensor:
            y = encoder(x)
            y[-1, 3] += error
            return y

        return features

    monkeypatch.setattr(export, "_reader", off)
    monkeypatch.setattr(export, "was_exported", lambda file: True)
    if fits:
        written = export_encoder(encoder, tmp_path / "e.pt2", to="torch")
        assert isinstance(written, Exported)
        assert written.difference == pytest.approx(error, rel=0.01)
    else:
        with pytest.raises(UserError, match=r"e\.pt2 was not written: its features differ"):
            export_encoder(encoder, tmp_path / "e.pt2", to="torch")
        assert (tmp_path / "e.pt2").read_text() == "the old one"
    assert [path.name for path in tmp_path.iterdir()] == ["e.pt2"]


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_what_onnx_needs_is_named(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=rf'--to onnx needs .*{missing}.*: .*pip install .*"{missing}>='):
        export_encoder(
            Encoder("r3d10", width=2, clip=ClipSpec(resize=(40, 52), size=32)), tmp_path / "e.onnx", to="onnx"
        )
    assert not any(tmp_path.iterdir())


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    encoder = Encoder("r3d10", width=2, clip=ClipSpec(resize=(40, 52), size=32)).eval()
    with pytest.raises(UserError, match=r"--to is onxx; it can be torch, onnx, safetensors. Did you mean 'onnx'"):
        export_encoder(encoder, tmp_path / "e.onnx", to="onxx")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"must be a file whose name ends in \.onnx"):
        export_encoder(encoder, tmp_path / "thesis.tex", to="onnx")
    (tmp_path / "folder.pt2").mkdir()
    with pytest.raises(UserError, match="must be a file"):
        export_encoder(encoder, tmp_path / "folder.pt2", to="torch")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"could not be written \("):
        export_encoder(encoder, tmp_path / "file" / "e.safetensors", to="safetensors")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "write_synced", full)
    with pytest.raises(UserError, match=r"could not be written \(No space left on device\)"):
        export_encoder(encoder, tmp_path / "e.safetensors", to="safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.pt2"]
