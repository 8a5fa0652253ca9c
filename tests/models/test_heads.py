"""The contrast heads: their layers and widths."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cacl.models.heads import contrast_head


def test_the_papers_contrast_head_is_one_linear_layer():
    head = contrast_head(1024, projection="linear")
    assert isinstance(head, nn.Linear)
    assert (head.in_features, head.out_features) == (1024, 128)
    assert head.bias is not None


@pytest.mark.parametrize(("features", "hidden"), [(64, 256), (1024, 1024)])
def test_the_two_layer_head(features, hidden):
    head = contrast_head(features, projection="mlp")
    assert [type(layer).__name__ for layer in head] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert head[0].weight.shape == (hidden, features)
    assert head(torch.randn(3, features)).shape == (3, 128)
