"""Tiny methods and batches: width 4, clips of 16x32x32, token width 12, keys of 128."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cacl.data.clips.shuffle import degree_class, shuffle_degree, uniform_permutation
from cacl.methods.cacl import CACL
from cacl.methods.contract import MethodBatch
from cacl.models.cnn3d import build_cnn3d
from cacl.models.frame_encoder import build_frame_encoder
from cacl.models.transformer import VideoTransformer

FRAMES, SIDE = 16, 32


def tiny_method(*, seed=0, network="r3d10", queue_size=24, queue_videos=(), **settings) -> CACL:
    """CACL with every part as small as it goes; ``queue_videos`` says which videos the first keys are from."""
    torch.manual_seed(seed)
    frame_encoder = build_frame_encoder("resnet18", width=4)
    clips = 2 if settings.get("twin", True) else 1
    transformer = VideoTransformer(32, frames=FRAMES, clips=clips, width=12, depth=2, heads=3)
    pairs = settings.get("pairs", ("gq_gk", "gq_tq", "gq_tk", "tq_tk"))
    wanted = any("t" in pair for pair in pairs)
    method = CACL(
        build_cnn3d(network, width=4),
        transformer if wanted else None,
        frame_encoder if wanted else None,
        queue_size=queue_size,
        **{"degree_hidden": 10, **settings},
    )
    with torch.no_grad():  # copies that differ from what they copy, so that mixing them up shows
        for copied in (method.key, method.key_transformer):
            for parameter in [] if copied is None else copied.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter) * parameter.std(correction=0))
        if method.queue is not None:
            method.queue.videos[: len(queue_videos)] = torch.tensor(queue_videos, dtype=torch.int64)
    return method


def tiny_batch(size=4, *, uniforms=20, videos=None, seed=1) -> MethodBatch:
    """Two views of noise with a different brightness a clip, shuffles, and random numbers."""
    rng = np.random.default_rng(seed)
    base = rng.random((size, 1, 1, 1, 1)) + 0.5 * rng.random((size, 3, FRAMES, SIDE, SIDE))
    views = [torch.from_numpy(base + 0.2 * rng.random(base.shape)).float() for _ in range(2)]
    permutations = np.stack([uniform_permutation(FRAMES, rng) for _ in range(size)])
    degrees = [degree_class(shuffle_degree(permutation)) for permutation in permutations]
    return MethodBatch(
        tuple(views),
        {"permutation": torch.from_numpy(permutations), "degree": torch.tensor(degrees)},
        torch.tensor(range(size) if videos is None else videos),
        torch.from_numpy(rng.random((size, uniforms))).float(),
    )


@pytest.fixture
def make_method():
    return tiny_method


@pytest.fixture
def make_batch():
    return tiny_batch
