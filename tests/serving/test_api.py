"""What the page is told: hits as of ``Index.search``, strips along videos, files to ask with, labels, duplicates."""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from indexing.made import add, make_encoder, make_folder, make_index
from serving.site import HTML, Served
from starlette.testclient import TestClient

import cacl
from cacl.exploring.labels import Labels
from cacl.search.duplicates import Duplicate
from cacl.serving.answer import BINS, _of_bins
from cacl.serving.app import Site, make_app
from cacl.serving.current import Current
from cacl.serving.queries import KEPT, Queries


def test_hits_are_those_of_the_index(served: Served):
    keys = served.keys()
    with cacl.Index(served.index) as index:
        expected = index.search(["index:a/v0.mp4@0-1", "index:b/v1.mp4"], unlike=["index:a/v2.mp4"], k=3)
        inside = index.search("index:a/v0.mp4@0-1", within="b")
    asked = {"like": [f"{keys['a/v0.mp4']}@0-1", keys["b/v1.mp4"]], "unlike": keys["a/v2.mp4"], "k": 3}
    hits = served.get("/api/search", **asked)["hits"]
    assert [(hit["path"], hit["row"], hit["score"], hit["words"]) for hit in hits] == [
        (hit.path, hit.row, hit.score, hit.words) for hit in expected
    ]
    assert [hit["n"] for hit in hits] == [hit.row % 3 for hit in expected]  # of three stretches each
    hits = served.get("/api/search", like=f"{keys['a/v0.mp4']}@0-1", within="b")["hits"]
    assert [hit["path"] for hit in hits] == [hit.path for hit in inside]


def test_the_strip_says_how_much_every_moment_matches(served: Served):
    keys = served.keys()
    hits = served.get("/api/search", like=f"{keys['a/v0.mp4']}@0-1")["hits"]
    assert hits[0]["path"] == f"b/{HTML}"  # the copy
    for hit in hits:
        strip = hit["strip"]
        assert (len(strip["heat"]), strip["n"], hit["from_s"], hit["to_s"]) == (
            3,
            [0, 1, 2],
            0.0,
            pytest.approx(4, abs=0.5),
        )
        assert 0 <= min(strip["heat"]) <= max(strip["heat"]) <= 1
        assert strip["start"] == sorted(strip["start"])
    assert hits[0]["strip"]["heat"][0] == 1.0
    assert max(hits[-1]["strip"]["heat"]) < 1


def test_of_a_long_video_each_bin_shows_its_best_stretch():
    score = np.random.default_rng(0).normal(size=10_007)
    chosen = _of_bins(score)
    assert len(chosen) == BINS
    assert (np.diff(chosen) > 0).all()
    assert int(score.argmax()) in chosen
    assert _of_bins(score[:5]).tolist() == [0, 1, 2, 3, 4]


def test_videos_by_name(served: Served):
    assert served.get("/api/videos", name="A/ V0")["total"] == 1
    found = served.get("/api/videos", name="v", k=2)
    assert (found["total"], len(found["videos"])) == (4, 2)
    key = served.keys()["a/v0.mp4"]
    things = served.get("/api/things", key=[key, "gone"])["things"]
    assert (things[0]["path"], things[1]) == ("a/v0.mp4", None)


def test_a_dropped_file_and_a_path_find_the_same(served: Served, tmp_path: Path):
    file = add(tmp_path / "else", 0)
    answer = served.client.post("/api/drop?name=my%20clip.mp4", content=file.read_bytes(), headers={"x-cacl": "1"})
    dropped = answer.json()
    assert (dropped["path"], dropped["from_s"], dropped["to_s"]) == ("my clip.mp4", 0.0, pytest.approx(4.0))
    named = served.post("/api/path", {"path": f" '{file}' "})
    hits = [served.get("/api/search", like=f"{one['key']}@0-2")["hits"] for one in (dropped, named)]
    assert hits[0] == hits[1]
    assert hits[0][0]["path"] in ("a/v0.mp4", f"b/{HTML}")
    assert served.client.get(f"/video/{dropped['key']}").content == file.read_bytes()
    late = served.client.get("/api/search", params={"like": f"{dropped['key']}@8-9"})
    assert (late.status_code, late.json()["error"][:22]) == (400, "my clip.mp4 ends at 4.")


def test_what_is_no_video_is_said_and_not_kept(served: Served, tmp_path: Path):
    answer = served.client.post("/api/drop?name=a.txt", content=b"no video", headers={"x-cacl": "1"})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("a.txt: ")
    assert list(served.site.queries.folder.iterdir()) == []
    for path in ("v0.mp4", str(tmp_path), str(tmp_path / "none.mp4"), "~nobody-of-this-name/v0.mp4", f"/{'a' * 300}"):
        assert "is no file" in served.post("/api/path", {"path": path}, status=400)["error"]


