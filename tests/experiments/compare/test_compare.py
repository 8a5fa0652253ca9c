"""``compare`` on a handful of squares: made once, the same again, gone on with, and refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from squares import make_squares
from tiny import TINY

from cacl.errors import UserError
from cacl.experiments.compare import cells as cell_module
from cacl.experiments.compare import finetuned as finetuned_module
from cacl.experiments.compare import shared as shared_module
from cacl.experiments.compare.compare import _command, compare
from cacl.experiments.compare.plan import Budget, Plan
from cacl.run import Run
from cacl.settings import METHODS
from cacl.training.resolve import resolve_settings

_OWN = {"optim.epochs", "data.store", "model.network"}
SETTINGS = [f"{k}={json.dumps(v)}" for k, v in TINY.items() if k not in _OWN and not k.startswith("method.")]
THREE = ("v-moco", "vcop", "cacl")


def made(videos: Path, out: Path, methods: tuple[str, ...] = THREE, **other: Any) -> dict[str, Any]:
    words = {"budget": "passes=48", "seeds": 1, "assignments": SETTINGS, **other}
    return compare(videos, methods=methods, out=out, **words)


def numbers(out: Path) -> dict[str, Any]:
    """Of every cell all that does not depend on the clock."""
    found = {file.parent.name: json.loads(file.read_text()) for file in sorted(out.glob("cells/*/results.json"))}
    return {name: {k: v for k, v in one.items() if k not in ("cost", "frame encoder")} for name, one in found.items()}


@pytest.fixture(scope="module")
def arena(squares: Path, tmp_path_factory: pytest.TempPathFactory, quick_end: None) -> tuple[Path, dict[str, Any]]:
    """Three methods, one seed. Only for reading."""
    from cacl.training import finish

    out = tmp_path_factory.mktemp("arena") / "out"
    with pytest.MonkeyPatch.context() as patch:  # nobody reads the pages of the runs
        patch.setattr(finish, "write_run_report", lambda *parts, **keywords: "nowhere")
        return out, made(squares, out)


def test_three_methods_under_equal_conditions(arena: tuple[Path, dict[str, Any]]) -> None:
    out, found = arena
    assert found["missing"] == []
    assert found["failed"] == {}
    one = found["networks"]["r3d10"]
    assert set(one["order"]) == set(THREE)
    assert {name: row["passes a sample"] for name, row in one["rows"].items()} == {"v-moco": 2, "vcop": 3, "cacl": 4}
    assert {name: row["passes"] for name, row in one["rows"].items()} == {"v-moco": 48, "vcop": 48, "cacl": 64}
    assert found["off budget"] == {"cacl, r3d10": 33.3}  # half an epoch is not to be had
    runs = [Run(out / "cells" / f"{name}-r3d10-seed0" / "run") for name in THREE]
    initial = {(run.path / "initial" / "model.safetensors").read_bytes() for run in runs}
    assert len(initial) == 1
    catalogs = {(run.path / "videos.csv").read_text() for run in runs}
    assert len(catalogs) == 1
    assert set(one["references"]) == {"chance", "colour histogram", "thumbnail", "untrained"}
    assert one["rows"]["cacl"]["frame encoder"]["wall seconds"] > 0
    assert one["rows"]["vcop"]["frame encoder"] == {}
    assert all(row["cost"]["processor seconds"] > 0 for row in one["rows"].values())
    assert len(one["rows"]["v-moco"]["curve"]) == 4
    sizes = [file.stat().st_size for file in out.glob("cells/*/results.json")]
    assert len(sizes) == 3
    assert max(sizes) < 4000
    for name in ("report.html", "comparison.csv", "comparison.tex", "pairs.csv", "comparison.json"):
        assert (out / name).stat().st_size


def test_every_method_says_what_it_finds_for_the_same_queries(
    arena: tuple[Path, dict[str, Any]], squares: Path, tmp_path: Path
) -> None:
    out, found = arena
    queries = json.loads((out / "neighbours.json").read_text())["networks"]["r3d10"]
    cell = json.loads((out / "cells" / "vcop-r3d10-seed0" / "results.json").read_text())
    paths, labels = (json.loads((out / "queries.json").read_text())[key] for key in ("path", "label"))
    for one, row in zip(queries, sorted(cell["neighbours"], key=lambda row: row["query"]), strict=True):
        assert one["query"]["lead"]["title"] == paths[row["query"]]
        assert set(one["methods"]) == set(THREE)
        tiles = one["methods"]["vcop"]["tiles"]
        assert [float(tile["note"]) for tile in tiles] == pytest.approx(row["cosine"], abs=0.006)
        for tile in tiles:
            assert (squares / tile["title"]).is_file()
            assert tile["right"] == (Path(tile["title"]).parts[1] == labels[row["query"]])
            assert tile["moving"].startswith("data:image/webp")
    page = (out / "report.html").read_text()
    assert page.count('class="answer"') == len(queries) * len(THREE)
    moved = Path(shutil.copytree(out, tmp_path / "out"))
    (moved / "cells" / "vcop-r3d10-seed0" / "results.json").write_text(json.dumps({**cell, "neighbours": []}))
    before = (moved / "neighbours.json").stat().st_mtime_ns
    assert made(squares, moved) == found
    assert (moved / "neighbours.json").stat().st_mtime_ns == before


def test_what_every_method_knows_of_time(arena: tuple[Path, dict[str, Any]]) -> None:
    out, found = arena
    one = found["networks"]["r3d10"]
    for row in (*one["rows"].values(), one["references"]["untrained"]):
        assert {"shuffle degree", "arrow of time"} <= set(row["time"])
        assert all(0 <= percent <= 100 for percent in row["time"].values())
    by_chance = one["references"]["chance"]["time"]
    assert set(by_chance) == set(one["references"]["untrained"]["time"])
    assert by_chance["arrow of time"] == 50
    page = (out / "report.html").read_text()
    assert "Does it know time?" in page
    assert "arrow of time" in (out / "comparison.csv").read_text().splitlines()[0]


def test_fine_tuning_is_asked_for_later_and_done_once(
    arena: tuple[Path, dict[str, Any]], squares: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out, calls, original = Path(shutil.copytree(arena[0], tmp_path / "out")), [], finetuned_module.finetune

    def short(*parts: Any, **keywords: Any) -> dict[str, Any]:
        calls.append(keywords)
        shorter = {"optim.epochs": 1, "optim.batch_size": 4}
        return original(*parts, **{**keywords, "settings": {**keywords["settings"], **shorter}})

    monkeypatch.setattr(finetuned_module, "finetune", short)
    found = made(squares, out, ("vcop",), finetune=True)
    cell = out / "cells" / "vcop-r3d10-seed0"
    top = json.loads((cell / "finetune" / "results.json").read_text())["recognition"]["fine-tuned"]["all"]["top-1"]
    assert found["networks"]["r3d10"]["rows"]["vcop"]["fine-tuned"] == pytest.approx(top, abs=1e-3)
    assert calls[0]["model"] == cell / "run"
    assert "<th>fine-tuned</th>" in (out / "report.html").read_text()
    assert made(squares, out, ("vcop",), finetune=True) == found
    assert len(calls) == 1
    assert made(squares, out)["networks"]["r3d10"]["rows"]["cacl"]["fine-tuned"] is None

    def fails(*parts: Any, **keywords: Any) -> Any:
        raise UserError("No room.")

    monkeypatch.setattr(finetuned_module, "finetune", fails)
    assert made(squares, out, ("vcop", "cacl"), finetune=True)["failed"] == {
        "cacl, r3d10, seed 0, fine-tuning": "No room."
    }


def test_the_page_names_the_split_that_it_is_of() -> None:
    plan = Plan(Path("videos"), Path("out"), ("cacl",), ("c3d",), 1, Budget("passes", 48), lists=Path("lists"), split=2)
    assert "--lists lists --split 2 " in _command(plan)


def test_nothing_is_made_twice(
    arena: tuple[Path, dict[str, Any]], squares: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def never(*parts: Any, **keywords: Any) -> None:
        raise AssertionError("done again")

    out = Path(shutil.copytree(arena[0], tmp_path / "out"))
    for module, names in ((cell_module, ("pretrain", "encoder_features", "video_baselines")),
                          (shared_module, ("passes_a_sample", "pretrain_frame_encoder"))):  # fmt: skip
        for name in names:
            monkeypatch.setattr(module, name, never)
    assert made(squares, out) == arena[1]
    less = made(squares, out, THREE[:2])
    assert set(less["networks"]["r3d10"]["order"]) == set(THREE[:2])


def test_stopped_in_the_middle_it_goes_on_to_the_same_numbers(
    arena: tuple[Path, dict[str, Any]], squares: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out, original = tmp_path / "out", cell_module.encoder_features
    calls: list[int] = []

    def stops(*parts: Any, **keywords: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:  # a run is trained, and not yet measured
            raise KeyboardInterrupt
        return original(*parts, **keywords)

    monkeypatch.setattr(cell_module, "encoder_features", stops)
    with pytest.raises(KeyboardInterrupt):
        made(squares, out, ("v-moco",))
    assert not numbers(out)
    made(squares, out, ("v-moco",))
    name = "v-moco-r3d10-seed0"
    assert numbers(out)[name] == numbers(arena[0])[name]


def test_a_cell_that_fails_is_told_and_tried_again(
    arena: tuple[Path, dict[str, Any]], squares: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(arena[0], tmp_path / "out"))
    (out / "cells" / "vcop-r3d10-seed0" / "results.json").unlink()

    def fails(*parts: Any, **keywords: Any) -> Any:
        raise UserError("The loss of train is nan.")

    with monkeypatch.context() as patch:
        patch.setattr(cell_module, "trained_run", fails)
        found = made(squares, out)
    assert found["failed"] == {"vcop, r3d10, seed 0": "The loss of train is nan."}
    assert set(found["networks"]["r3d10"]["order"]) == {"v-moco", "cacl"}
    assert "The loss of train is nan." in (out / "report.html").read_text()
    assert made(squares, out)["failed"] == {}
    assert numbers(out) == numbers(arena[0])


def test_what_is_refused(arena: tuple[Path, dict[str, Any]], squares: Path, cacl: Callable[..., Any]) -> None:
    words = ["compare", squares, "--methods", "v-moco", "--budget", "passes=48", "--out", "new"]
    cacl(*words, "--methods", "v-moko").refused("v-moko is not a method", "v-moco")
    cacl(*words, "--budget", "passes=0").refused("--budget is passes=0", "1 or more")
    cacl(*words, "--jobs", 0).refused("--jobs is 0")
    cacl(*words, "--shard", "3/2").refused("--shard is 3/2")
    cacl(*words, "--out", arena[0]).refused(arena[0], "was begun with --set", "Choose another --out")
    cacl(*words, "--out", squares).refused(squares, "cacl compare did not make")
    short = cacl(*words, "--budget", "passes=3", *(word for text in SETTINGS for word in ("--set", text)))
    short.refused("--budget passes=3 does not reach for one epoch of v-moco", "passes=16")
    assert not Path("new/plan.json").exists()


def test_videos_without_labels_are_refused(tmp_path: Path, cacl: Callable[..., Any], squares: Path) -> None:
    (tmp_path / "plain").mkdir()
    for number, file in enumerate(sorted(squares.rglob("*.mp4"))[:4]):
        shutil.copy(file, tmp_path / "plain" / f"{number}.mp4")
    words = ["compare", tmp_path / "plain", "--methods", "v-moco", "--budget", "epochs=1"]
    for _ in range(2):  # the folder is free again
        cacl(*words).refused("retrieval needs labelled videos with a train and a test part")
    assert {path.name for path in Path("runs/compare").iterdir()} <= {".lock", "log.txt"}


@pytest.mark.slow
def test_all_methods(squares: Path, tmp_path: Path, quick_end: None) -> None:
    """Whatever method there is: it ends, and its passes are counted."""
    alone = tuple(name for name in METHODS if not resolve_settings(method=name).settings.method.frozen_moments)
    found = made(squares, tmp_path / "out", alone, budget="steps=4")
    assert found["failed"] == {}
    assert set(found["networks"]["r3d10"]["order"]) == set(alone)
    assert all(row["passes a sample"] >= 1 for row in found["networks"]["r3d10"]["rows"].values())


_COMMAND = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from experiments.compare.test_compare import made
if __name__ == "__main__":
    made(Path({videos!r}), Path({out!r}), seeds=2, jobs={jobs})
"""


@pytest.mark.slow
def test_killed_anywhere_side_by_side_it_goes_on(tmp_path: Path) -> None:
    """Two at a time, killed three times without warning, then to the end: the numbers of one that nobody disturbed."""
    videos = make_squares(tmp_path / "videos")
    tests = str(Path(__file__).parents[2])
    scripts = {}
    for name, jobs in (("quiet", 1), ("killed", 2)):
        scripts[name] = tmp_path / f"{name}.py"
        scripts[name].write_text(_COMMAND.format(tests=tests, videos=str(videos), out=str(tmp_path / name), jobs=jobs))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, scripts["quiet"]], env=environment, check=True, timeout=3600)
    for seconds in (12, 20, 30):
        begun = subprocess.Popen([sys.executable, scripts["killed"]], env=environment, start_new_session=True)
        time.sleep(seconds)
        os.killpg(begun.pid, signal.SIGKILL)
        begun.wait()
    subprocess.run([sys.executable, scripts["killed"]], env=environment, check=True, timeout=3600)
    assert numbers(tmp_path / "killed") == numbers(tmp_path / "quiet")
    assert len(numbers(tmp_path / "quiet")) == 6
