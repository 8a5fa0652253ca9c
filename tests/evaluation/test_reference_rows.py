"""Rows that need no training are made once: the next run on the same videos has the same numbers, to the bit."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from squares import make_squares

from cacl.data.videos import store
from cacl.data.videos.dataset import Dataset, open_videos
from cacl.data.videos.scan import scan
from cacl.data.videos.store_shares import Shard
from cacl.evaluation import evaluate as module
from cacl.evaluation import reference_rows
from cacl.evaluation.evaluate import Retrieval, evaluate_retrieval
from cacl.evaluation.reference_rows import ReferenceRows, kept_rows
from cacl.models.encoder import ClipSpec, Encoder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cacl" / "evaluation"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_squares(tmp_path_factory.mktemp("squares") / "videos")


def network(seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return Encoder("r3d10", width=2, clip=ClipSpec(frames=8, stride=2, resize=(32, 40), size=32)).eval()


def found(videos: Path, *, trained: int = 1, untrained: int = 0, **other: Any) -> Retrieval:
    data = open_videos(videos, resize=(32, 40))
    return evaluate_retrieval({"trained": network(trained)}, network(untrained), data, clips=2, **other)


def test_the_next_run_makes_none_of_them_and_has_the_same_numbers(
    videos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = found(videos)
    assert list(first.recalls) == [
        "chance", "colour histogram", "thumbnail", "untrained", "untrained, batch statistics", "trained",
    ]  # fmt: skip
    assert len(list(cache.iterdir())) == 1
    told: list[str] = []

    def never(*parts: Any, **keywords: Any) -> None:
        raise AssertionError("made again")

    for name in ("video_baselines", "with_statistics", "chance"):
        monkeypatch.setattr(module, name, never)
    again = found(videos, trained=2, say=told.append)
    assert sum("known from an earlier run" in line for line in told) == 1
    assert sum(line.startswith("Features of") for line in told) == 1
    assert {name: row for name, row in again.recalls.items() if name != "trained"} == {
        name: row for name, row in first.recalls.items() if name != "trained"
    }
    assert {name: row for name, row in again.right.items() if name != "trained"} == {
        name: row for name, row in first.right.items() if name != "trained"
    }
    with pytest.raises(AssertionError, match="made again"):
        found(videos, keep=False)


@pytest.mark.parametrize("what", ["weights", "seed", "clips", "precision", "label", "pixels", "fewer rows"])
def test_what_may_change_a_row_makes_it_again(what: str, videos: Path, cache: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(videos, tmp_path / "copy"))
    made = []

    def make() -> ReferenceRows:
        made.append(1)
        return ReferenceRows({"chance": {"R@1": 50.0 + len(made)}}, {"untrained": {3: True}})

    def ask(untrained: Encoder | None = None, **other: Any) -> ReferenceRows:
        data = open_videos(copy, resize=(32, 40))
        words = {"plain": True, "seed": 0, "clips": 2, "ks": (1,), "device": "cpu", "autocast_dtype": None, **other}
        return kept_rows(make, data, list(range(len(data))), untrained or network(), **words)

    assert ask() == ask()
    assert len(made) == 1
    file = next(copy.rglob("*.mp4"))
    if what == "label":
        other = next(folder for folder in file.parent.parent.iterdir() if folder != file.parent)
        file.rename(other / f"moved_{file.name}")
    if what == "pixels":
        os.utime(file, ns=(1, 1))
    ask(
        network(5) if what == "weights" else None,
        **{"seed": {"seed": 1}, "clips": {"clips": 3}, "precision": {"autocast_dtype": torch.bfloat16},
           "fewer rows": {"plain": False}}.get(what, {}),
    )  # fmt: skip
    assert len(made) == 2


def test_rows_without_a_video_that_could_not_be_read_are_not_kept(videos: Path, cache: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(videos, tmp_path / "copy"))
    data = open_videos(copy, resize=(32, 40))
    file = data.catalog.file(data.catalog.videos[data.numbers("train")[0]])
    file.write_bytes(file.read_bytes()[:200])
    told = evaluate_retrieval({}, network(), data, clips=2)
    assert "untrained" in told.recalls
    assert not cache.exists()


def test_a_damaged_file_is_made_again_and_old_ones_go(
    videos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = found(videos)
    file = next(cache.iterdir())
    for damage in ("", "[]", '{"recalls": {"chance": 3}, "right": {}}', json.dumps({"recalls": {}})):
        file.write_text(damage)
        assert found(videos).recalls == first.recalls
        assert json.loads(file.read_text())["recalls"]["chance"] == first.recalls["chance"]
    monkeypatch.setattr(reference_rows, "KEPT", 2)
    for seed in (1, 2, 3):
        found(videos, seed=seed)
    assert len(list(cache.glob("*.json"))) == 2
    assert not file.exists()


def test_who_has_no_home_has_no_cache(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(*parts: Any) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert found(videos).recalls == found(videos, keep=False).recalls


def test_of_a_store_in_shares_every_share_counts(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_PART_VIDEOS", 4)
    catalog, out = scan(videos), tmp_path / "videos.store"
    for number in (1, 2):
        store.build_share(catalog, out, shard=Shard(number, 2), height=32, width=40)
    made = store.build_store(catalog, out, keep=[tmp_path], height=32, width=40)
    data, states = Dataset(made.catalog, made), list[str]()
    for change in (None, *made.files):
        if change is not None:
            os.utime(change, (1, 1))
        states.append(str(reference_rows._videos(data, [0])))
    assert len(made.files) == 2
    assert len(set(states)) == 3
