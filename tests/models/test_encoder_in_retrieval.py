"""The encoder and retrieval compute the same feature from the same frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from array_videos import data_of

from cacl.data.videos.catalog import Video
from cacl.evaluation.embed import video_features
from cacl.models.encoder import ClipSpec, Encoder


class InMemory:
    """Frames of some videos, as a store would give them."""

    height, width = 40, 52

    def __init__(self, videos: list[np.ndarray]) -> None:
        self.videos = videos

    def read(self, video: int, indices: np.ndarray) -> np.ndarray:
        return self.videos[video][indices]


@pytest.mark.parametrize("layer", ["max", "mean"])
def test_the_same_feature_as_in_retrieval(layer: str):
    """One clip a video: what evaluation computes from a store is what the encoder gives for the same frames."""
    torch.manual_seed(0)
    clip = ClipSpec(resize=(40, 52), size=32, layer=layer)
    encoder = Encoder("r3d10", width=2, clip=clip).eval()
    frames = list(np.random.default_rng(0).integers(0, 256, (2, 31, 40, 52, 3), dtype=np.uint8))
    videos = [Video(f"{i}.mp4", str(i), None, None, 31, 25.0, 52, 40) for i in range(2)]
    found = video_features(encoder.network, data_of(InMemory(frames), videos), clip, clips=1)
    with torch.no_grad():
        expected = encoder(np.stack([f[::2] for f in frames])).numpy()
    np.testing.assert_allclose(found.features, expected, rtol=1e-5, atol=1e-6)
