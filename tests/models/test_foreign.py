"""Checkpoints that others wrote: their features come out, whatever the prefix; everything else is one sentence.

The state dicts and the forward passes here are written down from the authors' layer lists alone, with the names in
their checkpoints, and share no code with the models.
"""

from __future__ import annotations

import contextlib
import io
import random
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from sent_files import Evil
from torch import Tensor

import cacl
from cacl.errors import UserError
from cacl.models.encoder import ClipSpec, Encoder
from cacl.models.export import export_encoder
from cacl.models.foreign import ForeignNetwork, identify_network, import_encoder, read_foreign, stored_clip

State = dict[str, Tensor]
WIDTH = 4
CLIP = ClipSpec(resize=(40, 52), size=32)


# ---- the authors' networks, written down once more -------------------------------------------------------------------


def conv(state: State, name: str, fan_in: int, fan_out: int, kernel: tuple[int, int, int]) -> None:
    state[f"{name}.weight"] = (
        torch.randn(fan_out, fan_in, *kernel) * (2 / (fan_in * torch.tensor(kernel).prod())) ** 0.5
    )


def norm(state: State, name: str, width: int) -> None:
    state |= {f"{name}.weight": torch.rand(width) + 0.5, f"{name}.bias": torch.randn(width) * 0.1}
    state |= {f"{name}.running_mean": torch.randn(width) * 0.1, f"{name}.running_var": torch.rand(width) + 0.5}
    state[f"{name}.num_batches_tracked"] = torch.tensor(7)


def any_conv(state: State, name: str, fan_in: int, fan_out: int, kernel: tuple[int, int, int], factor: bool) -> None:
    t, h, w = kernel
    if factor:
        middle = t * h * w * fan_in * fan_out // (h * w * fan_in + t * fan_out)
        conv(state, f"{name}.spatial_conv", fan_in, middle, (1, h, w))
        norm(state, f"{name}.bn", middle)
        conv(state, f"{name}.temporal_conv", middle, fan_out, (t, 1, 1))
    else:
        conv(state, f"{name}.temporal_spatial_conv", fan_in, fan_out, kernel)


def c3d_state(width: int = WIDTH) -> State:
    state: State = {}
    widths = {"1": 1, "2": 2, "3a": 4, "3b": 4, "4a": 8, "4b": 8, "5a": 8, "5b": 8}
    fan_in = 3
    for name, factor in widths.items():
        conv(state, f"conv{name}", fan_in, factor * width, (3, 3, 3))
        state[f"conv{name}.bias"] = torch.randn(factor * width) * 0.1
        norm(state, f"bn{name}", factor * width)
        fan_in = factor * width
    return state


def resnet_state(blocks: tuple[int, ...], *, factor: bool, width: int = WIDTH) -> State:
    state: State = {}
    any_conv(state, "conv1", 3, width, (3, 7, 7), factor)
    norm(state, "bn1", width)
    fan_in = width
    for stage, count in enumerate(blocks):
        out = width * 2**stage
        for number in range(count):
            name = f"conv{stage + 2}." + ("block1" if number == 0 else f"blocks.{number - 1}")
            if number == 0 and stage > 0:
                any_conv(state, f"{name}.downsampleconv", fan_in, out, (1, 1, 1), factor)
                norm(state, f"{name}.downsamplebn", out)
            any_conv(state, f"{name}.conv1", fan_in, out, (3, 3, 3), factor)
            norm(state, f"{name}.bn1", out)
            any_conv(state, f"{name}.conv2", out, out, (3, 3, 3), factor)
            norm(state, f"{name}.bn2", out)
            state[f"{name}.bn2.weight"] *= 0.3  # so that features stay near 1, however deep
            fan_in = out
    return state


def bn(state: State, name: str, x: Tensor) -> Tensor:
    shape = (1, -1, 1, 1, 1)
    values = [state[f"{name}.{k}"].double().view(shape) for k in ("running_mean", "running_var", "weight", "bias")]
    mean, variance, weight, bias = values
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


def c3d(state: State, x: Tensor) -> Tensor:
    for name in ("1", "2", "3a", "3b", "4a", "4b", "5a", "5b"):
        x = F.conv3d(x, state[f"conv{name}.weight"].double(), state[f"conv{name}.bias"].double(), padding=1)
        x = bn(state, f"bn{name}", x).clamp(min=0)
        if name in ("1", "2", "3b", "4b"):
            window = (1, 2, 2) if name == "1" else (2, 2, 2)
            x = F.max_pool3d(x, window, window)
    return x


