"""The picture: rows are true, columns predicted, dark is much; it can be drawn for any number of classes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from matplotlib.image import imread

from cacl.reports.confusion import draw_confusion


def darkness(path):
    """Where the cells are dark blue: mean (row, column) in pixels."""
    pixels = imread(path)[..., :3]
    dark = (pixels[..., 2] > pixels[..., 0] + 0.25) & (pixels[..., 0] < 0.1)
    dark[:, int(dark.shape[1] * 0.78) :] = False  # the scale beside it
    return [float(values.mean()) for values in np.nonzero(dark)]


def test_rows_are_true_and_columns_predicted(tmp_path):
    places = {}
    for row, column in ((0, 0), (0, 1), (1, 0)):
        counts = np.zeros((2, 2), np.int64)
        counts[row, column] = 3
        draw_confusion(counts, ["left", "right"], tmp_path / "c.png")
        places[row, column] = darkness(tmp_path / "c.png")
    assert places[0, 1][1] > places[0, 0][1] + 50  # predicted the second: to the right
    assert places[1, 0][0] > places[0, 0][0] + 50  # truly the second: below
    assert places[0, 1][0] == pytest.approx(places[0, 0][0], abs=5)


@pytest.mark.parametrize("count", [1, 9, 101, 150])
def test_any_number_of_classes_and_odd_names(tmp_path, count):
    names = [f"{'a $ long_name ' * 3}{k}" for k in range(count - 1)] + ["縄跳び"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_confusion(np.eye(count, dtype=np.int64), names, tmp_path / "c.png", title="$ a % of _")
    height, width = imread(tmp_path / "c.png").shape[:2]
    assert 300 < height < 3000
    assert 300 < width < 3000
    assert [p.name for p in tmp_path.iterdir()] == ["c.png"]