def test_only_the_last_files_are_kept(served: Served, tmp_path: Path):
    content = add(tmp_path / "else", 1).read_bytes()
    keys = []
    for _ in range(KEPT + 1):
        answer = served.client.post("/api/drop?name=x.mp4", content=content, headers={"x-cacl": "1"})
        keys.append(answer.json()["key"])
    assert len(list(served.site.queries.folder.iterdir())) == KEPT
    gone = served.client.get("/api/search", params={"like": keys[0]})
    assert (gone.status_code, "drop it on the page again" in gone.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    ("asked", "said"),
    [({}, "nothing to search by"), ({"like": "gone"}, "not in the index any more"), ({"like": "a@b@c"}, "no part of a"),
     ({"like": "a@3-1"}, "before it begins"), ({"like": "KEY", "within": "c"}, "no folder and no label"),
     ({"like": "KEY", "k": "many"}, "makes no sense")],
)  # fmt: skip
def test_what_cannot_be_asked_is_a_sentence(served: Served, asked: dict[str, str], said: str):
    key = served.keys()["a/v0.mp4"]
    answer = served.client.get(
        "/api/search", params={name: key if text == "KEY" else text for name, text in asked.items()}
    )
    assert (answer.status_code, said in answer.json()["error"]) == (400, True), answer.text


@pytest.mark.parametrize(
    ("sent", "said"), [('{"points": [1e999]}', "makes no sense"), ('{"points": [1' + "0" * 30 + "]}", "makes no sense"),
                       ("[" * 100_000, "is no JSON object")]
)  # fmt: skip
def test_numbers_and_texts_beyond_all_bounds_are_refused(served: Served, sent: str, said: str):
    while not served.get("/api/map")["points"]:
        time.sleep(0.01)
    answer = served.client.post("/api/stretches", content=sent, headers={"x-cacl": "1"})
    assert (answer.status_code, said in answer.json()["error"]) == (400, True), answer.text


def test_labels_are_stored_at_once_and_taken_back(served: Served):
    key, file = served.keys()[f"b/{HTML}"], served.site.labels.file
    one, two = {"key": key, "start": 0, "end": 1.5}, {"key": key, "start": 2, "end": 4.0}
    served.post("/api/labels", {"groups": [{"label": "left, right", "stretches": [one, two]}]})
    rows = list(csv.DictReader(file.open()))
    assert rows[0] == {"path": f"b/{HTML}", "label": "left, right", "start": "0", "end": "1.5"}
    changed = served.post("/api/labels", {"groups": [{"label": "up", "stretches": [one]}]})
    assert [(group["label"], len(group["stretches"])) for group in changed["labels"]] == [("left, right", 1), ("up", 1)]
    undone = served.post("/api/labels", {"groups": changed["before"]})
    assert [(group["label"], len(group["stretches"])) for group in undone["labels"]] == [("left, right", 2)]
    assert undone["labels"][0]["stretches"][0]["n"] == 2  # the last one labelled anew stands last
    taken = served.post("/api/labels", {"groups": [{"label": None, "stretches": [one, two]}]})
    assert [(group["label"], len(group["stretches"])) for group in taken["before"]] == [("left, right", 2)]
    assert file.read_text() == "path,label,start,end\n"
    for label in ("", " ", "a\nb", "x" * 201):
        served.post("/api/labels", {"groups": [{"label": label, "stretches": [one]}]}, status=400)


