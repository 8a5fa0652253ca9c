"""Encoders are loaded in the layout that processors are fast in: the same features, the same files."""

from __future__ import annotations

import pytest
import torch

from cacl.models.encoder import ClipSpec, Encoder


@pytest.mark.parametrize("name", ["r3d10", "c3d", "r2plus1d10"])
def test_the_layout_in_which_an_encoder_is_loaded_changes_no_feature(name, tmp_path):
    torch.manual_seed(0)
    made = Encoder(name, width=4, clip=ClipSpec(frames=16, size=32, resize=(36, 44))).eval()
    made.save(tmp_path / "e")
    loaded = Encoder.load(tmp_path / "e")
    assert all(weight.stride(1) == 1 for weight in loaded.network.parameters() if weight.ndim == 5)
    clips = torch.rand(3, 3, 16, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(clips), made(clips), rtol=1e-4, atol=1e-5)
    assert loaded.digest() == made.digest()
    loaded.save(tmp_path / "again")
    again, weights = (tmp_path / "again" / "model.safetensors"), (tmp_path / "e" / "model.safetensors")
    assert again.read_bytes() == weights.read_bytes()
