"""What frozen features know, against brute force on features that were made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cacl.data.videos.catalog import Catalog, Video
from cacl.data.videos.dataset import Dataset
from cacl.evaluation.embed import VideoFeatures
from cacl.experiments.compare.measure import FOUND, SHOWN, Sides, knowledge, shown_neighbours, signs

CLASSES = ("a", "b", "c")


@pytest.fixture
def sides() -> tuple[Sides, list[int], list[int]]:
    """Twelve test and thirty training videos, interleaved; number 5 asks, and could not be read."""
    rng = np.random.default_rng(0)
    parts = ["test" if i % 7 in (0, 5) else "train" for i in range(42)]
    videos = tuple(Video(f"{i}.mp4", str(i), CLASSES[i % 3], part, 20, 25.0, 64, 48) for i, part in enumerate(parts))
    data = Dataset(Catalog(Path("x"), videos), None)  # type: ignore[arg-type]
    test, train = data.numbers("test"), data.numbers("train")
    order = [*test, *train]
    kept = np.array([place for place, number in enumerate(order) if number != 5])
    features = rng.standard_normal((len(kept), 6)) + np.eye(6)[[order[i] % 3 for i in kept]]
    return Sides.of(VideoFeatures(features.astype(np.float32), kept, ()), data, test, train), test, train


def test_the_sides_have_their_videos(sides: Any) -> None:
    found, test, train = sides
    assert found.asked == [number for number in test if number != 5]
    assert found.there == train
    assert len(found.query) == len(test) - 1
    assert len(found.gallery) == len(train)


def test_knowledge_by_brute_force(sides: Any) -> None:
    found, test, _ = sides
    known = knowledge(found, test, seed=0, strength=1.0, split=1)
    right = {}
    for number, query in zip(found.asked, found.query, strict=True):
        cosine = [q @ query / np.linalg.norm(q) for q in found.gallery]
        right[number] = found.there[int(np.argmax(cosine))] % 3 == number % 3
    assert known["hits"]["R@1"] == "".join("-" if n == 5 else "01"[right[n]] for n in test)
    assert known["retrieval"]["R@1"] == pytest.approx(100 * np.mean(list(right.values())), abs=1e-3)
    for name in ("k-NN", "linear probe"):
        known_signs = known["hits"][name]
        assert known_signs.count("-") == 1
        assert known[name] == pytest.approx(100 * known_signs.count("1") / (len(test) - 1), abs=1e-3)
    assert list(known["few labels"]) == ["1", "5", "10", "all"]
    assert known["few labels"]["all"] == known["linear probe"]
    assert known == knowledge(found, test, seed=0, strength=1.0, split=1)


def test_neighbours_by_brute_force(sides: Any) -> None:
    """Places in the lists of all test and training videos, whoever could not be read."""
    found, test, train = sides
    shown = shown_neighbours(found, test, train)
    assert 1 <= len(shown) <= SHOWN
    assert len({CLASSES[test[one["query"]] % 3] for one in shown}) == len(shown)
    for one in shown:
        query = found.query[found.asked.index(test[one["query"]])]
        cosine = np.array([q @ query / np.linalg.norm(q) / np.linalg.norm(query) for q in found.gallery])
        best = np.argsort(-cosine)[:FOUND]
        assert one["found"] == [train.index(found.there[g]) for g in best]
        np.testing.assert_allclose(one["cosine"], cosine[best], atol=1e-3)


def test_more_labels_than_there_are_are_not_asked_for(sides: Any) -> None:
    found, test, _ = sides
    few = [place for place, number in enumerate(found.there) if number % 3 or number < 20]
    less = Sides(found.data, found.query, found.gallery[few], found.asked, [found.there[i] for i in few])
    assert list(knowledge(less, test, seed=0, strength=1.0, split=1)["few labels"]) == ["1", "5", "all"]


def test_signs() -> None:
    assert signs({4: True, 2: False}, [2, 3, 4]) == "0-1"
