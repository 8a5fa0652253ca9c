from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import torch
from PIL import Image

from cacl.evaluation.attention import AttentionMap, choose_clips, mean_attention, mean_distance, write_attention
from cacl.methods.cacl import CACL
from cacl.methods.contract import MethodBatch
from cacl.models.cnn3d import build_cnn3d
from cacl.models.frame_encoder import build_frame_encoder
from cacl.models.transformer import VideoTransformer
from cacl.reports.figures import save_figure
from cacl.reports.heatmap import attention_figure

T = 4


def small_method(twin=True):
    torch.manual_seed(0)
    transformer = VideoTransformer(16, frames=T, clips=2 if twin else 1, width=12, depth=2, heads=3)
    with torch.no_grad():
        transformer.pos_embed.normal_()  # at its start all attention is nearly uniform
    frame_encoder = build_frame_encoder("resnet18", width=2)
    weight = 1.0 if twin else 0.0
    return CACL(
        build_cnn3d("r3d10", width=4), transformer, frame_encoder, frames=T, twin=twin, degree_weight=weight
    ).eval()


def batch_of(size, seed):
    random = torch.Generator().manual_seed(seed)
    views = tuple(torch.rand(size, 3, T, 32, 32, generator=random) for _ in range(2))
    permutation = torch.stack([torch.randperm(T, generator=random) for _ in range(size)])
    return MethodBatch(views, {"permutation": permutation}, torch.arange(size), torch.zeros(size, 512))


def softmax_by_hand(method, x_CTHW, order):
    """First-layer attention of one clip from the layer's own weights, averaged over heads."""
    transformer, width, heads = method.transformer, 12, 3
    weights = {name: value.double() for name, value in transformer.state_dict().items()}
    features = [method.frame_encoder(x_CTHW[None, :, t])[0].double() for t in range(T)]
    sequence = [features[t] for t in range(T)] + ([] if order is None else [features[int(t)] for t in order])
    rows = [weights["cls_token"][0, 0]]
    rows += [weights["frame_embed.weight"] @ f + weights["frame_embed.bias"] for f in sequence]
    total = np.zeros((len(rows), len(rows)))
    normal = []
    for place, row in enumerate(rows):
        y = row + weights["pos_embed"][0, place]
        y = (y - y.mean()) / torch.sqrt(((y - y.mean()) ** 2).mean() + 1e-5)
        y = y * weights["blocks.0.norm1.weight"] + weights["blocks.0.norm1.bias"]
        normal.append(weights["blocks.0.attn.qkv.weight"] @ y)
    size = width // heads
    for head in range(heads):
        for i, looking in enumerate(normal):
            q = looking[head * size : (head + 1) * size]
            keys = [other[width + head * size : width + (head + 1) * size] for other in normal]
            scores = [math.exp(float(q @ k) / math.sqrt(size)) for k in keys]
            total[i] += np.array(scores) / sum(scores) / heads
    return total


@pytest.mark.parametrize("twin", [True, False])
@torch.no_grad()
def test_the_map_is_the_mean_of_softmaxes_by_hand(twin):
    method = small_method(twin)
    batches = [batch_of(3, 1), batch_of(3, 2)]
    found = mean_attention(method, iter(batches), clips=4)
    expected = []
    for batch, rows in ((batches[0], range(3)), (batches[1], range(1))):
        for row in rows:
            order = batch.targets["permutation"][row] if twin else None
            expected.append(softmax_by_hand(method, batch.views[0][row], order))
    np.testing.assert_allclose(found.weights, np.mean(expected, axis=0), atol=1e-6)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, atol=1e-6)
    assert found.clips == 4
    assert found.weights.std() > 0.01  # not uniform, so that the comparison says something
    assert found.names == ["CLS", *(f"{part} {t}" for part in ("clip", "twin")[: 1 + twin] for t in (1, 2, 3, 4))]


def test_fewer_clips_than_asked_for_are_counted():
    assert mean_attention(small_method(), [batch_of(2, 0)]).clips == 2


def test_a_method_without_transformer_is_refused():
    method = CACL(build_cnn3d("r3d10", width=4), None, None, frames=T, pairs=("gq_gk",))
    with pytest.raises(ValueError, match="no video transformer"):
        mean_attention(method, [batch_of(1, 0)])


def test_distances_by_hand():
    assert mean_distance(np.eye(5)) == 0
    assert mean_distance(np.ones((16, 16))) == pytest.approx((16**2 - 1) / (3 * 16))
    assert mean_distance(np.array([[0, 0, 2.0], [0, 0, 5.0], [1.0, 0, 0]])) == pytest.approx((2 + 1 + 2) / 3)


def test_numbers_by_hand():
    """Every frame token gives half to [CLS], a quarter each to the first frame of clip and twin."""
    weights = np.zeros((9, 9))
    weights[:, 0], weights[:, 1], weights[:, 5] = 0.5, 0.25, 0.25
    numbers = AttentionMap(weights, T, 3).numbers()
    assert numbers["distance"] == pytest.approx((0 + 1 + 2 + 3) / 4)
    assert numbers["distance, uniform"] == pytest.approx(1.25)
    assert numbers["ends"] == pytest.approx(2)  # the mean of first and last is T / 2 times the mean of all
    assert numbers["quadrants"] == pytest.approx({"CLS": 0.5, "own": 0.25, "other": 0.25})
    uniform = AttentionMap(np.full((5, 5), 0.2), T, 3).numbers()
    assert uniform["ends"] == pytest.approx(1)
    assert uniform["quadrants"] == pytest.approx({"CLS": 0.2, "own": 0.8})


@pytest.mark.parametrize("size", [9, 5])
def test_table_numbers_and_picture_say_the_same(tmp_path, size):
    weights = np.random.default_rng(0).dirichlet(np.ones(size), size)
    weights[0, 0] = 0  # as good as never: must not break the logarithmic colours
    attention = AttentionMap(weights, T, 50)
    write_attention(attention, tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "attention.npy"), weights)
    rows = list(csv.reader((tmp_path / "attention.csv").open()))
    assert rows[0][1:] == [row[0] for row in rows[1:]] == attention.names
    np.testing.assert_allclose(np.array([row[1:] for row in rows[1:]], float), weights, rtol=1e-6)
    save_figure(attention_figure(weights, attention.names), tmp_path / "attention.png")
    assert min(Image.open(tmp_path / "attention.png").size) > 500
    assert len(list(tmp_path.iterdir())) == 3


def test_random_clips_come_from_as_many_videos_as_there_are():
    chosen, draws = choose_clips(200, np.random.default_rng(0))
    assert (len(set(chosen)), draws) == (50, 1)
    assert max(chosen) < 200
    chosen, draws = choose_clips(3, np.random.default_rng(0))
    assert (sorted(chosen), draws) == ([0, 1, 2], 17)
