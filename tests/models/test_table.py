"""The tables of docs/models.md hold: parameters and shapes, computed from the models themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from cacl.models.cnn3d import CNN3DName, build_cnn3d
from cacl.models.encoder import pool_map
from cacl.models.frame_encoder import FrameEncoderName, build_frame_encoder
from cacl.models.transformer import VideoTransformer

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def rows(first_heading: str) -> list[list[str]]:
    """Cells of the table whose first column has this heading."""
    lines = PAGE.split(f"| {first_heading} |", 1)[1].splitlines()[2:]
    table = []
    for line in lines:
        if not line.startswith("|"):
            break
        table.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    return table


def parameters(model: nn.Module) -> str:
    return f"{sum(p.numel() for p in model.parameters()):,}".replace(",", " ")


def shape(x: torch.Tensor) -> str:
    return "x".join(str(n) for n in x.shape[1:])


@pytest.mark.parametrize("row", rows("3D CNN"), ids=" ".join)
def test_3d_networks(row: list[str]):
    name, width, count, clip, map_shape, mean, maximum = row
    side = int(clip.split("x")[-1])
    with torch.device("meta"):
        model = build_cnn3d(name, width=int(width)).eval()
        map_BDTHW = model.forward_features(torch.empty(1, 3, 16, side, side))
        found = [parameters(model), shape(map_BDTHW)]
        found += [str(pool_map(map_BDTHW, "mean").shape[1]), str(pool_map(map_BDTHW, "max").shape[1])]
        assert model(torch.empty(1, 3, 16, side, side)).shape == (1, model.num_features)
    assert found == [count, map_shape, mean, maximum]
    assert int(mean) == model.num_features


@pytest.mark.parametrize("row", rows("frame encoder"), ids=" ".join)
def test_frame_encoders(row: list[str]):
    name, width, count, features = row
    with torch.device("meta"):
        model = build_frame_encoder(name, width=int(width)).eval()
        found = {shape(model(torch.empty(2, 3, side, side))) for side in (56, 112)}
    assert [parameters(model), found] == [count, {features}]


@pytest.mark.parametrize("row", rows("video transformer"), ids=" ".join)
def test_transformers(row: list[str]):
    _, features, width, depth, heads, tokens, count, out = row
    with torch.device("meta"):
        model = VideoTransformer(int(features), width=int(width), depth=int(depth), heads=int(heads))
        embedding = model(model.embed(torch.empty(1, model.tokens, int(features))))
    assert [parameters(model), shape(embedding), str(1 + model.tokens)] == [count, out, tokens]


def test_every_model_is_in_the_table():
    assert {row[0] for row in rows("3D CNN")} == set(CNN3DName.__args__)
    assert {row[0] for row in rows("frame encoder")} == set(FrameEncoderName.__args__)


def test_numbers_in_the_text_are_those_of_the_table():
    counts = {row[0]: int(row[2].replace(" ", "")) for row in rows("frame encoder") if row[1] == "64"}
    for name, millions in re.findall(r"(resnet\d+)\D+?([\d.]+) M", PAGE):
        assert f"{counts[name] / 1e6:.2f}" == millions
