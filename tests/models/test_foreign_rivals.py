"""Checkpoints under the names of the methods that CACL is compared with, and of torchvision's video ResNets.

Names and forward passes are written down from the layer lists of ``r3d_18``, of ``r2plus1d_18``, of TCLR's network and
of PRP's C3D, and share no code with the models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from models.test_foreign import State, bn, c3d_state, conv, features, norm, refusal, resnet_state
from torch import Tensor

import cacl
from cacl.models.encoder import ClipSpec, Encoder
from cacl.models.foreign import import_encoder

WIDTH, STEM_WIDTH = 4, 2  # 45 of 64 in the stem of r2plus1d_18
CLIP = ClipSpec(resize=(40, 52), size=32)


def torchvision_state(*, factor: bool = False) -> State:
    """``r3d_18`` or ``r2plus1d_18`` as torchvision names it: stem, four layers of two blocks."""
    torch.manual_seed(2)
    state: State = {}

    def both(name: str, fan_in: int, out: int, middle: int) -> None:
        """A convolution of a block, and its norm."""
        if factor:
            conv(state, f"{name}.0.0", fan_in, middle, (1, 3, 3))
            norm(state, f"{name}.0.1", middle)
            conv(state, f"{name}.0.3", middle, out, (3, 1, 1))
        else:
            conv(state, f"{name}.0", fan_in, out, (3, 3, 3))
        norm(state, f"{name}.1", out)

    if factor:
        conv(state, "stem.0", 3, STEM_WIDTH, (1, 7, 7))
        norm(state, "stem.1", STEM_WIDTH)
        conv(state, "stem.3", STEM_WIDTH, WIDTH, (3, 1, 1))
        norm(state, "stem.4", WIDTH)
    else:
        conv(state, "stem.0", 3, WIDTH, (3, 7, 7))
        norm(state, "stem.1", WIDTH)
    fan_in = WIDTH
    for layer in range(1, 5):
        out = WIDTH * 2 ** (layer - 1)
        for block in (0, 1):
            name = f"layer{layer}.{block}"
            middle = fan_in * out * 27 // (fan_in * 9 + 3 * out)  # of both convolutions of the block
            both(f"{name}.conv1", fan_in, out, middle)
            both(f"{name}.conv2", out, out, middle)
            state[f"{name}.conv2.1.weight"] *= 0.3
            if layer > 1 and block == 0:
                conv(state, f"{name}.downsample.0", fan_in, out, (1, 1, 1))
                norm(state, f"{name}.downsample.1", out)
            fan_in = out
    return state


def torchvision_map(state: State, x: Tensor, *, tclr: bool = False) -> Tensor:
    """The last layer's map in float64; TCLR's first block of the last layer keeps the frames and is dilated."""

    def convolved(name: str, x: Tensor, stride: Sequence[int], dilation: int = 1) -> Tensor:
        weight = state[f"{name}.weight"].double()
        padding = [k // 2 for k in weight.shape[2:]]
        padding[0] *= dilation
        return F.conv3d(x, weight, stride=tuple(stride), padding=padding, dilation=(dilation, 1, 1))

    def both(name: str, x: Tensor, stride: tuple[int, int, int], dilation: int = 1) -> Tensor:
        if f"{name}.0.3.weight" in state:
            x = bn(state, f"{name}.0.1", convolved(f"{name}.0.0", x, (1, *stride[1:]))).clamp(min=0)
            return bn(state, f"{name}.1", convolved(f"{name}.0.3", x, (stride[0], 1, 1)))
        return bn(state, f"{name}.1", convolved(f"{name}.0", x, stride, dilation))

    x = bn(state, "stem.1", convolved("stem.0", x.double(), (1, 2, 2))).clamp(min=0)
    if "stem.3.weight" in state:
        x = bn(state, "stem.4", convolved("stem.3", x, (1, 1, 1))).clamp(min=0)
    for layer in range(1, 5):
        for block in (0, 1):
            name, stride, dilation = f"layer{layer}.{block}", (1, 1, 1), 1
            if layer > 1 and block == 0:
                stride, dilation = ((1, 2, 2), 2) if tclr and layer == 4 else ((2, 2, 2), 1)
            y = both(f"{name}.conv2", both(f"{name}.conv1", x, stride, dilation).clamp(min=0), (1, 1, 1))
            x = (y + (both(f"{name}.downsample", x, stride) if stride[1] == 2 else x)).clamp(min=0)
    return x


def differ_by(encoder: Encoder, clips: Tensor, map_BDTHW: Tensor) -> float:
    """The largest difference of an encoder's features to the max-pool of a map, of clips that are not all alike."""
    expected = F.max_pool3d(map_BDTHW, (1, 2, 2)).flatten(1)
    assert expected.std(0).max() > 0.05
    with torch.no_grad():
        return float((encoder(clips).double() - expected).abs().max())


