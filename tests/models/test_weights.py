"""Frame-encoder weights from every kind of file, and a refusal in one sentence for the others."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sent_files import Evil
from torch import Tensor

from cacl.errors import UserError
from cacl.models.cnn3d import build_cnn3d
from cacl.models.encoder import Encoder
from cacl.models.frame_encoder import ResNet, build_frame_encoder, load_frame_weights, save_frame_weights
from cacl.models.weights import agreed_normalisation, identify_frame_state, pixel_normalisation, trained_here

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def source() -> ResNet:
    torch.manual_seed(3)
    model = build_frame_encoder("resnet18", width=4)
    model(torch.rand(4, 3, 32, 32))  # moves the BatchNorm statistics
    return model


def assert_equal_to(source: ResNet, path: Path) -> None:
    model = build_frame_encoder("resnet18", width=4)
    load_frame_weights(path, model)
    wanted = source.state_dict()
    for name, value in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, wanted[name]), name


def refusal(path: Path, model: ResNet | None = None) -> str:
    model = build_frame_encoder("resnet18", width=4) if model is None else model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_frame_weights(path, model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_our_folder_there_and_back(source: ResNet, tmp_path: Path):
    save_frame_weights(tmp_path / "frames", source)
    assert sorted(file.name for file in (tmp_path / "frames").iterdir()) == ["config.json", "model.safetensors"]
    assert_equal_to(source, tmp_path / "frames")
    assert_equal_to(source, tmp_path / "frames" / "model.safetensors")
    assert pixel_normalisation(tmp_path / "frames") is None


def test_a_folder_remembers_its_pixel_normalisation(tmp_path: Path):
    model = build_frame_encoder("resnet18", width=4, pixel_mean=(0.5, 0.25, 0.125), pixel_std=(0.25, 0.5, 1.0))
    save_frame_weights(tmp_path, model)
    assert pixel_normalisation(tmp_path) == ((0.5, 0.25, 0.125), (0.25, 0.5, 1.0))


def test_plain_state_dict_with_classifier_and_without_counters(source: ResNet, tmp_path: Path):
    state = {name: value for name, value in source.state_dict().items() if "num_batches" not in name}
    state |= {"fc.weight": torch.zeros(1000, 32), "fc.bias": torch.zeros(1000)}
    torch.save(state, tmp_path / "resnet18.pth")
    assert_equal_to(source, tmp_path / "resnet18.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_equal_to(source, tmp_path / "old.pth")


@pytest.mark.parametrize("head", ["fc.", "fc.0.", "fc.2."])
def test_moco_checkpoint_takes_the_query_encoder(source: ResNet, tmp_path: Path, head: str):
    other = build_frame_encoder("resnet18", width=4).state_dict()
    state: State = {f"module.encoder_k.{name}": value for name, value in other.items()}
    state |= {f"module.encoder_q.{name}": value for name, value in source.state_dict().items()}
    state |= {f"module.encoder_q.{head}weight": torch.zeros(128, 32), "module.queue": torch.zeros(128, 16)}
    checkpoint = {"epoch": 200, "arch": "resnet18", "state_dict": state, "optimizer": {"state": {}, "param_groups": []}}
    torch.save(checkpoint, tmp_path / "moco.pth.tar")
    assert_equal_to(source, tmp_path / "moco.pth.tar")


@pytest.mark.parametrize(
    "prefix",
    ["module.", "module.base_encoder.", "module.encoder_transformer.video_embed.extract_feature_net.", "backbone."],
)
def test_other_places_of_a_resnet(source: ResNet, tmp_path: Path, prefix: str):
    state: State = {prefix + name: value for name, value in source.state_dict().items()}
    # the authors' query encoder is a 3D CNN: its names must not be mistaken for the ResNet's
    state |= {f"module.encoder_q.base_network.{n}": v for n, v in build_cnn3d("c3d", width=1).state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "file.pth")
    assert_equal_to(source, tmp_path / "file.pth")


def test_wrong_architecture_says_what_was_found(source: ResNet, tmp_path: Path):
    save_frame_weights(tmp_path / "frames", source)
    message = refusal(tmp_path / "frames", build_frame_encoder("resnet50", width=8))
    assert "holds resnet18 of width 4, but the frame encoder is resnet50 of width 8" in message
    message = refusal(tmp_path / "frames", build_frame_encoder("resnet18", width=8))
    assert "holds resnet18 of width 4, but the frame encoder is resnet18 of width 8" in message


def test_a_3d_network_is_no_frame_encoder(tmp_path: Path):
    Encoder("c3d", width=1).save(tmp_path / "encoder")
    assert "holds no ResNet for frames" in refusal(tmp_path / "encoder")
    Encoder("r3d10", width=1).save(tmp_path / "encoder")
    assert "holds no ResNet for frames" in refusal(tmp_path / "encoder")


def test_a_part_of_a_resnet_is_refused(source: ResNet, tmp_path: Path):
    state = {name: value for name, value in source.state_dict().items() if not name.startswith("layer4")}
    torch.save(state, tmp_path / "part.pth")
    assert "without 'layer4.0.conv1.weight'" in refusal(tmp_path / "part.pth")
    state = source.state_dict() | {"layer1.0.se.weight": torch.zeros(3)}
    torch.save(state, tmp_path / "more.pth")
    assert "'layer1.0.se.weight'" in refusal(tmp_path / "more.pth")
    state = source.state_dict() | {"bn1.weight": torch.full((4,), float("nan"))}
    torch.save(state, tmp_path / "nan.pth")
    assert "not finite (in 'bn1.weight')" in refusal(tmp_path / "nan.pth")


def test_files_that_are_no_weights(source: ResNet, tmp_path: Path):
    assert "does not exist" in refusal(tmp_path / "missing.pth")
    (tmp_path / "empty").mkdir()
    assert "no model.safetensors" in refusal(tmp_path / "empty")
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("not weights at all")
        refusal(tmp_path / name)
    (tmp_path / "empty.pth").touch()
    refusal(tmp_path / "empty.pth")
    torch.save([1, 2, 3], tmp_path / "list.pth")
    assert "0 tensors" in refusal(tmp_path / "list.pth")
    torch.save(source.state_dict(), tmp_path / "whole.pth")
    save_file(source.state_dict(), tmp_path / "whole.safetensors")
    for file in (tmp_path / "whole.pth", tmp_path / "whole.safetensors"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        refusal(file)


def test_code_in_a_file_is_never_run(source: ResNet, tmp_path: Path):
    torch.save({"state_dict": source.state_dict(), "x": Evil(tmp_path / "ran")}, tmp_path / "bad.pth")
    assert "can run code" in refusal(tmp_path / "bad.pth")
    assert not (tmp_path / "ran").exists()
    torch.save({"state_dict": source.state_dict(), "args": Namespace(lr=1)}, tmp_path / "args.pth")
    assert "nothing but a state dict" in refusal(tmp_path / "args.pth")


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_a_folder_says_which_pixels_it_was_trained_on(source: ResNet, tmp_path: Path):
    torch.save(source.state_dict(), tmp_path / "plain.pth")
    save_frame_weights(tmp_path / "own", source)
    normalised = build_frame_encoder("resnet18", width=4, pixel_mean=IMAGENET[0], pixel_std=IMAGENET[1])
    save_frame_weights(tmp_path / "imagenet", normalised)
    for name in ("plain.pth", "own"):
        assert agreed_normalisation(tmp_path / name, None) is None
        assert agreed_normalisation(tmp_path / name, IMAGENET) == IMAGENET
    stored = agreed_normalisation(tmp_path / "imagenet", None)
    assert stored is not None
    assert np.allclose(stored, IMAGENET, atol=1e-7)
    assert agreed_normalisation(tmp_path / "imagenet", IMAGENET) == IMAGENET
    with pytest.raises(UserError, match=r"mean \[0.485, 0.456, 0.406\].*model.frame_mean is \[0.5, .*leave these two"):
        agreed_normalisation(tmp_path / "imagenet", ((0.5, 0.5, 0.5), IMAGENET[1]))
    assert [trained_here(tmp_path / name) for name in ("plain.pth", "own", "imagenet")] == [False, True, False]


def test_architectures_are_recognised():
    with torch.device("meta"):
        assert identify_frame_state(build_frame_encoder("resnet18").state_dict()) == ("resnet18", 64)
        assert identify_frame_state(build_frame_encoder("resnet50", width=16).state_dict()) == ("resnet50", 16)
    assert identify_frame_state({}) is None
