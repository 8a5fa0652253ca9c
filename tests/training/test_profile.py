"""``--profile``: the training is the same bit for bit, the table adds up, the trace can be read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cacl.machine.load import usable_processors
from cacl.training import pretrain as training
from cacl.training import profile
from cacl.training.pretrain import pretrain, resume
from cacl.training.profile import Profile, time_table

pytestmark = pytest.mark.usefixtures("quick_end")
PARTS = ("waiting for data", "backward", "optimiser", "momentum and queue")  # augmented beside the step, or in it:
IN_STEP = ("copy to the device", "augmentation")
NETWORKS = ("G query, forward", "G key", "frame encoder", "T query, forward", "T key", "heads and losses, forward")


def shares(text: str, title: str) -> dict[str, float]:
    lines = text[text.index(title) :].splitlines()[1:]
    found = {}
    for line in lines:
        row = re.match(r"  (\S.*?) +([\d.]+) ms +(-?[\d.]+) %", line)
        if row is None:
            break
        found[row[1]] = float(row[3])
    return found


def test_a_profiled_training_is_the_same_and_tells_where_its_time_goes(
    finished: Path,
    squares: Path,
    tiny: dict[str, Any],
    tmp_path: Path,
    fingerprint: Callable[[Path], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("WARM", "TIMED", "TRACED"):
        monkeypatch.setattr(profile, name, 1)
    run = pretrain(squares, out=tmp_path / "run", settings=tiny, profile=True)
    plain, profiled = fingerprint(finished), fingerprint(run.path)
    traces = {"profile/frames.json", "profile/train.json"}
    assert set(profiled.pop("files")) - traces == set(plain.pop("files"))
    assert profiled == plain
    log = (run.path / "log.txt").read_text()
    clips, frames = shares(log, "train: where the time"), shares(log, "frames: where the time")
    beside = len(usable_processors()) > 1
    for found in (clips, frames):
        assert {*PARTS, "metrics"} < set(found)
        assert set(IN_STEP).isdisjoint(found) if beside else set(IN_STEP) < set(found)
    assert set(NETWORKS) < set(clips)
    assert {"query, forward", "key"} < set(frames)
    for found in (clips, frames):
        assert found.pop("whole step") == 100
        assert sum(found.values()) == pytest.approx(100, abs=1)
        assert all(share >= 0 for share in found.values())
    events = json.loads((run.path / "profile" / "train.json").read_text())["traceEvents"]
    names = [event.get("name") for event in events]
    for name in (*PARTS, *NETWORKS):
        assert name in names
    assert any("conv" in str(name) for name in names)


def test_a_resumed_run_can_be_profiled(finished: Path, squares: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    short = pretrain(squares, out=tmp_path / "run", settings=tiny)
    assert not (short.path / "profile").exists()
    resume(short.path, epochs=4, profile=True)
    log = (short.path / "log.txt").read_text()
    assert "train: where the time of a step goes, mean of 1 step" in log  # 4 steps, 3 to warm up


@pytest.mark.parametrize(
    ("steps", "table", "missing", "traced"),
    [
        (1, False, "profile", 0),
        (3, False, "profile", 0),
        (4, True, "trace", 0),
        (23, True, "trace", 0),
        (24, True, "trace", 0),
        (25, True, "", 1),
        (26, True, "", 2),
        (27, True, "", 2),
    ],
)
def test_too_few_steps_are_said(steps: int, table: bool, missing: str, traced: int, tmp_path: Path) -> None:
    said: list[str] = []
    with Profile(tmp_path / "profile", name="train", device=torch.device("cpu"), say=said.append) as found:
        for _ in range(steps):
            found.step_done()
    assert any("where the time of a step goes" in text for text in said) == table
    short = [text for text in said if "too short" in text]
    assert [text.split(".")[0] for text in short] == ([f"train: too short for a {missing}"] if missing else [])
    assert all(f"are traced are 26; this had {steps}. Give it more epochs." in text for text in short)
    assert (tmp_path / "profile" / "train.json").exists() == (traced > 0)
    assert any(text.startswith(f"Trace of {traced} step") for text in said) == (traced > 0)


def test_without_a_folder_nothing_is_said_or_written() -> None:
    said: list[str] = []
    with Profile(None, name="train", device=torch.device("cpu"), say=said.append) as found:
        for _ in range(40):
            found.step_done()
    assert said == []


def test_the_table_by_hand() -> None:
    table = time_table("title", {"a": 0.2, "b": 0.7}, 1.0, 10)
    assert [line.split() for line in table.splitlines()] == [
        ["title"],
        ["a", "20.00", "ms", "20.0", "%"],
        ["b", "70.00", "ms", "70.0", "%"],
        ["everything", "else", "10.00", "ms", "10.0", "%"],
        ["whole", "step", "100.00", "ms", "100.0", "%"],
    ]


def test_the_flag_reaches_a_new_and_a_resumed_training(
    cacl: Callable[..., Any], squares: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []

    def note(verb: str) -> Callable[..., Any]:
        def work(*words: Any, profile: bool, **rest: Any) -> Any:
            asked.append((verb, profile))
            return SimpleNamespace(path="run")

        return work

    for verb in ("pretrain", "resume"):
        monkeypatch.setattr(training, verb, note(verb))
    for words in ((squares,), (squares, "--profile"), ("--resume", finished), ("--resume", finished, "--profile")):
        assert cacl("pretrain", *words).status == 0
    assert asked == [("pretrain", False), ("pretrain", True), ("resume", False), ("resume", True)]
