"""Checkpoints under the names of the methods that CACL is compared with, and of torchvision's video ResNets.

Names and forward pass of ``r3d_18`` are written down from its layer list and share no code with the models.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from models.test_foreign import State, bn, c3d_state, conv, features, norm, refusal, resnet_state
from torch import Tensor

from cacl.models.encoder import ClipSpec
from cacl.models.foreign import import_encoder

WIDTH = 4
CLIP = ClipSpec(resize=(40, 52), size=32)


def r3d_18() -> State:
    """As torchvision names it: stem, four layers of two blocks, classifier."""
    torch.manual_seed(2)
    state: State = {}
    conv(state, "stem.0", 3, WIDTH, (3, 7, 7))
    norm(state, "stem.1", WIDTH)
    fan_in = WIDTH
    for layer in range(1, 5):
        out = WIDTH * 2 ** (layer - 1)
        for block in (0, 1):
            name = f"layer{layer}.{block}"
            conv(state, f"{name}.conv1.0", fan_in, out, (3, 3, 3))
            norm(state, f"{name}.conv1.1", out)
            conv(state, f"{name}.conv2.0", out, out, (3, 3, 3))
            norm(state, f"{name}.conv2.1", out)
            state[f"{name}.conv2.1.weight"] *= 0.3
            if layer > 1 and block == 0:
                conv(state, f"{name}.downsample.0", fan_in, out, (1, 1, 1))
                norm(state, f"{name}.downsample.1", out)
            fan_in = out
    return state


def r3d_18_map(state: State, x: Tensor) -> Tensor:
    """The last layer's map in float64."""

    def both(name: str, x: Tensor, stride: tuple[int, int, int]) -> Tensor:
        weight = state[f"{name}.0.weight"].double()
        return bn(state, f"{name}.1", F.conv3d(x, weight, stride=stride, padding=[k // 2 for k in weight.shape[2:]]))

    x = both("stem", x.double(), (1, 2, 2)).clamp(min=0)
    for layer in range(1, 5):
        for block in (0, 1):
            name, stride = f"layer{layer}.{block}", (2, 2, 2) if layer > 1 and block == 0 else (1, 1, 1)
            y = both(f"{name}.conv2", both(f"{name}.conv1", x, stride).clamp(min=0), (1, 1, 1))
            x = (y + (both(f"{name}.downsample", x, stride) if stride[0] == 2 else x)).clamp(min=0)
    return x


@pytest.mark.parametrize("place", ["", "module.encoder_q.", "encoder_q.encoder.", "backbone."])
def test_r3d_18_gives_its_own_features(place: str, tmp_path: Path) -> None:
    """VideoMoCo saves it below ``module.encoder_q.``; with a head ``fc`` and a momentum copy beside it."""
    state = r3d_18()
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
    expected = F.max_pool3d(r3d_18_map(state, clips), (1, 2, 2)).flatten(1)
    assert expected.std(0).max() > 0.05
    with torch.no_grad():
        assert (encoder(clips).double() - expected).abs().max() <= 1e-5


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
    """TCLR's dilated last stage has the shapes of ``r3d_18``; R(2+1)D of torchvision has other inner widths."""
    for place in ("0.", "module.0."):
        torch.save({"state_dict": {place + name: v for name, v in r3d_18().items()}}, tmp_path / "tclr.pth")
        message = refusal(tmp_path / "tclr.pth")
        assert f"TCLR's R3D-18 ('{place}stem.0.weight'), whose last stage keeps all of its frames" in message
    factorised = {"stem.0.weight": torch.zeros(45, 3, 1, 7, 7), "stem.3.weight": torch.zeros(64, 45, 3, 1, 1)}
    torch.save({f"module.encoder_q.{name}": value for name, value in factorised.items()}, tmp_path / "r2plus1d.pth")
    assert "torchvision's r2plus1d_18 ('module.encoder_q.stem.3.weight')" in refusal(tmp_path / "r2plus1d.pth")
    hara = {"conv1.weight": torch.zeros(64, 3, 7, 7, 7), "bn1.weight": torch.zeros(64)}  # RSPNet's own R3D-18
    torch.save({f"encoder_q.encoder.{name}": value for name, value in hara.items()}, tmp_path / "rspnet.pth")
    assert "no network of cacl would" in refusal(tmp_path / "rspnet.pth")
    broken = r3d_18()
    del broken["layer3.1.conv2.0.weight"]
    torch.save(broken, tmp_path / "broken.pth")
    assert "'conv4.blocks.0.conv2.temporal_spatial_conv.weight' is missing" in refusal(tmp_path / "broken.pth")
