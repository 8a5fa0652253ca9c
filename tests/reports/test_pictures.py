from __future__ import annotations

import base64
import warnings
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from array_videos import data_of
from PIL import Image

from cacl.evaluation.evaluate import Neighbours, pick_queries
from cacl.evaluation.retrieval import nearest
from cacl.reports.curves import draw_curves
from cacl.reports.neighbours import draw_neighbours, neighbour_rows
from cacl.reports.samples import Sample, draw_samples, samples_from
from cacl.reports.tiles import Tile, TileRow, film_strip, jpeg_uri, shrink


def test_queries_show_every_class_in_turn():
    labels = ["b"] * 5 + ["a"] * 3 + ["c"]
    picked = pick_queries(labels, 5)
    assert [labels[i] for i in picked] == ["a", "b", "c", "a", "b"]
    assert len(set(picked)) == 5
    assert sorted(pick_queries(labels, 100)) == list(range(9))


def test_more_classes_than_queries_are_spread():
    labels = [f"{i:03d}" for i in range(101)]
    assert [labels[i] for i in pick_queries(labels, 3)] == ["000", "050", "100"]


def test_videos_without_labels_are_spread_and_none_are_fine():
    assert pick_queries([None] * 100, 3) == [16, 50, 83]
    assert pick_queries([], 3) == []


def test_rows_hold_the_middle_frames_right_and_wrong(make_videos):
    source, videos = make_videos(count=6, broken=(4,))
    features = np.eye(6, dtype=np.float32)
    indices, similarity = nearest(features[:2], features[2:], 3)  # all equal: 0, 1, 2
    found = [Neighbours(q, tuple(indices[q] + 2), tuple(similarity[q])) for q in range(2)]
    rows = neighbour_rows(data_of(source, videos), found)
    assert [row.lead.caption for row in rows] == ["class 0", "class 1"]
    assert [[tile.right for tile in row.tiles] for row in rows] == [[True, False], [False, True]]  # 4 is broken
    np.testing.assert_array_equal(rows[0].tiles[0].image, source.videos[2][20])
    assert rows[0].tiles[0].title == "v2.mp4"


@pytest.mark.parametrize("label", ["a$b$c", "歩く", "<b>", "x" * 60])
def test_neighbours_are_drawn_whatever_the_names(make_videos, tmp_path, label):
    source, videos = make_videos(count=3)
    object.__setattr__(videos[1], "label", label)
    found = [Neighbours(q, (0, 1, 2), (1.0, 1.0, 1.0)) for q in range(3)]
    rows = neighbour_rows(data_of(source, videos), found)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw_neighbours(rows, tmp_path / "n.png")
    pixels = np.asarray(Image.open(tmp_path / "n.png").convert("RGB")).reshape(-1, 3).tolist()
    assert [0, 114, 178] in pixels  # right
    assert [213, 94, 0] in pixels  # wrong
    assert not draw_neighbours([], tmp_path / "none.png")


def test_samples_show_clip_twin_and_views(tmp_path):
    frames = np.arange(2 * 4 * 6 * 8 * 3, dtype=np.int64).reshape(2, 4, 6, 8, 3).astype(np.uint8)
    view = torch.full((2, 3, 4, 5, 5), 0.5)
    order = np.array([[0, 2, 1, 3], [3, 2, 1, 0]])
    samples = samples_from(
        {"clip": frames}, {"view q": view}, permutations_BT=order, notes=["degree 2", "degree 4"], names=["a$.mp4", "b"]
    )
    assert samples[0].title == "a$.mp4: degree 2, twin's frames in the order 0 2 1 3"
    strips = dict(samples[1].strips)
    assert list(strips) == ["clip", "twin", "view q"]
    np.testing.assert_array_equal(strips["twin"][:, :8], frames[1, 3])
    assert strips["clip"].shape == (6, 4 * 10 - 2, 3)
    assert set(np.unique(strips["view q"])) == {128, 255}
    assert draw_samples(samples, tmp_path / "s.png")
    assert Image.open(tmp_path / "s.png").width > 1000
    assert not draw_samples([], tmp_path / "none.png")


def test_samples_without_twins():
    (sample,) = samples_from({"clip": torch.zeros(1, 2, 4, 4, 3, dtype=torch.uint8)}, {})
    assert [name for name, _ in sample.strips] == ["clip"]
    assert sample.title == "clip 0"


def test_shrinking_keeps_sides_in_proportion_and_averages():
    frames = np.zeros((2, 8, 12, 3), np.uint8)
    frames[:, ::2] = 200
    small = shrink(frames, 4)
    assert small.shape == (2, 4, 6, 3)
    assert (small == 100).all()
    assert shrink(frames, 8) is frames


def test_a_strip_separates_frames_by_white():
    strip = film_strip(np.zeros((3, 2, 4, 3), np.uint8), gap=1)
    assert strip.shape == (2, 14, 3)
    assert (strip[:, [4, 9]] == 255).all()
    assert strip.sum() == 2 * 2 * 3 * 255


def test_an_image_as_data_decodes_to_itself():
    image = np.full((10, 12, 3), (200, 40, 90), np.uint8)
    head, data = jpeg_uri(image).split(",")
    assert head == "data:image/jpeg;base64"
    assert np.abs(simplejpeg.decode_jpeg(base64.b64decode(data)).astype(int) - image).max() <= 3


IMAGE = np.zeros((8, 8, 3), np.uint8)
DRAWN = {
    "curves": lambda path: draw_curves([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}], path, ()),
    "neighbours": lambda path: draw_neighbours([TileRow((Tile(IMAGE, "b"),), lead=Tile(IMAGE, "a"))], path),
    "samples": lambda path: draw_samples([Sample("a", (("clip", IMAGE),))], path),
}


@pytest.mark.parametrize("what", DRAWN)
def test_a_picture_is_replaced_whole_or_not_at_all(what, tmp_path, monkeypatch):
    """Each was once written in its place, where a kill left half of it."""
    path = tmp_path / "picture.png"
    path.write_text("the old one")

    def dies(self, file, **rest):
        Path(file).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", dies)
    with pytest.raises(KeyboardInterrupt):
        DRAWN[what](path)
    assert path.read_text() == "the old one"
