"""An analysis on the page: its numbers, and that damaged files cost their own part only."""

from __future__ import annotations

import json
import re

import pytest

from cacl.reports.analysis import read_analysis

PAIR = {"mean": 0.5, "deviation": 0.25, "unrelated mean": 0.0, "unrelated deviation": 0.5}


def content():
    return {
        "about": {"steps": 7, "videos": "gulls", "tested on": "the test part", "test videos": 3, "trained on": 2},
        "left out": {"attention": "v-moco has no video transformer"},
        "similarity": {"pairs": {"gq_gk": PAIR, "tq_tk": {"mean": 0.9, "deviation": 0.05}}, "clips": 6, "videos": 3},
        "degree": {
            "degrees": [0, 2, 3],
            "counts": [[4, 0, 0], [1, 2, 1], [0, 0, 2]],
            "pairs": 10,
            "within one degree": 90.0,
            "mean error": 0.3,
            "error of one answer": 1.1,
        },
        "features": {"projection": "pca", "videos": 3, "axes": {"cacl": ["PCA 1", "PCA 2"]}},
        "probes": {
            "arrow of time": {
                "chance": 50.0,
                "classes": ["forwards", "backwards"],
                "rows": {
                    "frame differences": {"accuracy": 50.0, "standard error": 0.0},
                    "untrained": {"accuracy": 55.0, "standard error": 1.5},
                    "v-moco": {"accuracy": 71.0, "standard error": None},
                },
                "test videos": 3,
            },
            "skipped": {"a.mp4": "broken"},
        },
    }


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(content()))
    (tmp_path / "features.csv").write_text("path,label,cacl 1,cacl 2\na.mp4,x,0,0\nb.mp4,,1,1\nc.mp4,x,2,0\n")
    return tmp_path


def test_the_numbers_of_each_part(folder):
    found = read_analysis(folder, steps=7)
    assert found is not None
    assert found.stale == ""
    assert re.findall("<title>(.*?)</title>", found.similarity or "") == [
        "Gq, Gk, positive clips: 0.500 ± 0.250",
        "Gq, Gk, unrelated clips: 0.000 ± 0.500",
        "Tq, Tk, positive clips: 0.900 ± 0.050",
    ]
    shown = found.tasks["degree"]
    assert shown.title == "Shuffle degree"
    assert "class 2 taken for 2: 2 of 4" in shown.picture
    assert "90.0 % are right or one off; the mean error is 0.30" in shown.words
    (probe,) = found.probes
    assert [(r.name, r.trained, r.cells["accuracy"].value) for r in probe.rows] == [
        ("chance", False, 50.0),
        ("frame differences", False, 50.0),
        ("untrained", False, 55.0),
        ("v-moco", True, 71.0),
    ]
    assert "v-moco: 71.0 ± 0.0 %" in (found.probes_picture or "")
    assert found.features is not None
    assert found.features.of == 3
    assert found.left_out == {"attention": "v-moco has no video transformer"}
    assert found.about == (
        "3 videos of gulls (the test part), of which the run was trained on 2: on unseen videos it may do worse."
    )


def test_a_run_that_went_on_says_so(folder):
    found = read_analysis(folder, steps=9)
    assert found is not None
    assert found.stale == "Made at step 7; the run went on to step 9 since."


@pytest.mark.parametrize(
    ("part", "damage"),
    [
        ("similarity", {"pairs": {"gq_gk": {"mean": 0.5}}}),
        ("similarity", 3),
        ("degree", {"degrees": [0, 2], "counts": [[1]]}),
        ("features", {"axes": {"another": ["x", "y"]}}),
        ("probes", {"arrow of time": {"rows": {}}}),
        ("attention", {"clips": 1}),
    ],
)
def test_a_damaged_part_is_left_out_alone(folder, part, damage):
    (folder / "results.json").write_text(json.dumps({**content(), part: damage}))
    found = read_analysis(folder)
    assert found is not None
    assert "its files cannot be read" in found.left_out[part]
    there = {
        "similarity": found.similarity is not None,
        "degree": "degree" in found.tasks,
        "features": found.features is not None,
        "probes": bool(found.probes),
    }
    assert there == {name: name != part for name in there}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"about": 3, "left out": []}', '{"about": 3}', "{}"])
def test_no_results_are_no_analysis(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    assert read_analysis(tmp_path) is None
    assert read_analysis(tmp_path / "nowhere") is None
