"""Searching an index: the right videos and moments by each kind of query, what is asked with left out, and the JSON."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from indexing.made import add, make_encoder, make_folder, make_index
from pages import ROOT
from squares import square

import cacl
from cacl.data.media.encode import write_video
from cacl.errors import UserError
from cacl.indexing.parts_of import Part, part_of
from cacl.indexing.searcher import best_videos
from cacl.search.exact import exact_nearest


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Six videos, and one that is two others one after the other: v0's second half in b/both.mp4 from 4 s on."""
    folder = tmp_path_factory.mktemp("search")
    videos = make_folder(folder / "videos", 6)
    write_video(videos / "b" / "both.mp4", np.concatenate([square(40, seed=90), square(40, seed=0)]), fps=10)
    encoder = make_encoder(folder / "encoder")
    make_index(videos, folder / "index", model=encoder).close()
    return videos, folder / "index"


@pytest.fixture(scope="module")
def index(made: tuple[Path, Path]) -> cacl.Index:
    return cacl.Index(made[1])


def expected(index: cacl.Index, query: np.ndarray, left_out: set[int]) -> list[tuple[str, float]]:
    """Brute force, from the words of the docs: cosines from the mean; of each video the best stretch for each of the
    query's, in the mean.
    """
    vectors = np.asarray(index.vectors, np.float64)
    centred = vectors - vectors.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    q = query - vectors.mean(axis=0)
    scores = unit @ (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    found = {}
    for path in set(index.segments.path):
        rows = [i for i, p in enumerate(index.segments.path) if p == path and i not in left_out]
        if rows:
            found[path] = float(scores[rows].max(axis=0).mean())
    return sorted(found.items(), key=lambda item: -item[1])


def test_a_part_of_an_indexed_video_finds_where_it_happens_again(index: cacl.Index):
    hits = index.search("index:a/v0.mp4", k=3)
    assert hits[0].path == "b/both.mp4"
    assert hits[0].start_s <= hits[0].best_s <= hits[0].end_s
    assert hits[0].best_s > 4.0
    rows = index.rows("a/v0.mp4")
    wanted = expected(index, np.asarray(index.vectors[rows], np.float64), set(rows.tolist()))
    assert [(hit.path, pytest.approx(hit.score, abs=1e-6)) for hit in hits] == wanted[:3]


def test_a_file_from_elsewhere_is_embedded_as_the_index_was(made: tuple[Path, Path], index: cacl.Index, tmp_path: Path):
    query = tmp_path / "q@1-2.mp4"  # an @ that is no part
    shutil.copy(made[0] / "b" / "v3.mp4", query)
    hit = index.search(query, k=1)[0]
    assert (hit.path, hit.score) == ("b/v3.mp4", pytest.approx(1, abs=1e-6))
    vectors, rows = index.examples(str(query))
    assert len(rows) == 0
    assert vectors.astype(np.float32).tobytes() == index.vectors[index.rows("b/v3.mp4")].tobytes()
    part, _ = index.examples(f"{query}@1.6-3.2")
    np.testing.assert_allclose(part, index.vectors[index.rows("b/v3.mp4", 1.6, 3.2)], atol=1e-5)


def test_a_file_that_the_index_has_is_not_decoded_and_not_its_own_hit(
    made: tuple[Path, Path], index: cacl.Index, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "cacl.indexing.query", None)  # whoever imports it fails
    hits = index.search(made[0] / "a" / "v0.mp4", k=7)
    assert "a/v0.mp4" not in [hit.path for hit in hits]
    assert len(hits) == 6


def test_examples_for_and_against(index: cacl.Index):
    like, more, unlike = "index:b/both.mp4@0-4", "index:a/v0.mp4@0-2", "index:a/v2.mp4@0-2"
    probes = index.probes(
        np.concatenate([index.vectors[index.rows("b/both.mp4", 0, 4)], index.vectors[index.rows("a/v0.mp4", 0, 2)]]),
        index.vectors[index.rows("a/v2.mp4", 0, 2)],
    )
    z = index.space.prepared(np.asarray(index.vectors, np.float64))[0]
    numbers = [index.rows("b/both.mp4", 0, 4), index.rows("a/v0.mp4", 0, 2), index.rows("a/v2.mp4", 0, 2)]
    by_hand = z[np.concatenate(numbers[:2])] - z[numbers[2]].mean(axis=0)
    np.testing.assert_allclose(probes, by_hand / np.linalg.norm(by_hand, axis=1, keepdims=True), atol=1e-9)
    hits = index.search([like, more], unlike=[unlike], k=20)
    assert hits == index.along(probes, 20, without=np.concatenate(numbers))
    assert len(index.probes(np.asarray(index.vectors))) == 16


@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 4))
def test_no_video_is_missed(seed: int, k: int, probes: int):
    """Long and short videos at random, against all scores in full."""
    rng = np.random.default_rng(seed)
    video_of = np.sort(rng.integers(0, 30, 400))
    scores = rng.normal(size=(400, probes)).round(1)
    mask = rng.random(400) < 0.8

    def nearest(count: int) -> Any:
        asked = np.flatnonzero(mask)
        return [(asked[order], row[order]) for row in scores[asked].T for order in [np.argsort(-row)[:count]]]

    def score_of(video: int) -> float:
        return float(scores[mask & (video_of == video)].max(axis=0).mean())

    whole = [(video, score_of(video)) for video in np.unique(video_of[mask]).tolist()]
    found = best_videos(nearest, k, mask, video_of, score_of)
    assert found == sorted(whole, key=lambda item: (-item[1], item[0]))[:k]


