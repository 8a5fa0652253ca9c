"""The run folder: what it refuses, whom its lock keeps out, and rows that are neither doubled nor lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacl.config import resolve
from cacl.errors import UserError
from cacl.lock import FolderLock, InUse, locked
from cacl.presets import SMALL
from cacl.run_folder import Metrics, RunFolder, environment

DATA = {"videos": "/some/videos", "lists": None, "split": 1}

HOLDER = """
import os, sys, time
from pathlib import Path
from cacl.run_folder import RunFolder
with RunFolder.open(Path(sys.argv[1])):
    if len(sys.argv) > 2 and os.fork() == 0:
        os.write(1, b"child %d\\n" % os.getpid())
        time.sleep(60)
        os._exit(0)
    os.write(1, b"held %d\\n" % os.getpid())  # one write a line: two processes share the pipe
    time.sleep(60)
"""


def create(path: Path) -> RunFolder:
    return RunFolder.create(path, resolve(SMALL), DATA)


# Making and opening --------------------------------------------------------------------------------------------------


def test_a_new_run_says_what_it_is(tmp_path):
    run = create(tmp_path / "runs" / "a")
    assert run.resolved == resolve(SMALL)
    assert run.data == DATA
    found = json.loads((run.path / "environment.json").read_text())
    assert {"cacl", "python", "torch", "numpy", "platform", "command"} <= set(found)
    assert RunFolder.open(run.path).resolved == run.resolved
    assert not list(run.path.glob("*.partial"))
    assert environment()["torch"] == found["torch"]


def test_an_empty_folder_may_be_given(tmp_path):
    assert create(tmp_path).path == tmp_path


def test_another_run_is_refused_with_both_ways_out(tmp_path):
    create(tmp_path / "a")
    before = (tmp_path / "a" / "config.yaml").read_text()
    with pytest.raises(UserError, match=r"holds a run already.*--resume") as error:
        create(tmp_path / "a")
    assert "--out" in str(error.value)
    assert (tmp_path / "a" / "config.yaml").read_text() == before


def test_anything_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="not empty; choose another --out"):
        create(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match="choose another --out"):
        create(tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another --out"):
        create(tmp_path / "file" / "run")


@pytest.mark.parametrize("content", [None, "folder"])
def test_opening_what_is_no_run(tmp_path, content):
    path = tmp_path / "x"
    if content:
        path.mkdir()
    with pytest.raises(UserError, match="is not a run folder"):
        RunFolder.open(path)


@pytest.mark.parametrize("fails_at", range(1, 4))
def test_config_yaml_comes_last_so_that_a_run_is_whole_or_none(tmp_path, fails_at, monkeypatch):
    """A kill between two of the first files leaves no run that could be resumed with half of its files."""
    written, write = [], RunFolder.write

    def failing(self, name, text):
        written.append(name)
        if len(written) == fails_at:
            raise KeyboardInterrupt
        write(self, name, text)

    monkeypatch.setattr(RunFolder, "write", failing)
    with pytest.raises(KeyboardInterrupt):
        create(tmp_path / "a")
    with pytest.raises(UserError, match="is not a run folder"):
        RunFolder.open(tmp_path / "a")
    monkeypatch.setattr(RunFolder, "write", write)
    assert create(tmp_path / "a").data == DATA  # and the same command can be given again


def test_a_failed_write_leaves_the_old_text(tmp_path, monkeypatch):
    run = create(tmp_path / "a")
    run.write("notes.txt", "old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"notes.txt could not be written \(No space left on device\)"):
        run.write("notes.txt", "new")
    assert (run.path / "notes.txt").read_text() == "old"


def test_log_goes_to_the_user_and_to_the_file(tmp_path, capsys):
    run = create(tmp_path / "a")
    run.log("12 videos …")
    run.log("done")
    assert capsys.readouterr().err == "12 videos …\ndone\n"
    lines = (run.path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["12 videos …", "done"]


# The lock ------------------------------------------------------------------------------------------------------------


def hold(path: Path, *more: str) -> tuple[subprocess.Popen[str], list[str]]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path), *more], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, [process.stdout.readline().strip() for _ in range(1 + len(more))]


def test_a_second_process_is_refused_with_the_holders_name_and_kill_9_frees(tmp_path):
    run = create(tmp_path / "a")
    process, lines = hold(run.path)
    try:
        assert lines == [f"held {process.pid}"]
        with pytest.raises(UserError, match=f"is in use by process {process.pid} on ") as error, run:
            pass
        assert str(run.path) in str(error.value)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with run:
            assert f"process {os.getpid()} on" in (run.path / ".lock").read_text()
    finally:
        process.kill()
        process.wait()


def test_a_forked_child_does_not_keep_the_lock_of_a_killed_parent(tmp_path):
    run = create(tmp_path / "a")
    process, lines = hold(run.path, "fork")
    child = next(int(line.split()[1]) for line in lines if line.startswith("child"))
    try:
        with pytest.raises(UserError, match="in use"), run:
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        os.kill(child, 0)  # it lives
        with run:
            pass
    finally:
        process.kill()
        process.wait()
        os.kill(child, signal.SIGKILL)


def test_the_lock_is_free_after_the_block_and_after_an_error(tmp_path):
    run = create(tmp_path / "a")

    def refuse_another_and_fail():
        with run:
            with pytest.raises(UserError, match=f"process {os.getpid()}"), RunFolder.open(run.path):
                pass
            raise RuntimeError

    with pytest.raises(RuntimeError):
        refuse_another_and_fail()
    with RunFolder.open(run.path):
        pass


def test_a_forked_child_that_ends_leaves_the_lock_with_its_parent(tmp_path):
    run = create(tmp_path / "a")
    with run:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        with pytest.raises(UserError, match="in use"), RunFolder.open(run.path):
            pass


def test_a_short_change_waits_for_who_is_in_and_for_nothing_else(tmp_path, monkeypatch):
    folder, waits = tmp_path / "new" / "folder", []
    with locked(folder):
        held = FolderLock(folder)
        monkeypatch.setattr("cacl.lock.time.sleep", lambda seconds: waits.append(held.__exit__(None, None, None)))
        with pytest.raises(InUse):
            held.__enter__()
    held.__enter__()
    with locked(folder):
        assert len(waits) == 1
    (tmp_path / "broken" / ".lock").mkdir(parents=True)
    with pytest.raises(UserError, match="cannot be written"), locked(tmp_path / "broken"):
        pass
    assert len(waits) == 1


# Metrics -------------------------------------------------------------------------------------------------------------


def rows(path: Path) -> list[tuple[str, int]]:
    return [(row["kind"], row["step"]) for row in map(json.loads, path.read_text().splitlines())]


def test_rows_go_on_behind_the_checkpoint(tmp_path):
    """Killed after step 7 with a checkpoint of step 5: steps 6 and 7 are done again."""
    path = tmp_path / "metrics.jsonl"
    frames = Metrics(path, kind="frames", step=0)
    for step in range(1, 10):
        frames.add({"step": step})
    frames.close()
    first = Metrics(path, kind="train", step=0)
    for step in range(1, 8):
        first.add({"step": step, "loss": 1.0})
    first.flush()
    with path.open("a") as torn:
        torn.write('{"kind": "train", "step": 8, "lo')
    again = Metrics(path, kind="train", step=5)
    for step in range(6, 11):
        again.add({"step": step, "loss": 2.0})
    again.close()
    assert rows(path) == [("frames", s) for s in range(1, 10)] + [("train", s) for s in range(1, 11)]
    losses = [json.loads(line).get("loss") for line in path.read_text().splitlines()[9:]]
    assert losses == [1.0] * 5 + [2.0] * 5


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(0, 60)), max_size=5))
def test_any_sequence_of_kills_gives_every_step_once(tmp_path_factory, kills):
    """Each part runs some steps, saves at one of them, and is torn at a random byte behind what the checkpoint saw."""
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    saved = 0
    for steps, save_at, cut in kills:
        metrics, safe = Metrics(path, kind="train", step=saved), path.stat().st_size
        start = saved
        for step in range(start + 1, start + steps + 1):
            metrics.add({"step": step})
            if step == start + min(save_at, steps):
                metrics.flush()
                saved, safe = step, path.stat().st_size
        metrics.close()
        size = path.stat().st_size
        os.truncate(path, max(safe, size - cut))
    metrics = Metrics(path, kind="train", step=saved)
    metrics.add({"step": saved + 1})
    metrics.close()
    assert rows(path) == [("train", step) for step in range(1, saved + 2)]


def test_not_a_number_survives(tmp_path):
    metrics = Metrics(tmp_path / "m.jsonl", kind="train", step=0)
    metrics.add({"step": 1, "loss": float("nan")})
    metrics.close()
    Metrics(tmp_path / "m.jsonl", kind="train", step=1).close()
    assert rows(tmp_path / "m.jsonl") == [("train", 1)]


def test_rows_are_on_disk_after_flush(tmp_path):
    metrics = Metrics(tmp_path / "m.jsonl", kind="train", step=0)
    metrics.add({"step": 1})
    metrics.flush()
    assert rows(tmp_path / "m.jsonl") == [("train", 1)]
    metrics.close()
