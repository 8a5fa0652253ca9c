from __future__ import annotations

import numpy as np
import pytest

from cacl.reports.heatmap import attention_map, confusion_map
from cacl.reports.scatter import HEIGHT, WIDTH, scatter


def test_a_square_is_as_dark_as_its_share_of_the_row():
    counts = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 6]])
    found = confusion_map(counts, ["a", "b", "c"], what="class")
    assert {(s.y, s.x): (s.strength, s.text) for s in found.squares} == {
        (0, 0): (0.75, "3"),
        (0, 1): (0.25, "1"),
        (2, 0): (0.25, "2"),
        (2, 2): (0.75, "6"),
    }
    assert found.squares[1].title == "class a taken for b: 1 of 4"
    assert found.names == ("a", "b", "c")


@pytest.mark.parametrize(("classes", "texts", "names"), [(9, True, True), (45, False, True), (101, False, False)])
def test_many_classes_lose_counts_then_names(classes, texts, names):
    counts = np.eye(classes, dtype=np.int64)
    found = confusion_map(counts, [f"class number {i} of many" for i in range(classes)], what="class")
    assert bool(found.squares[0].text) == texts
    assert bool(found.names[0]) == names
    assert all(len(name) <= 18 for name in found.names)
    assert len(found.squares) == classes


def test_attention_is_told_in_multiples_of_looking_everywhere_alike():
    names = ["CLS", "clip 1", "clip 2", "twin 1", "twin 2"]
    weights = np.full((5, 5), 0.2)
    weights[1] = [0.4, 0.1, 0.2, 0.2, 0.1]
    found = attention_map(weights, names)
    squares = {(s.y, s.x): s for s in found.squares}
    assert squares[1, 0].title == "clip 1 looks at CLS: 2.00 times"
    assert not squares[1, 0].below
    assert squares[1, 1].below
    assert squares[1, 0].strength == squares[1, 1].strength > 0.9  # twice and half are equally far from 1
    assert squares[2, 2].strength == 0
    assert found.parts == ((1, "clip"), (3, "twin"))
    assert found.names[0] == "CLS"


def test_matrices_of_another_size_are_refused():
    with pytest.raises(ValueError, match="counts for 3 names"):
        confusion_map(np.zeros((2, 2), np.int64), ["a", "b", "c"], what="class")
    with pytest.raises(ValueError, match="for 3 tokens"):
        attention_map(np.ones((2, 2)), ["CLS", "a", "b"])


def places(panel):
    return np.array([[float(v) for v in p.path[1:].split("m")[0].split()] for p in panel[2]])


def test_points_fill_their_box_upwards_and_classes_keep_their_colours():
    xy = np.array([[0.0, 0.0], [2.0, 1.0], [1.0, 4.0]])
    found = scatter({"a": xy, "b": -xy}, {"a": ("x", "y"), "b": ("x", "y")}, ["k", "m", "k"], ["1", "2", "3"])
    first = places(found.panels[0])
    np.testing.assert_allclose(first, [[14, HEIGHT - 14], [WIDTH - 14, 14 + 272 * 0.75], [WIDTH / 2, 14]], atol=0.06)
    np.testing.assert_allclose(places(found.panels[1]), [WIDTH, HEIGHT] - first, atol=0.11)
    assert [point.colour for point in found.panels[0][2]] == [0, 1, 0]
    assert [label for label, _, _ in found.legend] == ["k", "m"]
    assert found.panels[0][2][1].title == "m: 2"


def test_thousands_of_videos_are_thinned_and_labels_beyond_24_are_grey():
    count = 5000
    labels = [f"{i % 100:03}" for i in range(count)]
    found = scatter({"a": np.zeros((count, 2))}, {"a": ("x", "y")}, labels, labels)
    assert (found.shown, found.of) == (1000, 5000)
    assert len(found.legend) == 24
    assert len({(colour, mark) for _, colour, mark in found.legend}) == 24
    assert {point.colour is None for point in found.panels[0][2]} == {True, False}