@pytest.mark.parametrize("place", ["", "module.encoder_q.", "encoder_q.encoder.", "backbone."])
def test_r3d_18_gives_its_own_features(place: str, tmp_path: Path) -> None:
    """VideoMoCo saves it below ``module.encoder_q.``; with a head ``fc`` and a momentum copy beside it."""
    state = torchvision_state()
    full = {place + name: value for name, value in state.items()}
    full |= {f"{place}fc.weight": torch.zeros(128, 8 * WIDTH), f"{place}fc.bias": torch.zeros(128)}
    if place:
        full |= {"module.encoder_k." + name: torch.zeros_like(value) for name, value in state.items()}
        full |= {"module.queue": torch.zeros(128, 8), "module.queue_ptr": torch.zeros(1, dtype=torch.int64)}
    torch.save({"epoch": 200, "arch": "r3d_18", "state_dict": full}, tmp_path / "checkpoint.pth.tar")
    encoder, found = import_encoder(tmp_path / "checkpoint.pth.tar", clip=CLIP)
    assert (encoder.name, encoder.width, found.place) == ("r3d18", WIDTH, place)
    assert len(found.state) == len(state)
    assert len(found.left_out) == len(full) - len(state)
    clips = torch.rand(3, 3, 16, 32, 32)
    assert differ_by(encoder, clips, torchvision_map(state, clips)) <= 1e-5


@pytest.mark.parametrize("place", ["", "module.encoder_q.", "encoder_q.encoder."])
def test_r2plus1d_18_gives_its_own_features(place: str, tmp_path: Path) -> None:
    """RSPNet's and VideoMoCo's: other inner widths than VCOP's, shortcuts that are not factorised."""
    state = torchvision_state(factor=True)
    full = {place + name: value for name, value in state.items()} | {f"{place}fc.weight": torch.zeros(128, 8 * WIDTH)}
    torch.save({"state_dict": full}, tmp_path / "checkpoint.pth.tar")
    encoder, found = import_encoder(tmp_path / "checkpoint.pth.tar", clip=CLIP)
    assert (encoder.name, encoder.width, found.place) == ("r2plus1d18-torchvision", WIDTH, place)
    assert found.left_out == (f"{place}fc.weight",)
    clips = torch.rand(3, 3, 16, 32, 32)
    assert differ_by(encoder, clips, torchvision_map(state, clips)) <= 1e-5
    assert "does not fit r2plus1d18" in refusal(tmp_path / "checkpoint.pth.tar", network="r2plus1d18")


@pytest.mark.parametrize("place", ["0.", "module.0."])
def test_tclrs_network_keeps_the_frames_of_its_last_stage(place: str, tmp_path: Path) -> None:
    """Its tensors are those of ``r3d_18``, so its place alone tells, or the user."""
    state = torchvision_state()
    head = place.replace("0", "1")
    full = {place + name: value for name, value in state.items()} | {f"{head}fc1.weight": torch.zeros(4, 4)}
    torch.save({"epoch": 300, "state_dict": full}, tmp_path / "tclr.pth")
    torch.save(state, tmp_path / "plain.pth")
    clips = torch.rand(3, 3, 16, 32, 32)
    expected = torchvision_map(state, clips, tclr=True)
    assert expected.shape[2] == 4
    for encoder, found in (
        import_encoder(tmp_path / "tclr.pth", clip=CLIP),
        import_encoder(tmp_path / "plain.pth", clip=CLIP, network="r3d18-tclr"),
    ):
        assert encoder.name == "r3d18-tclr"
        assert differ_by(encoder, clips, expected) <= 1e-5
        assert not any("fc1" in name for name in found.state)
    encoder.save(tmp_path / "encoder")
    assert cacl.load(tmp_path / "encoder").network.time_stride == 4