def test_who_finds_nothing_gives_up_without_a_word():
    """An approximate search of a few among many may find none of them."""
    nothing = np.zeros(0, np.int64), np.zeros(0)
    mask, video_of = np.ones(999, np.bool_), np.zeros(999, np.int64)
    assert best_videos(lambda k: [nothing, nothing], 3, mask, video_of, lambda video: 1.0) == []
    one = np.array([7]), np.array([1.0])
    assert best_videos(lambda k: [nothing, one], 1, mask, video_of, lambda video: 0.5) == [(0, 0.5)]


def test_within_a_folder_or_a_label(index: cacl.Index):
    for name in ("a", "a/"):
        assert {hit.path for hit in index.search("index:b/v1.mp4", within=name)} == {f"a/v{n}.mp4" for n in (0, 2, 4)}
    assert {hit.label for hit in index.search("index:b/v1.mp4", within="b")} == {"b"}
    with pytest.raises(UserError, match="--within is c: no folder and no label"):
        index.search("index:b/v1.mp4", within="c")


def test_one_video_that_matches_all_over_does_not_crowd_out_the_others(index: cacl.Index):
    hits = index.along(index.probes(index.vectors[index.rows("b/both.mp4")]), 7)
    assert len({hit.path for hit in hits}) == 7
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_the_curve_goes_along_the_whole_video(index: cacl.Index):
    direction = index.space.direction(index.vectors[index.rows("a/v0.mp4", 0, 1.6)])
    video = next(n for n, video in enumerate(index.videos) if video.path == "b/both.mp4")
    curve = index.curve(direction, video)
    assert len(curve.score) == index.videos[video].rows
    hit = next(hit for hit in index.along(direction, 7) if hit.video == video)
    assert curve.score.max() == pytest.approx(hit.score)
    assert curve.end_s[-1] == pytest.approx(index.videos[video].seconds)


@pytest.mark.parametrize("whiten", [False, True])
def test_reading_every_vector_finds_what_the_search_copy_finds(whiten: bool):
    from cacl.search.neighbours import Neighbours
    from cacl.search.space import Space

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3000, 16)).astype(np.float32) + 5
    rows[100:110] = rows[7]  # equal ones: lowest number first
    space = Space.fit(rows, whiten=whiten)
    within = rng.random(3000) < 0.7
    neighbours = Neighbours(rows, space=space)
    for query in (rows[7], rows[50]):
        directions = np.stack([space.direction(query), space.direction(rows[3], rows[60])])
        wanted = neighbours.along(directions, 20, within=within)
        for (numbers, scores), other in zip(
            exact_nearest(rows, space, directions, 20, within=within), wanted, strict=True
        ):
            assert numbers.tolist() == other.rows.tolist()
            assert scores.tolist() == other.scores.tolist()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("x.mp4", Part("x.mp4")),
        ("x.mp4@12.5-15", Part("x.mp4", False, 12.5, 15.0)),
        ("x.mp4@1:02.5-1:05", Part("x.mp4", False, 62.5, 65.0)),
        ("index:a/b.mp4@0-1:00:00", Part("a/b.mp4", True, 0.0, 3600.0)),
        ("INDEX:a@b.mp4", Part("a@b.mp4", True)),
        ("my.index:a.mp4@1-2", Part("a.mp4", True, 1.0, 2.0)),
        ("a@1-2@3-4", Part("a@1-2", False, 3.0, 4.0)),
    ],
)
def test_queries_are_read(text: str, part: Part):
    assert part_of(text, index=Path("my.index")) == part