def test_parts_of_one_file_are_videos_of_their_own(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A list names two parts of a file: each is asked with, labelled and shown as itself."""
    videos = make_folder(tmp_path / "videos", 2)
    (videos / "list.csv").write_text("path,start,end\na/v0.mp4,0,1.6\na/v0.mp4,1.6,4\nb/v1.mp4,,\n")
    make_index(videos / "list.csv", tmp_path / "index", model=archive / "encoder").close()
    site = Site(Current(tmp_path / "index"), Labels(tmp_path / "labels.csv"), Queries(tmp_path), local=True)
    with TestClient(make_app(site, token=None), base_url="http://localhost") as client:
        served = Served(tmp_path, site, client)
        first, second, _ = served.get("/api/videos")["videos"]
        assert (first["to_s"], second["from_s"], second["to_s"]) == (1.6, 1.6, 4.0)
        _, rows, _ = site.queries.example(site.current.view(), second["key"])
        assert rows.tolist() == [1, 2]
        found = served.get("/api/search", like=first["key"])["hits"]
        assert second["key"] in {hit["key"] for hit in found}
        part = {"key": second["key"], "start": 2.4, "end": 4.0}
        (group,) = served.post("/api/labels", {"groups": [{"label": "up", "stretches": [part]}]})["labels"]
        assert [(one["key"], one["n"]) for one in group["stretches"]] == [(second["key"], 1)]
        pair = Duplicate("a/v0.mp4", (2.0, 3.0), "b/v1.mp4", (0.0, 1.0), "copy", 0.9, "sure")
        monkeypatch.setattr(cacl.Index, "duplicates", lambda index, **more: [pair])
        served.post("/api/duplicates", {})
        while (report := served.get("/api/duplicates"))["status"] == "running":
            time.sleep(0.01)
        assert report["pairs"][0]["a"]["key"] == second["key"]


def test_a_label_late_in_a_long_video_keeps_its_time(served: Served):
    late = {"key": served.keys()["a/v0.mp4"], "start": 5025.678, "end": 5027.0}
    changed = served.post("/api/labels", {"groups": [{"label": "up", "stretches": [late]}]})
    stretch = changed["labels"][0]["stretches"][0]
    assert (stretch["start"], stretch["end"]) == (5025.678, 5027.0)
    assert served.post("/api/labels", {"groups": changed["before"]})["labels"] == []
    served.post("/api/labels", {"groups": [{"label": "up", "stretches": [{**late, "end": "inf"}]}]}, status=400)


def test_a_file_of_labels_may_be_edited_and_another_one_is_not_touched(served: Served, tmp_path: Path):
    file = served.site.labels.file
    file.write_text("path,label,start,end\na/v0.mp4,up,,\nelse.mp4,up,1,2\n")
    found = served.get("/api/labels")
    assert (found["labels"][0]["stretches"][0]["start"], found["elsewhere"]) == (None, 1)
    file.write_text("path,label,start,end\na/v0.mp4,up,soon,\n")
    assert "line 2 is no label" in served.client.get("/api/labels").json()["error"]
    file.write_text("path,label,start,end\na/v0.mp4,up,nan,2\n")
    assert "line 2 is no label" in served.client.get("/api/labels").json()["error"]
    (tmp_path / "mine.csv").write_text("name,age\n")
    with pytest.raises(cacl.UserError, match="is no table of labels"):
        Labels(tmp_path / "mine.csv")


def test_duplicates_are_looked_for_once_and_decided_on(served: Served, monkeypatch: pytest.MonkeyPatch):
    pair = Duplicate("a/v0.mp4", (0.0, 3.0), f"b/{HTML}", (0.5, 3.5), "copy", 0.9, "sure")
    looks = 0

    def duplicates(index: cacl.Index, *, say: Callable[[str], None], progress: Callable[[str, int, int], None]):
        nonlocal looks
        looks += 1
        progress("videos compared", 1, 5)
        say("v1.mp4 could not be looked at.")
        return [pair, Duplicate("a/v2.mp4", (0.0, 2.0), "b/v1.mp4", (0.0, 2.0), "similar scene", 0.3, "likely")]

    monkeypatch.setattr(cacl.Index, "duplicates", duplicates)
    assert served.get("/api/duplicates")["status"] == "none"
    for _ in range(2):
        served.post("/api/duplicates", {})
        while (report := served.get("/api/duplicates"))["status"] == "running":
            time.sleep(0.01)
    assert (looks, report["status"], report["notes"]) == (1, "done", ["v1.mp4 could not be looked at."])
    first = report["pairs"][0]
    assert (first["a"]["path"], first["b"]["path"], first["kind"], first["sure"]) == (
        pair.first,
        pair.second,
        "copy",
        True,
    )
    table = list(csv.DictReader(served.client.get("/duplicates.csv").text.splitlines()))
    assert [row["other_path"] for row in table] == [f"b/{HTML}", "b/v1.mp4"]
    sent = {"a": first["a"]["key"], "b": first["b"]["key"]}
    left = served.post("/api/decisions", {**sent, "not_same": True})["pairs"]
    assert [one["path"] for one in left] == ["a/v2.mp4"]
    assert cacl.Index(served.index).decisions.not_same(pair.first, pair.second)
    assert len(served.post("/api/decisions", {**sent, "not_same": False})["pairs"]) == 2


def test_a_look_for_duplicates_that_fails_says_so(served: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cacl.Index, "duplicates", lambda index, **more: 1 / 0)
    served.post("/api/duplicates", {})
    while (report := served.get("/api/duplicates"))["status"] == "running":
        time.sleep(0.01)
    assert (report["status"], "division by zero" in report["notes"][0]) == ("failed", True)


def test_a_page_that_was_opened_before_the_index_changed_is_told(tmp_path: Path):
    videos, index = make_folder(tmp_path / "videos", 2), tmp_path / "index"
    make_index(videos, index, model=make_encoder(tmp_path / "encoder")).close()
    (tmp_path / "dropped").mkdir()
    labels = Labels(tmp_path / "labels.csv")
    site = Site(Current(index), labels, Queries(tmp_path / "dropped"), local=True)
    with TestClient(make_app(site, token=None), base_url="http://127.0.0.1") as client:
        about = client.get("/api/about").json()
        key = client.get("/api/videos").json()["videos"][0]["key"]
        asked = {"like": key, "state": about["state"]}
        assert client.get("/api/search", params=asked).status_code == 200
        add(videos, 2)
        make_index(videos, index).close()
        stale = client.get("/api/search", params=asked)
        assert (stale.status_code, "has changed since this page was opened" in stale.json()["error"]) == (409, True)
        hits = client.get("/api/search", params={"like": key}).json()["hits"]  # what did not change has its key
        assert len(hits) == 2  # the other two
        shutil.rmtree(index)
        gone = client.get("/api/about")
        assert (gone.status_code, "my index" not in gone.text) == (400, True)
        for path in ("/", f"/video/{key}", f"/preview/{key}/0", f"/clip/{key}", "/duplicates.csv"):
            gone = client.get(path)
            assert (gone.status_code, "error" in gone.json()) == (404, True)