@pytest.mark.parametrize("place", ["", "base_network.", "module.base_network."])
def test_prps_c3d_under_its_own_names(place: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    ours = c3d_state()
    theirs = {}
    for name, value in ours.items():
        kind, layer, rest = re.fullmatch(r"(conv|bn)(\d[ab]?)\.(\w+)", name).groups()
        layer = layer.replace("a", "_1").replace("b", "_2")
        theirs[f"{place}conv{layer}.conv3d.{0 if kind == 'conv' else 1}.{rest}"] = value
    heads = {"conv6_cls.conv3d.0.weight": torch.zeros(4, 4, 3, 3, 3), "up1.conv3d.conv3d.0.weight": torch.zeros(2)}
    torch.save(theirs | heads, tmp_path / "prp.pth")
    encoder, found = import_encoder(tmp_path / "prp.pth", clip=CLIP)
    assert (encoder.name, encoder.width, found.place) == ("c3d", WIDTH, place)
    assert set(found.left_out) == set(heads)
    clips = torch.rand(2, 3, 16, 32, 32)
    with torch.no_grad():
        assert (encoder(clips).double() - features("c3d", ours, clips)).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("method", "place", "heads", "wrapped"),
    [
        ("vcop", "base_network.", ("fc7.weight", "fc8.weight"), None),
        ("prp", "module.base_network.", ("module.conv6_cls.0.weight", "module.fc8.weight"), None),
        ("pace", "", ("linear.weight", "linear.bias"), None),
        ("pace", "module.", ("module.linear.weight",), None),
        ("rspnet", "encoder_q.encoder.", ("encoder_q.fc1.2.weight", "encoder_q.fc2.2.weight", "queue"), "model"),
        ("iic", "", ("linear.weight",), "model"),
    ],
)
@pytest.mark.parametrize("network", ["c3d", "r3d10", "r2plus1d10"])
def test_names_of_vcops_networks_in_the_checkpoints_of_others(
    method: str, place: str, heads: tuple[str, ...], wrapped: str | None, network: str, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    state = c3d_state() if network == "c3d" else resnet_state((1,) * 4, factor=network.startswith("r2"))
    full = {place + name: value for name, value in state.items()} | {head: torch.zeros(4, 4) for head in heads}
    if method == "rspnet":
        full |= {f"encoder_k.encoder.{name}": torch.zeros_like(value) for name, value in state.items()}
    torch.save({wrapped: full, "epoch": 1} if wrapped else full, tmp_path / "model.pt")
    encoder, found = import_encoder(tmp_path / "model.pt", clip=CLIP)
    assert (encoder.name, encoder.width, found.place) == (network, WIDTH, place)
    assert set(heads) <= set(found.left_out)
    clips = torch.rand(2, 3, 16, 32, 32)
    with torch.no_grad():
        assert (encoder(clips).double() - features(network, state, clips)).abs().max() <= 1e-5


def test_what_computes_something_else_is_refused(tmp_path: Path) -> None:
    hara = {"conv1.weight": torch.zeros(64, 3, 7, 7, 7), "bn1.weight": torch.zeros(64)}  # RSPNet's own R3D-18
    torch.save({f"encoder_q.encoder.{name}": value for name, value in hara.items()}, tmp_path / "rspnet.pth")
    assert "no network of cacl would" in refusal(tmp_path / "rspnet.pth")
    broken = torchvision_state()
    del broken["layer3.1.conv2.0.weight"]
    torch.save(broken, tmp_path / "broken.pth")
    assert "'conv4.blocks.0.conv2.temporal_spatial_conv.weight' is missing" in refusal(tmp_path / "broken.pth")
