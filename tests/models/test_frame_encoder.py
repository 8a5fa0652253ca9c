"""The ResNets against a slow literal transcription, their names and their sizes."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cacl.models.frame_encoder import build_frame_encoder

Name = Literal["resnet18", "resnet50"]
BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}


def literal_resnet(w: dict[str, Tensor], x: Tensor, name: Name) -> Tensor:
    """He et al. 2016 table 1, one operation a line, from the names that all published weights have."""

    def bn(x: Tensor, key: str) -> Tensor:
        mean, var = w[f"{key}.running_mean"].view(1, -1, 1, 1), w[f"{key}.running_var"].view(1, -1, 1, 1)
        scale, shift = w[f"{key}.weight"].view(1, -1, 1, 1), w[f"{key}.bias"].view(1, -1, 1, 1)
        return (x - mean) / torch.sqrt(var + 1e-5) * scale + shift

    x = torch.relu(bn(F.conv2d(x, w["conv1.weight"], stride=2, padding=3), "bn1"))
    x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
    for stage in (1, 2, 3, 4):
        for block in range(BLOCKS[name][stage - 1]):
            key = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            strides, paddings = ([1, stride, 1], [0, 1, 0]) if name == "resnet50" else ([stride, 1], [1, 1])
            y = x
            for i, (s, p) in enumerate(zip(strides, paddings, strict=True), 1):
                y = bn(F.conv2d(y, w[f"{key}.conv{i}.weight"], stride=s, padding=p), f"{key}.bn{i}")
                y = torch.relu(y) if i < len(strides) else y
            if f"{key}.downsample.0.weight" in w:
                x = bn(F.conv2d(x, w[f"{key}.downsample.0.weight"], stride=stride), f"{key}.downsample.1")
            x = torch.relu(x + y)
    return x.flatten(2).mean(2)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("size", [32, 56, 75])
def test_equals_a_literal_transcription(name: Name, size: int):
    torch.manual_seed(0)
    model = build_frame_encoder(name, width=8).double()
    for key, value in model.state_dict().items():
        if "running_var" in key or ("bn" in key and key.endswith("weight")):
            value.uniform_(0.5, 1.5)
        elif "running_mean" in key or key.endswith("bias"):
            value.normal_(0, 0.1)
    model.eval()
    x = torch.rand(3, 3, size, size, dtype=torch.float64)
    expected = literal_resnet(model.state_dict(), x, name)
    torch.testing.assert_close(model(x), expected, rtol=1e-9, atol=1e-9)
    assert expected.shape == (3, model.num_features)


@pytest.mark.parametrize(
    ("name", "published", "classifier"), [("resnet18", 11_689_512, 512), ("resnet50", 25_557_032, 2048)]
)
def test_parameters_are_the_published_count_less_the_classifier(name: Name, published: int, classifier: int):
    with torch.device("meta"):
        model = build_frame_encoder(name)
    assert sum(p.numel() for p in model.parameters()) == published - 1000 * (classifier + 1)
    assert model.num_features == classifier


def test_names_are_those_of_published_weights():
    names = list(build_frame_encoder("resnet50", width=1).state_dict())
    of_bn1 = [f"bn1.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]
    assert names[:7] == ["conv1.weight", *of_bn1, "layer1.0.conv1.weight"]
    assert {"layer1.0.downsample.0.weight", "layer1.0.downsample.1.running_var", "layer3.5.conv3.weight"} <= set(names)
    assert "layer1.1.downsample.0.weight" not in names
    assert not any(name.startswith("fc") or "pixel" in name for name in names)
    assert len(names) == 320 - 2  # the published file has 320 entries, two of them the classifier's
    assert "layer1.0.downsample.0.weight" not in build_frame_encoder("resnet18", width=1).state_dict()


def test_pixel_normalisation_is_applied_first():
    torch.manual_seed(0)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    model = build_frame_encoder("resnet18", width=4, pixel_mean=mean, pixel_std=std).eval()
    plain = build_frame_encoder("resnet18", width=4).eval()
    plain.load_state_dict(model.state_dict())
    x = torch.rand(2, 3, 32, 32)
    by_hand = torch.stack([(x[:, c] - mean[c]) / std[c] for c in range(3)], 1)
    torch.testing.assert_close(model(x), plain(by_hand))
    with pytest.raises(ValueError, match="go together"):
        build_frame_encoder("resnet18", pixel_mean=mean)
