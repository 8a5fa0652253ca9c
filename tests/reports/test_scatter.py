from __future__ import annotations

import re
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from cacl.evaluation.projection import Projection, project
from cacl.reports.figures import new_figure
from cacl.reports.scatter import draw_points, draw_scatter, scatter


def clouds():
    """Two groups of 18 in 20 dimensions."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(0, 1, (18, 20)), rng.normal(6, 1, (18, 20))]).astype(np.float32)


def test_points_lie_where_they_are_and_classes_keep_their_colours_in_all_pictures():
    xy = np.array([[0.0, 0.0], [2.0, 1.0], [1.0, 4.0]])
    axes = new_figure(4, 4).subplots()
    draw_points(axes, Projection(xy, ("x", "y")), ["k", "m", "k"], ["1", "2", "3"])
    first, second = axes.collections
    np.testing.assert_array_equal(first.get_offsets(), xy[[0, 2]])
    np.testing.assert_array_equal(second.get_offsets(), xy[[1]])
    assert not axes.yaxis_inverted()
    projections = {"a": Projection(xy, ("x", "y")), "b": Projection(-xy, ("x", "y"))}
    found = scatter(projections, ["k", "m", "k"], ["1", "2", "3"])
    assert [(label, number) for label, number, _ in found.legend] == [("k", 0), ("m", 1)]
    for _, svg in found.panels:
        marks = [mark for mark in ElementTree.fromstring(svg).iter() if mark.find("title") is not None]
        assert [mark.find("title").text for mark in marks] == ["k: 1", "k: 3", "m: 2"]
        colours = [re.search(r"--l\d", ElementTree.tostring(mark, "unicode"))[0] for mark in marks]
        assert colours == [
            "--l0", "--l0", "--l1"
        ]  # fmt: skip


def test_thousands_of_videos_are_thinned_and_labels_beyond_24_are_grey():
    count = 5000
    labels = [f"{i % 100:03}" for i in range(count)]
    found = scatter({"a": Projection(np.zeros((count, 2)), ("x", "y"))}, labels, labels)
    assert (found.shown, found.of) == (1000, 5000)
    assert len(found.legend) == 24
    assert len({(number, mark) for _, number, mark in found.legend}) == 24
    svg = found.panels[0][1]
    assert svg.count("<title>") == 1000
    assert "var(--bar)" in svg


@pytest.mark.parametrize(
    "labels",
    [
        ["a$b$c", "_hidden", "歩く"] * 12,
        [None] * 36,
        [f"class {i}" for i in range(36)],
        ["a", None, "b"] * 12,
        [None, "_", ""] * 12,
    ],
    ids=["odd names", "unlabelled", "many", "partly", "nearly empty"],
)
def test_pictures_are_drawn_whatever_the_labels(tmp_path, labels):
    found = project(clouds(), "pca")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_scatter({"untrained": found, "ca$cl": found}, labels, tmp_path / "f.png")
    assert min(Image.open(tmp_path / "f.png").size) > 500


def test_each_label_has_its_own_colour(tmp_path):
    points = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]])
    draw_scatter({"x": Projection(points, ("a", "b"))}, ["p", "q", "p", "q"], tmp_path / "f.png")
    pixels = np.asarray(Image.open(tmp_path / "f.png").convert("RGB")).reshape(-1, 3).astype(int)
    for colour in ([0, 114, 178], [213, 94, 0]):  # drawn with opacity .9 on white
        assert (np.abs(pixels - (0.9 * np.array(colour) + 25.5)).max(axis=1) < 3).sum() > 20