def test_what_cannot_be_searched_by(made: tuple[Path, Path], index: cacl.Index, bad_media: Path, tmp_path: Path):
    videos, _ = made
    outside = tmp_path / "short.mp4"
    write_video(outside, square(5), fps=10)
    for query, match in (
        ("index:a/v9.mp4", r"has no video a/v9\.mp4\. Did you mean 'a/v.\.mp4'"),
        ("index:a/v0.mp4@9-10", r"a/v0\.mp4 ends at 4\.0 s, the part begins at 9 s"),
        (f"{videos / 'a/v0.mp4'}@9-10", r"ends at 4\.0 s, the part begins at 9 s"),
        (f"{outside}@3-4", r"short\.mp4 ends at 0\.5 s, the part begins at 3 s"),
        (f"{outside}@2-1", "the part ends at 1 s, before it begins"),
        (f"{outside}@1:2:3:4-9", "is no time"),
        (f"index:a@{'9' * 400}:00-9", "is no time"),
        (f"index:{'a' * 300}", "has no video aaa"),
        ("a" * 300, "cannot be read"),
        (tmp_path / "none.mp4", r"none\.mp4 does not exist"),
        (bad_media / "text.mp4", r"text\.mp4: not a video \(text file\); name a video"),
    ):
        with pytest.raises(UserError, match=match):
            index.search(query)
    said: list[str] = []
    assert index.search(outside, say=said.append)
    assert "5 frames, looped" in said[0]
    with pytest.raises(UserError, match="k is 0"):
        index.along(np.zeros(32), 0)


def test_damage_is_named(made: tuple[Path, Path], tmp_path: Path):
    with pytest.raises(UserError, match="is no index: it has no index"):
        cacl.Index(made[0])
    for name, match in (
        ("index.json", r"index\.json is damaged"),
        ("generations/000001/rows.npz", r"rows\.npz is missing or damaged"),
        ("generations/000001/vectors.npy", r"vectors\.npy is damaged"),
        ("generations/000001/known.json", r"known\.json is missing or damaged"),
        ("generations/000001/embedding.json", r"embedding\.json is damaged"),
        ("generations/000001/space.npz", r"space\.npz is missing or damaged"),
    ):
        copy = tmp_path / "copy"
        shutil.copytree(made[1], copy)
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError, match=match):
            _ = cacl.Index(copy).search("index:a/v0.mp4"), cacl.Index(copy).videos
        shutil.rmtree(copy)
    shutil.copytree(made[1], tmp_path / "other")
    shutil.rmtree(tmp_path / "other" / "encoder")
    make_encoder(tmp_path / "other" / "encoder", seed=3)
    add(tmp_path / "q", 0)
    with pytest.raises(UserError, match="holds another encoder than the one that made"):
        cacl.Index(tmp_path / "other").search(tmp_path / "q" / "a" / "v0.mp4")


def test_moved_videos_are_named_and_searched_all_the_same(made: tuple[Path, Path], tmp_path: Path):
    shutil.copytree(made[0], tmp_path / "moved")
    index = cacl.Index(made[1], videos=tmp_path / "moved")
    assert index.root == tmp_path / "moved"
    assert index.search(tmp_path / "moved" / "a" / "v0.mp4", k=1)[0].path == "b/both.mp4"


def command(*words: object) -> subprocess.CompletedProcess[str]:
    code = "import sys, cacl.cli; sys.argv[0] = 'cacl'; cacl.cli.main()"
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)


def valid(value: Any, schema: dict[str, Any]) -> bool:
    """What of JSON Schema the page uses, by its specification."""
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
        "null": type(None),
    }
    if "const" in schema and value != schema["const"]:
        return False
    types = schema.get("type", list(kinds))
    types = [types] if isinstance(types, str) else types
    if not any(isinstance(value, kinds[t]) and not (isinstance(value, bool) and t != "boolean") for t in types):
        return False
    if isinstance(value, dict):
        there = all(name in value for name in schema.get("required", ()))
        return there and all(valid(v, schema.get("properties", {}).get(k, {})) for k, v in value.items())
    if isinstance(value, list):
        return all(valid(item, schema.get("items", {})) for item in value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return schema.get("minimum", value) <= value <= schema.get("maximum", value)
    return True


def test_the_json_is_of_the_schema_in_the_docs(made: tuple[Path, Path]):
    text = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
    schema = json.loads(re.findall(r"```json\n(.*?)```", text, re.DOTALL)[0])
    done = command("search", made[1], "index:a/v0.mp4@0-1.6", "--unlike", "index:b/v1.mp4", "--json")
    found = json.loads(done.stdout)
    assert valid(found, schema)
    assert [hit["rank"] for hit in found["hits"]] == list(range(1, 7))
    named = schema["properties"]["hits"]["items"]
    assert set(found["hits"][0]) == set(named["properties"]) == set(named["required"])
    for wrong in ({**found, "format": 2}, {**found, "hits": [{**found["hits"][0], "score": "high"}]}, {"format": 1}):
        assert not valid(wrong, schema)


def test_asking_by_what_the_index_holds_needs_no_torch(made: tuple[Path, Path]):
    code = (
        "import sys, cacl.cli; sys.argv = ['cacl', 'search', sys.argv[1], 'index:a/v0.mp4@0-1.6']\n"
        "try: cacl.cli.main()\n"
        "except SystemExit as end: print(end.code, [name for name in ('torch', 'av') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(made[1])], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
    assert re.match(r" 0\.\d{3} +\d\.\d s - \d\.\d s  [ab]/\w+\.mp4 +best at \d\.\d s, nearer than ", done.stdout)
