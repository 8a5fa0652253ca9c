"""Classes on the page: learnt from labels in the background, shown on hits, filtered by, kept; what to label next."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving.site import HTML, Served

import cacl
from cacl.exploring.classes import Classes
from cacl.serving.classes import NONE


@pytest.fixture
def named(served: Served, tmp_path: Path) -> Served:
    """Two kinds in two videos each, by folder; classes go to a folder of their own."""
    served.site.taught.folder = tmp_path / "my.classes"
    keys = served.keys()
    for label, paths in (("first", ("a/v0.mp4", "a/v2.mp4")), ("second", ("b/v1.mp4", "b/v3.mp4"))):
        stretches = [{"key": keys[path], "start": 0, "end": 2} for path in paths]
        served.post("/api/labels", {"groups": [{"label": label, "stretches": stretches}]})
    return served


def learnt(served: Served) -> dict[str, Any]:
    served.post("/api/classes", {})
    for _ in range(600):
        report = served.get("/api/classes")
        if report["status"] == "none":
            return report
        time.sleep(0.05)
    raise AssertionError("it never ends")


def test_classes_are_learnt_and_shown_on_hits(named: Served):
    assert named.get("/api/classes")["classes"] == []
    report = learnt(named)
    assert report["problem"] == ""
    assert [kind["name"] for kind in report["classes"]] == ["first", "second"]
    assert "that were held out" in report["said"]
    with cacl.Index(named.index) as index:
        told = Classes.load(named.site.taught.folder).told(index)
        assert [kind["count"] for kind in report["classes"]] == np.bincount(told.best, minlength=2).tolist()
    key = named.keys()["a/v0.mp4"]
    for hit in named.get("/api/search", like=key)["hits"]:
        assert hit["class"] == ("first", "second")[told.best[hit["row"]]]
        assert hit["probability"] == pytest.approx(told.probability[hit["row"]], abs=1e-4)


def test_filters_leave_only_what_is_asked_for(named: Served):
    learnt(named)
    key = named.keys()[f"b/{HTML}"]
    kinds = named.get("/api/kinds")
    for kind in kinds["class"]:
        hits = named.get("/api/search", like=key, **{"class": kind["name"]})["hits"]
        assert {hit["class"] for hit in hits} <= {kind["name"]}
        assert bool(hits) == bool(kind["count"])
    hits = named.get("/api/search", like=key, label="second")["hits"]
    assert {hit["path"] for hit in hits} == {"b/v1.mp4", "b/v3.mp4"}
    assert all(hit["start_s"] < 2 for hit in hits)
    assert named.get("/api/search", like=key, label="nobody has this")["hits"] == []
    assert named.get("/api/search", like=key, label="second", within="a")["hits"] == []


def test_names_of_stretches_as_numbers(named: Served):
    names, codes = named.site.taught.codes(named.site.current.view(), "label")
    view = named.site.current.view()
    assert names == ["a", "b", "first", "second"]  # the folders' own, too
    for row, code in enumerate(codes.tolist()):
        path = view.index.videos[int(view.index.spans.video[row])].path
        labelled = view.index.spans.seconds[row].mean() < 2 and path != f"b/{HTML}"
        assert names[code] == ({"a": "first", "b": "second"}[path[0]] if labelled else path[0])


def test_what_to_label_next_is_not_labelled(named: Served):
    learnt(named)
    found = named.get("/api/next")
    assert set(found) == {"state", "least_sure", "most_unlike"}
    for one in found["least_sure"] + found["most_unlike"]:
        assert one["path"] == f"b/{HTML}" or one["end"] > 2
    assert len({one["path"] for one in found["least_sure"]}) == len(found["least_sure"])


def test_what_cannot_be_learnt_is_said(served: Served, tmp_path: Path):
    served.site.taught.folder = tmp_path / "my.classes"
    assert "holds no labels" in learnt(served)["problem"]
    answer = served.client.get("/api/next")
    assert (answer.status_code, "Learn classes first" in answer.json()["error"]) == (400, True)
    (tmp_path / "my.classes").mkdir()
    (tmp_path / "my.classes" / "config.json").write_text("{}")
    assert "not classes of an index" in served.get("/api/classes")["problem"]
    assert served.get("/api/search", like=served.keys()["a/v0.mp4"])["hits"][0]["class"] is None


def test_the_map_and_what_is_in_a_lasso(served: Served):
    refused = served.client.get("/map/points")
    assert (refused.status_code, refused.json()["error"]) == (400, "The map is not drawn yet.")
    for _ in range(600):
        report = served.get("/api/map")
        if report["finished"]:
            break
        time.sleep(0.05)
    assert (report["kind"], report["points"], report["stride"], report["problem"]) == ("neighbours", 15, 1, "")
    points = np.frombuffer(served.client.get("/map/points").content, "<f4").reshape(-1, 2)
    assert points.shape == (15, 2)
    colours = np.frombuffer(served.client.get("/map/colours?by=class").content, "<u2")
    assert colours.tolist() == [NONE] * 15
    chosen = served.post("/api/stretches", {"points": [4, 0, 1, 3, 8, 1]})["stretches"]
    with cacl.Index(served.index) as index:
        seconds = index.spans.seconds
        paths = [video.path for video in index.videos]
    assert [(one["path"], one["start"], one["end"]) for one in chosen] == [
        (paths[0], round(seconds[0, 0], 3), round(seconds[1, 1], 3)),
        (paths[1], round(seconds[3, 0], 3), round(seconds[4, 1], 3)),
        (paths[2], round(seconds[8, 0], 3), round(seconds[8, 1], 3)),
    ]
    for points_sent in ([15], [-1], ["x"], None):
        served.post("/api/stretches", {"points": points_sent}, status=400)