def resnet(state: State, x: Tensor) -> Tensor:
    def apply(name: str, x: Tensor, stride: tuple[int, int, int]) -> Tensor:
        if f"{name}.temporal_spatial_conv.weight" in state:
            weight = state[f"{name}.temporal_spatial_conv.weight"].double()
            return F.conv3d(x, weight, stride=stride, padding=[k // 2 for k in weight.shape[2:]])
        weight = state[f"{name}.spatial_conv.weight"].double()
        pad = (0, weight.shape[3] // 2, weight.shape[4] // 2)
        x = F.conv3d(x, weight, stride=(1, *stride[1:]), padding=pad)
        x = bn(state, f"{name}.bn", x).clamp(min=0)
        weight = state[f"{name}.temporal_conv.weight"].double()
        return F.conv3d(x, weight, stride=(stride[0], 1, 1), padding=(weight.shape[2] // 2, 0, 0))

    x = bn(state, "bn1", apply("conv1", x, (1, 2, 2))).clamp(min=0)
    blocks = dict.fromkeys(name.split(".conv1.")[0] for name in state if ".conv1." in name)
    for block in blocks:
        down = f"{block}.downsamplebn.weight" in state
        stride = (2, 2, 2) if down else (1, 1, 1)
        y = bn(state, f"{block}.bn1", apply(f"{block}.conv1", x, stride)).clamp(min=0)
        y = bn(state, f"{block}.bn2", apply(f"{block}.conv2", y, (1, 1, 1)))
        shortcut = bn(state, f"{block}.downsamplebn", apply(f"{block}.downsampleconv", x, (2, 2, 2))) if down else x
        x = (y + shortcut).clamp(min=0)
    return x


def state_of(name: str) -> State:
    torch.manual_seed(1)
    if name == "c3d":
        return c3d_state()
    blocks = {"10": (1, 1, 1, 1), "18": (2, 2, 2, 2), "34": (3, 4, 6, 3)}[name[-2:]]
    return resnet_state(blocks, factor=name.startswith("r2plus1d"))


def features(name: str, state: State, clips: Tensor) -> Tensor:
    """The retrieval feature: max-pool (1, 2, 2) over the last convolution, flattened; in double precision."""
    map_BDTHW = (c3d if name == "c3d" else resnet)(state, clips.double())
    return F.max_pool3d(map_BDTHW, (1, min(2, map_BDTHW.shape[3]), min(2, map_BDTHW.shape[4]))).flatten(1)


def authors_checkpoint(state: State) -> dict[str, object]:
    """Everything that the authors' joint training keeps beside the 3D CNN, small."""
    other = {name: torch.randn_like(v) if v.is_floating_point() else v for name, v in state.items()}
    full = {f"module.encoder_k.base_network.{name}": value for name, value in other.items()}
    full |= {f"module.encoder_q.base_network.{name}": value for name, value in state.items()}
    for copy in ("q", "k"):
        full |= {f"module.encoder_{copy}.{head}.weight": torch.randn(4, 4) for head in ("fc7", "fc8", "contrast_fc1")}
    net = "module.encoder_transformer.video_embed.extract_feature_net."
    full |= {f"{net}conv1.weight": torch.randn(4, 3, 7, 7), f"{net}bn1.weight": torch.randn(4)}
    full |= {"module.queue": torch.randn(128, 8), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    return {"epoch": 300, "state_dict": full, "optimizer": {"state": {}, "param_groups": [{"lr": 0.01}]}}


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        import_encoder(path, **options)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- equal features --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["c3d", "r3d10", "r3d18", "r3d34", "r2plus1d10", "r2plus1d18"])
def test_the_authors_checkpoint_gives_the_authors_features(name: str, tmp_path: Path):
    state = state_of(name)
    torch.save(authors_checkpoint(state), tmp_path / "checkpoint.pth.tar")
    encoder, found = import_encoder(tmp_path / "checkpoint.pth.tar", clip=CLIP)
    assert (encoder.name, encoder.width, encoder.training) == (name, WIDTH, False)
    assert found.place == "module.encoder_q.base_network."
    assert len(found.state) == len(state)
    assert "module.queue" in found.left_out
    encoder.save(tmp_path / "encoder")
    clips = torch.rand(3, 3, 16, 32, 32)
    expected = features(name, state, clips)
    assert expected.std(0).max() > 0.05  # the clips differ, or equality would say nothing
    assert 0.5 < expected.max() < 20
    with torch.no_grad():
        found_features = cacl.load(tmp_path / "encoder")(clips)
    assert (found_features.double() - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("place", ["", "module.", "base_network.", "module.base_network.", "encoder_q.", "backbone."])
def test_other_places(place: str, tmp_path: Path):
    state = state_of("r3d10")
    full = {place + name: value for name, value in state.items()}
    full |= {f"{place}linear.weight": torch.zeros(101, 32), "fc8.bias": torch.zeros(6)}
    torch.save(full, tmp_path / "model.pt")
    torch.save({"model": full, "epoch": 3}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(full, tmp_path / "model_1.safetensors")
    for file in ("model.pt", "old.pt", "model_1.safetensors"):
        encoder, found = import_encoder(tmp_path / file)
        assert found.place == place
        assert set(found.left_out) == {f"{place}linear.weight", "fc8.bias"}
        loaded = encoder.network.state_dict()
        assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_old_and_half_precision_files(tmp_path: Path):
    state = {n: v.half() for n, v in state_of("c3d").items() if not n.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "half.pt")
    loaded = import_encoder(tmp_path / "half.pt")[0].network.state_dict()
    assert loaded["conv1.weight"].dtype == torch.float32
    assert all(torch.equal(loaded[name], value.float()) for name, value in state.items())


def test_the_clips_are_the_paper_s_or_those_that_are_given(tmp_path: Path):
    torch.save(state_of("c3d"), tmp_path / "c3d.pt")
    assert import_encoder(tmp_path / "c3d.pt")[0].clip == ClipSpec()
    assert import_encoder(tmp_path / "c3d.pt", clip=CLIP)[0].clip == CLIP
    assert "too small" in refusal(tmp_path / "c3d.pt", clip=ClipSpec(resize=(40, 52), size=4))


def test_an_export_of_our_own_knows_its_clips(tmp_path: Path):
    own = ClipSpec(
        resize=(40, 52), size=32, stride=3, standardise="motion", pixel_mean=(0.5,) * 3, pixel_std=(1.0,) * 3
    )
    encoder = Encoder("r3d10", width=2, clip=own).eval()
    export_encoder(encoder, tmp_path / "e.safetensors", to="safetensors")
    assert stored_clip(tmp_path / "e.safetensors") == own
    again, _ = import_encoder(tmp_path / "e.safetensors")
    assert again.config == encoder.config
    clips = torch.rand(1, 3, 16, 32, 32)
    assert torch.equal(again(clips), encoder(clips))
    encoder.save(tmp_path / "folder")
    for path in (tmp_path / "folder", tmp_path / "folder" / "model.safetensors"):
        with pytest.raises(UserError, match="is a folder of cacl already"):
            import_encoder(path)


@pytest.mark.parametrize("name", ["c3d", "r3d18", "r3d34", "r2plus1d10", "r2plus1d18"])
def test_networks_are_recognised(name: str):
    assert identify_network(ForeignNetwork("", state_of(name), ())) == (name, WIDTH)


# ---- what does not fit -----------------------------------------------------------------------------------------------


def test_another_network_than_asked_for_names_the_tensors_and_the_right_one(tmp_path: Path):
    torch.save(state_of("r3d18"), tmp_path / "m.pt")
    message = refusal(tmp_path / "m.pt", network="r3d10")
    assert "does not fit r3d10 of width 4 ('conv2.blocks.0.conv1.temporal_spatial_conv.weight' has no place" in message
    assert "it holds r3d18 of width 4: take --network r3d18, or leave it out" in message
    message = refusal(tmp_path / "m.pt", network="r3d34")
    assert "'conv2.blocks.1.conv1.temporal_spatial_conv.weight' is missing" in message
    message = refusal(tmp_path / "m.pt", network="c3d")
    assert "'conv1.weight' is missing" in message
    assert "and " in message
    assert "more)" in message
    assert import_encoder(tmp_path / "m.pt", network="r3d18")[0].name == "r3d18"


def test_a_network_that_is_none_of_ours(tmp_path: Path):
    state = state_of("c3d")
    torch.save({n: v for n, v in state.items() if not n.startswith("bn")}, tmp_path / "sports1m.pt")
    message = refusal(tmp_path / "sports1m.pt")
    assert "'bn1.weight' is missing, 'bn1.bias' is missing" in message
    assert "no network of cacl would" in message
    torch.save(resnet_state((1, 2, 1, 1), factor=False), tmp_path / "depth.pt")
    assert "stages of 1, 2, 1, 1 residual blocks" in refusal(tmp_path / "depth.pt")
    torch.save(state | {"conv3b.weight": torch.zeros(4, 16, 3, 3, 3)}, tmp_path / "shape.pt")
    message = refusal(tmp_path / "shape.pt")
    assert "'conv3b.weight' is [4, 16, 3, 3, 3] and should be [16, 16, 3, 3, 3]" in message
    torch.save(state | {"conv6.weight": torch.zeros(2)}, tmp_path / "more.pt")
    assert "'conv6.weight' has no place in it" in refusal(tmp_path / "more.pt")
    torch.save(state | {"bn2.bias": torch.zeros(8, dtype=torch.int32)}, tmp_path / "int.pt")
    assert "'bn2.bias' is of int32" in refusal(tmp_path / "int.pt")
    torch.save(state | {"bn2.bias": torch.full((8,), torch.inf)}, tmp_path / "inf.pt")
    assert "not finite (in 'bn2.bias')" in refusal(tmp_path / "inf.pt")


def test_no_3d_network_at_all(tmp_path: Path):
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.weight": torch.zeros(2)}, tmp_path / "resnet.pt")
    message = refusal(tmp_path / "resnet.pt")
    assert "holds no C3D, R3D or R(2+1)D" in message
    assert "'conv1.weight', 'fc.weight'" in message
    torch.save([torch.zeros(3)], tmp_path / "list.pt")
    assert "0 tensors in it: none" in refusal(tmp_path / "list.pt")
    assert "does not exist" in refusal(tmp_path / "missing.pt")


# ---- files that mean harm, or came to harm ---------------------------------------------------------------------------


@pytest.mark.parametrize("new_format", [True, False])
def test_code_in_a_checkpoint_is_never_run(new_format: bool, tmp_path: Path):
    content = authors_checkpoint(state_of("c3d")) | {"args": Evil(tmp_path / "ran")}
    torch.save(content, tmp_path / "bad.pth", _use_new_zipfile_serialization=new_format)
    assert "never loaded because they can run code" in refusal(tmp_path / "bad.pth")
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "bad.pth", weights_only=False)
    assert (tmp_path / "ran").exists()  # it does mean harm


def test_a_small_file_cannot_claim_a_tensor_of_any_size(tmp_path: Path):
    one = torch.zeros(())
    shapes = {name: list(value.shape) for name, value in c3d_state().items()}
    claims = {name: one.expand([10**9 * n for n in shape[:1]] + shape[1:]) for name, shape in shapes.items()}
    torch.save(claims, tmp_path / "claims.pt")
    assert (tmp_path / "claims.pt").stat().st_size < 50_000
    assert "(no 'conv1' over time and space;" in refusal(tmp_path / "claims.pt")


def test_a_damaged_file_is_a_sentence(tmp_path: Path):
    """Bytes changed at random where the structure lies: read as it is, or refused; never any other error."""
    state = {f"base_network.{name}": value for name, value in resnet_state((1, 1, 1, 1), factor=False, width=1).items()}
    file, read = tmp_path / "damaged.pt", 0
    for new_format in (True, False):
        buffer = io.BytesIO()
        torch.save(state, buffer, _use_new_zipfile_serialization=new_format)
        for number in range(150):
            rng = random.Random(number)
            content = bytearray(buffer.getvalue())
            for _ in range(rng.choice((1, 4, 12))):
                content[rng.randrange(min(len(content), 4000))] = rng.randrange(256)
            file.write_bytes(content[: rng.randrange(len(content))] if number % 10 == 0 else content)
            with warnings.catch_warnings(), contextlib.suppress(UserError):
                warnings.simplefilter("error")
                read_foreign(file)
                read += 1
    assert read < 150
