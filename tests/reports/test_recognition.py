from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from cacl.reports.recognition import recognition_view


def results():
    def row(one, every):
        return {
            "1": {"top-1": one, "top-5": 90.0, "mean class": one},
            "all": {"top-1": every, "top-5": 99.0, "mean class": every},
        }

    return {
        "recognition": {"fine-tuned": row(20.0, 80.0), "linear probe": row(30.0, 60.02), "k-NN": row(30.04, 50.0)},
        "standard deviation": {"linear probe": {"1": {"top-1": 4.0}}},
        "chance": 10.0,
        "classes": [f"c{i}" for i in range(10)],
        "per class": {"c0": 10.0, "c1": 90.0},
        "notes": ["doubtful"],
        "parts": [
            {"labels": "all", "split": 1, "draw": 0, "train videos": 40, "test videos": 20},
            {"labels": "all", "split": 2, "draw": 0, "train videos": 40, "test videos": 20},
            {"labels": "1", "split": 1, "draw": 0, "train videos": 10, "test videos": 20},
        ],
    }


def test_the_ways_of_telling_stand_in_order_with_chance_first_and_the_main_one_last():
    found = recognition_view(results(), np.eye(10, dtype=np.int64))
    assert found is not None
    assert [row.name for row in found.rows] == ["chance", "k-NN", "linear probe", "fine-tuned"]
    assert [row.trained for row in found.rows] == [False, False, False, True]
    assert found.columns == ("top-1", "top-5", "mean class")
    assert [row.cells["top-1"].value for row in found.rows] == [10.0, 50.0, 60.02, 80.0]
    assert [row.cells["top-1"].best for row in found.rows] == [False, False, False, True]
    assert [row.cells["top-5"].value for row in found.rows] == [50.0, 99.0, 99.0, 99.0]
    assert [row.cells["top-5"].best for row in found.rows] == [False, True, True, True]  # ties
    assert found.classes == [("c1", 90.0), ("c0", 10.0)]
    assert found.confusion is not None
    assert found.seen == "40 training and 20 test videos; mean ± standard deviation over 2 splits"


def test_few_labels_are_a_table_and_a_chart():
    found = recognition_view(results())
    assert found is not None
    assert [row.name for row in found.few] == ["1", "all"]
    assert {name: cell.best for name, cell in found.few[0].cells.items()} == {
        "k-NN": True, "linear probe": True, "fine-tuned": False,  # 30.04 and 30.0 print the same
    }  # fmt: skip
    assert found.few[0].cells["linear probe"].spread == 4.0
    assert found.chart is not None
    root = ElementTree.fromstring(found.chart.svg)
    words = [text.text for text in root.iter("text")]
    assert {"1", "all", "chance"} <= set(words)
    assert [(name, last) for name, _, last in found.chart.legend] == [
        (name, f"{value:.1f}\N{NARROW NO-BREAK SPACE}%")
        for name, value in (("k-NN", 50.0), ("linear probe", 60.02), ("fine-tuned", 80.0))
    ]
    drawn = {}
    for path in root.iter("path"):
        for number, name in enumerate(("fine-tuned", "linear probe", "k-NN")):
            if f"var(--l{number})" in path.get("style", ""):
                drawn.setdefault(name, []).append([float(v) for v in re.findall(r"[\d.]+", path.get("d"))])
    lines = {name: max(found, key=lambda points: points[2] - points[0])[1::2] for name, found in drawn.items()}
    heights = np.array([lines["k-NN"], lines["linear probe"], lines["fine-tuned"]])
    np.testing.assert_allclose(  # proportional to the numbers, downwards
        (heights[0, 0] - heights[0, 1]) / (heights[2, 0] - heights[2, 1]), (50.0 - 30.04) / (80.0 - 20.0), atol=0.01
    )
    strokes = [p for p in drawn["linear probe"] if p[0] == p[2] and p[1] != p[3]]  # upright, of the spread
    assert len(strokes) == 1
    assert not [p for p in drawn["k-NN"] if p[0] == p[2] and p[1] != p[3]]


def test_a_linear_probe_alone_is_the_main_one_and_few_classes_have_no_top_5():
    data = results()
    del data["recognition"]["fine-tuned"]
    data["classes"] = ["a", "b"]
    for row in data["recognition"].values():
        row.pop("1")
    found = recognition_view(data, np.eye(10, dtype=np.int64))
    assert found is not None
    assert [row.name for row in found.rows if row.trained] == ["linear probe"]
    assert found.columns == ("top-1", "mean class")
    assert found.few == []
    assert found.chart is None
    assert found.confusion is None  # not of these classes


@pytest.mark.parametrize("data", [{}, {"recognition": {}}, {"retrieval": {"cacl": {"R@1": 3.0}}}])
def test_nothing_was_told(data):
    assert recognition_view(data) is None
