from __future__ import annotations

import numpy as np
import pytest
import torch
from array_videos import data_of

from cacl.data.randomness import generator
from cacl.errors import UserError
from cacl.evaluation.method_views import drawn_views
from cacl.methods.cacl import CACL
from cacl.methods.contract import MethodBatch
from cacl.models.cnn3d import build_cnn3d
from cacl.models.frame_encoder import build_frame_encoder
from cacl.models.transformer import VideoTransformer

PAIRS = ("gq_gk", "gq_tq", "gq_tk", "tq_tk")


def small_method(*, twin=True, pairs=PAIRS, **settings):
    torch.manual_seed(0)
    wanted = any("t" in pair for pair in pairs)
    frame_encoder = build_frame_encoder("resnet18", width=4) if wanted else None
    transformer = VideoTransformer(32, clips=2 if twin else 1, width=12, depth=1, heads=3) if wanted else None
    network = build_cnn3d("r3d10", width=4)
    method = CACL(network, transformer, frame_encoder, twin=twin, pairs=pairs, queue_size=4, **settings).eval()
    with torch.no_grad():  # copies that differ, so that taking one for the other shows
        for copied in (method.key, method.key_transformer):
            for parameter in [] if copied is None else copied.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return method


def as_views(batch):
    """Both views are the clip itself, the second a little darker; nothing is drawn."""
    x = batch.clips[0].permute(0, 4, 1, 2, 3).float() / 255
    return MethodBatch((x, 0.8 * x), batch.targets, batch.video, torch.zeros(len(x), 512))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"key_order": "swapped"},
        {"twin": False, "degree_weight": 0.0},
        {"standardise": "motion", "one_pass": True},
        {"pairs": ("gq_gk",)},
        {"pairs": ("gq_gk", "gq_tq")},
    ],
    ids=str,
)
def test_embeddings_are_those_of_the_method_s_own_step(make_videos, settings):
    """``forward`` logs the mean similarity of each pair and hands out the keys: both must come out the same."""
    method = small_method(**settings)
    source, videos = make_videos(count=5, height=32, width=32)
    (batch,) = drawn_views(method, as_views, data_of(source, videos), draws=1, seed=3, skipped=[])
    found = method.embeddings(batch)
    with torch.no_grad():
        step = method(batch)
    similarities = {name: float(value) for name, value in step.metrics.items() if name.startswith("similarity_")}
    similarities.pop("similarity_negatives")
    assert similarities
    for name, value in similarities.items():
        a, b = name.removeprefix("similarity_").split("_")
        assert float((found[a] * found[b]).sum(dim=1).mean()) == pytest.approx(value, abs=1e-6)
    assert set(step.state) == set(found) & {"gk", "tk"}
    for name, keys in step.state.items():
        torch.testing.assert_close(found[name], keys)
    assert all(vectors.shape == (5, 128) for vectors in found.values())


def test_batches_hold_the_planned_frames_whatever_their_size(make_videos):
    method = small_method(pairs=("gq_gk",), moments=2)
    source, videos = make_videos(count=4, height=8, width=8, broken=(1,))
    seen = {}

    def record(batch):
        for row, sample in enumerate(batch.sample.tolist()):
            seen[sample] = [clip[row].numpy() for clip in batch.clips], batch.targets["permutation"][row].numpy()
        return as_views(batch)

    skipped = []
    batches = list(
        drawn_views(method, record, data_of(source, videos), draws=3, seed=5, skipped=skipped, batch_size=4, threads=3)
    )
    assert [len(batch.video) for batch in batches] == [4, 4, 1]
    assert torch.cat([batch.video for batch in batches]).tolist() == [0, 0, 0, 2, 2, 2, 3, 3, 3]
    assert [bad.path for bad in skipped] == ["v1.mp4"]
    for sample, (frames, permutation) in seen.items():
        position, draw = divmod(sample, 3)
        plan = method.plan(40, generator(5, "analysis", position, draw))
        assert len(frames) == len(plan.clips) == 2
        for read, clip in zip(frames, plan.clips, strict=True):
            np.testing.assert_array_equal(read, source.videos[position][clip])
        np.testing.assert_array_equal(permutation, plan.targets["permutation"])


def test_videos_shorter_than_the_start_window_are_left_out(make_videos):
    method = small_method(pairs=("gq_gk",), start_window=46)
    source, videos = make_videos(count=2, lengths=[50, 40], height=8, width=8)
    skipped = []
    (batch,) = drawn_views(method, as_views, data_of(source, videos), draws=2, seed=0, skipped=skipped)
    assert batch.video.tolist() == [0, 0]
    assert "start_window is 46" in skipped[0].reason
    with pytest.raises(UserError, match="None of 1 videos"):
        list(drawn_views(method, as_views, data_of(source, videos).subset([1]), draws=2, seed=0, skipped=[]))
