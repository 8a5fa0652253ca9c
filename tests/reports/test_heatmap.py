"""Matrices: rows are true, columns predicted; strong is much; every square says its numbers on hovering."""

from __future__ import annotations

import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.image import imread

from cacl.reports.figures import COLOURS, save_figure
from cacl.reports.heatmap import attention_figure, attention_svg, confusion_figure, confusion_svg


def squares(figure):
    """(row, column) -> (colour, opacity) of what is drawn in the first axes."""
    (drawn,) = [part for part in figure.axes[0].collections if isinstance(part, PolyCollection)]
    places = [tuple(np.round(path.vertices[:4].mean(axis=0)).astype(int)[::-1]) for path in drawn.get_paths()]
    return {place: (tuple(colour[:3]), colour[3]) for place, colour in zip(places, drawn.get_facecolor(), strict=True)}


def titles(svg):
    return [title.text for title in ElementTree.fromstring(svg).iter("title")]


def test_a_square_is_as_strong_as_its_share_of_the_row():
    counts = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 6]])
    figure = confusion_figure(counts, ["a", "b", "c"], what="class")
    strength = {place: opacity for place, (_, opacity) in squares(figure).items()}
    assert strength == {(0, 0): 0.75, (0, 1): 0.25, (2, 0): 0.25, (2, 2): 0.75}
    texts = {tuple(text.get_position()[::-1]): text.get_text() for text in figure.axes[0].texts}
    assert texts == {(0, 0): "3", (0, 1): "1", (2, 0): "2", (2, 2): "6"}
    axes = figure.axes[0]
    assert axes.yaxis_inverted()
    assert not axes.xaxis_inverted()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    svg = confusion_svg(counts, ["a", "b", "c"], what="class")
    assert titles(svg) == ["class a taken for a: 3 of 4", "class a taken for b: 1 of 4",
                           "class c taken for a: 2 of 8", "class c taken for c: 6 of 8"]  # fmt: skip


@pytest.mark.parametrize(("classes", "texts", "names"), [(9, True, True), (45, False, True), (120, False, False)])
def test_many_classes_lose_counts_then_names(classes, texts, names):
    names_K = [f"class number {i} of many" for i in range(classes)]
    axes = confusion_figure(np.eye(classes, dtype=np.int64), names_K, what="class").axes[0]
    assert bool(axes.texts) == texts
    assert bool(axes.get_xticklabels()) == names
    assert all(len(label.get_text()) <= 22 for label in axes.get_xticklabels())


def test_attention_is_shown_in_multiples_of_looking_everywhere_alike():
    names = ["CLS", "clip 1", "clip 2", "twin 1", "twin 2"]
    weights = np.full((5, 5), 0.2)
    weights[1] = [0.4, 0.1, 0.2, 0.2, 0.1]
    figure = attention_figure(weights, names)
    found = squares(figure)
    above, below = (tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)) for colour in COLOURS[:2])
    assert found[1, 0] == (pytest.approx(above), 1.0)  # twice and half are equally far from 1
    assert found[1, 1] == (pytest.approx(below), 1.0)
    assert (2, 2) not in found
    assert "clip 1 looks at CLS: 2.00 times" in titles(attention_svg(weights, names))
    rules = sorted(line.get_xdata()[0] for line in figure.axes[0].lines if len(set(line.get_xdata())) == 1)
    assert rules == [0.5, 2.5]  # before clip and twin
    assert [bar.get_height() for bar in figure.axes[1].patches] == [1.0] * 5  # the row of [CLS]


def test_matrices_of_another_size_are_refused():
    with pytest.raises(ValueError, match="counts for 3 names"):
        confusion_figure(np.zeros((2, 2), np.int64), ["a", "b", "c"], what="class")
    with pytest.raises(ValueError, match="for 3 tokens"):
        attention_figure(np.ones((2, 2)), ["CLS", "a", "b"])


def darkness(path):
    """Where the cells are dark blue: mean (row, column) in pixels."""
    pixels = imread(path)[..., :3]
    dark = (pixels[..., 2] > pixels[..., 0] + 0.25) & (pixels[..., 0] < 0.1)
    return [float(values.mean()) for values in np.nonzero(dark)]


def test_rows_are_true_and_columns_predicted(tmp_path):
    places = {}
    for row, column in ((0, 0), (0, 1), (1, 0)):
        counts = np.zeros((2, 2), np.int64)
        counts[row, column] = 3
        save_figure(confusion_figure(counts, ["left", "right"], what="class"), tmp_path / "c.png")
        places[row, column] = darkness(tmp_path / "c.png")
    assert places[0, 1][1] > places[0, 0][1] + 50  # predicted the second: to the right
    assert places[1, 0][0] > places[0, 0][0] + 50  # truly the second: below
    assert places[0, 1][0] == pytest.approx(places[0, 0][0], abs=5)


@pytest.mark.parametrize("count", [1, 9, 101, 150])
def test_any_number_of_classes_and_odd_names(tmp_path, count):
    names = [f"{'a $ long_name ' * 3}{k}" for k in range(count - 1)] + ["縄跳び"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = confusion_figure(np.eye(count, dtype=np.int64), names, what="class", heading="$ a % of _")
        save_figure(figure, tmp_path / "c.png")
    height, width = imread(tmp_path / "c.png").shape[:2]
    assert 300 < height < 3000
    assert 300 < width < 3000
    assert [p.name for p in tmp_path.iterdir()] == ["c.png"]
