from __future__ import annotations

import numpy as np
import pytest
import torch
from array_videos import clip_of, data_of

from cacl.errors import UserError
from cacl.evaluation.embed import pool_map, video_features


class Linear3D(torch.nn.Module):
    """A small network with BatchNorm; remembers the batches it saw."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv3d(3, 5, 3, stride=(2, 2, 2), padding=1)
        self.bn = torch.nn.BatchNorm3d(5)
        self.seen = []

    def forward_features(self, x):
        assert not self.training
        assert not torch.is_grad_enabled()
        self.seen.append(x.shape)
        return self.bn(self.conv(x))


def slow_feature(network, frames_THWC, *, size, clips, layer, mean=(0, 0, 0), std=(1, 1, 1)):
    """One clip, one frame, one pixel window at a time."""
    n, height, width, _ = frames_THWC.shape
    stride = 2 if n >= 31 else 1
    window = 15 * stride + 1
    starts = np.round(np.linspace(0, max(n - window, 0), clips)).astype(int)
    top, left = round((height - size) / 2), round((width - size) / 2)
    vectors = []
    for start in starts:
        frames = [frames_THWC[(start + stride * i) % n] for i in range(16)]
        crop = np.stack([f[top : top + size, left : left + size] for f in frames]) / 255
        crop = (crop - np.array(mean)) / np.array(std)
        x = torch.from_numpy(crop).float().permute(3, 0, 1, 2)[None]
        with torch.no_grad():
            map_DTHW = network.forward_features(x)[0].numpy()
        if layer == "mean":
            vectors.append(map_DTHW.mean((1, 2, 3)))
            continue
        depth, t, h, w = map_DTHW.shape
        pooled = np.zeros((depth, t, h // 2, w // 2))
        for i in range(h // 2):
            for j in range(w // 2):
                pooled[:, :, i, j] = map_DTHW[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((2, 3))
        vectors.append(pooled.ravel())
    return np.mean(vectors, axis=0)


@pytest.mark.parametrize("layer", ["max", "mean"])
@pytest.mark.parametrize("batch_size", [3, 7, 1000])
def test_feature_is_that_of_a_slow_transcription(make_videos, layer, batch_size):
    source, videos = make_videos(count=4, lengths=[40, 31, 20, 5])
    network = Linear3D().eval()
    found = video_features(network, data_of(source, videos), clip_of(14, layer=layer), clips=5, batch_size=batch_size)
    assert found.features.dtype == np.float32
    assert found.kept.tolist() == [0, 1, 2, 3]
    for frames, vector in zip(source.videos, found.features, strict=True):
        expected = slow_feature(network, frames, size=14, clips=5, layer=layer)
        np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_padded_clips_are_read(make_videos):
    """At N = 40 starts are 0 … 8 (a window of 32) and cut off to whole numbers; ours are 0 … 9 and rounded."""
    source, videos = make_videos(count=1, lengths=[40])
    read, original = [], source.read
    source.read = lambda video, indices: (read.append(indices.tolist()), original(video, indices))[1]
    for window, starts in (("padded", [0, 1, 3, 4, 6, 8]), ("fitted", [0, 2, 4, 5, 7, 9])):
        video_features(Linear3D(), data_of(source, videos), clip_of(14, window=window), clips=6)
        assert read.pop() == sorted({start + 2 * i for start in starts for i in range(16)})


def test_mean_and_std_are_applied(make_videos):
    source, videos = make_videos(count=1)
    network = Linear3D().eval()
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    found = video_features(network, data_of(source, videos), clip_of(14, pixel_mean=mean, pixel_std=std), clips=2)
    expected = slow_feature(network, source.videos[0], size=14, clips=2, layer="max", mean=mean, std=std)
    np.testing.assert_allclose(found.features[0], expected, atol=1e-4)


def test_a_broken_video_is_left_out_and_reported(make_videos):
    source, videos = make_videos(count=4, broken=(1,))
    found = video_features(Linear3D(), data_of(source, videos), clip_of(14), clips=2)
    assert found.kept.tolist() == [0, 2, 3]
    assert [(s.path, s.reason) for s in found.skipped] == [("v1.mp4", "broken in the middle")]
    assert len(found.features) == 3


def test_nothing_readable_is_a_user_error(make_videos):
    source, videos = make_videos(count=3, broken=(0, 1))
    with pytest.raises(UserError, match=r"None of 2 videos.*broken in the middle"):
        video_features(Linear3D(), data_of(source, videos[:2]), clip_of(14))


def test_a_subset_has_its_own_videos(make_videos):
    source, videos = make_videos(count=4)
    network = Linear3D()
    everything = video_features(network, data_of(source, videos), clip_of(14), clips=2)
    some = video_features(network, data_of(source, videos).subset([3, 1]), clip_of(14), clips=2)
    np.testing.assert_allclose(some.features, everything.features[[3, 1]], atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_network_is_restored(make_videos, training):
    source, videos = make_videos(count=1)
    network = Linear3D().train(training)
    video_features(network, data_of(source, videos), clip_of(14), clips=1)
    assert network.training is training


def test_batches_cross_video_boundaries_and_progress_counts(make_videos):
    source, videos = make_videos(count=5)
    network, done = Linear3D(), []
    video_features(network, data_of(source, videos), clip_of(14), clips=3, batch_size=4, progress=done.append)
    assert [shape[0] for shape in network.seen] == [4, 4, 4, 3]
    assert done == [1, 2, 3, 4, 5]


def test_retrieval_feature_has_9216_numbers_at_the_papers_size():
    assert pool_map(torch.zeros(1, 512, 2, 7, 7), "max").shape == (1, 512 * 2 * 3 * 3)
    assert pool_map(torch.zeros(1, 512, 2, 7, 7), "mean").shape == (1, 512)


def test_pooling_a_map_of_one_pixel_and_of_half_precision():
    one = torch.randn(2, 4, 2, 1, 1)
    assert torch.equal(pool_map(one, "max"), one.flatten(1))
    assert pool_map(one.bfloat16(), "mean").dtype == torch.float32


def test_a_crop_larger_than_the_frames_is_refused(make_videos):
    source, videos = make_videos(count=1)
    with pytest.raises(UserError):
        video_features(Linear3D(), data_of(source, videos), clip_of(21))
