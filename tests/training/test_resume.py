"""Runs that are killed, stopped and continued end as the run that never was: the same weights, bit for bit."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cacl import cli
from cacl.errors import UserError
from cacl.runs import RunFolder
from cacl.training.pretrain import pretrain, resume

LONG = {
    "frames.optim.epochs": 4,  # 16 steps
    "optim.epochs": 8,  # 16 steps
    "run.save_minutes": 0.0005,
    "data.store": "auto",
}
Fingerprint = Callable[[Path], dict[str, Any]]


def forked(arguments: list[str], log: Path, *, before: Callable[[], None] = lambda: None) -> int:
    """The command line in a child of this process, which has PyTorch loaded already; its process number."""
    child = os.fork()
    if child:
        return child
    try:
        torch.set_num_threads(1)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        sys.argv = ["cacl", *arguments]
        before()
        cli.main()
    except SystemExit as end:
        sys.stderr.flush()
        os._exit(int(end.code or 0))
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(70)


def ended(child: int, seconds: float = 120) -> int:
    """Exit status of a child, negative for a signal."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError(f"no end after {seconds} s")


def wait_for(path: Path, pattern: str, child: subprocess.Popen[bytes] | int, seconds: float = 120) -> None:
    """Until a file is there; an error when the child ends before."""
    until = time.monotonic() + seconds
    while not any(path.glob(pattern)):
        assert time.monotonic() < until, f"no {pattern} after {seconds} s"
        if isinstance(child, int):
            assert os.waitpid(child, os.WNOHANG)[0] == 0, f"ended before {pattern}"
        else:
            assert child.poll() is None, f"ended before {pattern}"
        time.sleep(0.002)


@pytest.fixture(scope="module")
def long(tiny: dict[str, Any]) -> dict[str, Any]:
    return {**tiny, **LONG}


@pytest.fixture(scope="module")
def command(long: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """``pretrain --config``, with the settings in a file."""
    file = tmp_path_factory.mktemp("settings") / "long.yaml"
    file.write_text(yaml.safe_dump(long))
    return ["pretrain", "--config", str(file)]


@pytest.fixture(scope="module")
def expected(
    long: dict[str, Any], squares: Path, tmp_path_factory: pytest.TempPathFactory, fingerprint: Fingerprint
) -> dict[str, Any]:
    """What the run is that nobody interrupts."""
    return fingerprint(pretrain(squares, out=tmp_path_factory.mktemp("whole") / "run", settings=long).path)


def test_killed_at_random_moments_it_ends_the_same(
    command: list[str], squares: Path, tmp_path: Path, expected: dict[str, Any], fingerprint: Fingerprint
) -> None:
    run, rng = tmp_path / "run", random.Random()
    words, waits = [*command, str(squares), "--out", str(run)], []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # while the frames are decoded, in the frame stage, and in the video stage
    for pattern, most in (("config.yaml", 0.1), ("checkpoints/frames/step-*", 0.3), ("checkpoints/train/step-*", 0.4)):
        child = subprocess.Popen([sys.executable, "-m", "cacl", *words], env=environment, stderr=subprocess.DEVNULL)
        wait_for(run, pattern, child)
        waits.append(rng.uniform(0, most))
        time.sleep(waits[-1])
        child.kill()
        assert child.wait() == -signal.SIGKILL, waits
        assert not (run / "finished.json").exists()
        words = ["pretrain", "--resume", str(run)]
    subprocess.run([sys.executable, "-m", "cacl", *words], env=environment, check=True, capture_output=True)
    assert fingerprint(run) == expected, waits


@pytest.mark.parametrize(
    ("number", "code", "pattern"),
    [
        (signal.SIGTERM, 143, "log.txt"),
        (signal.SIGINT, 130, "checkpoints/frames/step-*"),
        (signal.SIGTERM, 143, "checkpoints/train/step-*"),
    ],
)
def test_a_signal_ends_the_step_saves_and_says_how_to_go_on(
    number: int,
    code: int,
    pattern: str,
    command: list[str],
    squares: Path,
    tmp_path: Path,
    expected: dict[str, Any],
    fingerprint: Fingerprint,
) -> None:
    run = tmp_path / "my run"
    child = forked([*command, str(squares), f"--out={run}"], tmp_path / "log")
    wait_for(run, pattern, child)
    os.kill(child, number)
    assert ended(child) == code
    words = (tmp_path / "log").read_text().splitlines()[-1]
    assert words == f"Stopped, everything is saved. Go on: cacl pretrain --resume '{run}'"
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert ended(forked(["pretrain", "--resume", str(run)], tmp_path / "log")) == 0
    assert fingerprint(run) == expected


def dies_at(event: int) -> Callable[[], None]:
    """Kill this process just before its ``event``-th step on the disk, whatever that is."""

    def install() -> None:
        count = 0

        def counting(original: Callable[..., Any]) -> Callable[..., Any]:
            def step(*arguments: Any, **keywords: Any) -> Any:
                nonlocal count
                count += 1
                if count == event:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*arguments, **keywords)

            return step

        for name in ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir"):
            setattr(os, name, counting(getattr(os, name)))

    return install


def crash_and_resume(
    event: int, command: list[str], squares: Path, folder: Path, fingerprint: Fingerprint
) -> tuple[bool, dict[str, Any]]:
    """Whether it came so far, and the run in the end. The same command is given again where that is allowed."""
    run = folder / f"run-{event}"
    words = [*command, str(squares), "--out", str(run)]
    status = ended(forked(words, folder / "log", before=dies_at(event)))
    assert status in (0, -signal.SIGKILL), (folder / "log").read_text()
    if status:
        again = ["pretrain", "--resume", str(run)] if (run / "config.yaml").exists() else words
        assert ended(forked(again, folder / "log")) == 0, f"event {event}: {(folder / 'log').read_text()}"
    return status != 0, fingerprint(run)


@pytest.fixture(scope="module")
def short(
    tiny: dict[str, Any], squares: Path, tmp_path_factory: pytest.TempPathFactory, fingerprint: Fingerprint
) -> tuple[list[str], dict[str, Any]]:
    """A command of few steps, and what comes of it."""
    settings = {**tiny, "data.store": "auto", "optim.epochs": 1}
    folder = tmp_path_factory.mktemp("short")
    (folder / "short.yaml").write_text(yaml.safe_dump(settings))
    whole = fingerprint(pretrain(squares, out=folder / "run", settings=settings).path)
    return ["pretrain", "--config", str(folder / "short.yaml")], whole


@pytest.mark.parametrize("event", [2, 6, 40])
def test_killed_at_some_step_on_the_disk(
    event: int, short: tuple[list[str], dict[str, Any]], squares: Path, tmp_path: Path, fingerprint: Fingerprint
) -> None:
    died, found = crash_and_resume(event, short[0], squares, tmp_path, fingerprint)
    assert died
    assert found == short[1]


@pytest.mark.slow
def test_killed_at_every_step_on_the_disk(
    short: tuple[list[str], dict[str, Any]], squares: Path, tmp_path: Path, fingerprint: Fingerprint
) -> None:
    died, event = True, 0
    while died:
        event += 1
        died, found = crash_and_resume(event, short[0], squares, tmp_path, fingerprint)
        assert found == short[1], event
        shutil.rmtree(tmp_path / f"run-{event}")
    assert event > 40


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_killed_over_and_over(
    seed: int,
    command: list[str],
    squares: Path,
    tmp_path: Path,
    expected: dict[str, Any],
    fingerprint: Fingerprint,
) -> None:
    run, rng, kills = tmp_path / "run", random.Random(seed), 0
    words = [*command, str(squares), "--out", str(run)]
    while True:
        child = forked(words, tmp_path / "log")
        time.sleep(rng.uniform(0.1, 1.2))
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0, (tmp_path / "log").read_text()
            break
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
        if (run / "config.yaml").exists():
            words = ["pretrain", "--resume", str(run)]
        if kills == 12:
            assert ended(forked(words, tmp_path / "log")) == 0
            break
    assert kills > 1
    assert fingerprint(run) == expected


def training(found: dict[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in ("checkpoint", "encoder", "untrained", "metrics", "found")}


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(
    workers: int, finished: Path, squares: Path, tiny: dict[str, Any], tmp_path: Path, fingerprint: Fingerprint
) -> None:
    run = pretrain(squares, out=tmp_path / "run", settings={**tiny, "data.workers": workers})
    assert fingerprint(run.path) == fingerprint(finished)


def test_a_raw_store_gives_what_the_files_give(
    finished: Path, squares: Path, tiny: dict[str, Any], tmp_path: Path, fingerprint: Fingerprint
) -> None:
    words = ["prepare", str(squares), "--out", str(tmp_path / "s"), "--kind", "raw", "--size", "32", "40"]
    assert ended(forked([*words, "--workers", "0"], tmp_path / "log")) == 0
    run = pretrain(tmp_path / "s", out=tmp_path / "run", settings=tiny)
    assert training(fingerprint(run.path)) == training(fingerprint(finished))


def test_frames_that_are_kept_give_nearly_what_the_files_give(
    finished: Path, squares: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    run = pretrain(squares, out=tmp_path / "run", settings={**tiny, "data.store": "auto"})
    losses = [[json.loads(row)["loss"] for row in (path / "metrics.jsonl").open()] for path in (finished, run.path)]
    assert losses[0] == pytest.approx(losses[1], rel=0.2)
    assert losses[0] != losses[1]


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_other_settings_are_refused_with_both_values(copy: Path) -> None:
    before = (copy / "config.yaml").read_bytes()
    with pytest.raises(UserError) as caught:
        resume(copy, settings={"optim.lr": 0.5, "run.seed": 3, "data.workers": 2})
    assert "optim.lr was 0.002, you asked for 0.5" in str(caught.value)
    assert "run.seed was 0, you asked for 3" in str(caught.value)
    assert "data.workers" not in str(caught.value)
    with pytest.raises(UserError, match=r"optim\.epochs was 2, 1 is fewer"):
        resume(copy, settings={"optim.epochs": 1})
    with pytest.raises(UserError, match=r"Did you mean 'optim\.lr'"):
        resume(copy, assignments=["optim.lrr=0.5"])
    assert (copy / "config.yaml").read_bytes() == before


def test_a_finished_run_says_so(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file() and p.name not in ("log.txt", ".lock")}
    resume(copy)
    assert "is finished already; a longer training: cacl pretrain --resume" in capsys.readouterr().err
    assert before == {p: p.read_bytes() for p in before}


def test_more_epochs_go_on_where_it_ended(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = (copy / "metrics.jsonl").read_text().splitlines()
    run = resume(copy, settings={"optim.epochs": 4, "data.workers": 1})
    assert "Training goes on to 4 epochs; the schedule is worked out anew." in capsys.readouterr().err
    assert (copy / "metrics.jsonl").read_text().splitlines()[: len(old)] == old
    rows = [row for row in run.metrics if row["kind"] == "train"]
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert run.finished is not None
    assert run.finished["steps"] == 8
    assert RunFolder(copy).resolved.origins["optim.epochs"] == "resume"
    assert rows[4]["lr"] == pytest.approx(0.002 / 2)  # half of the longer cosine
    assert rows[7]["lr"] > 0


def test_a_run_in_use_is_refused(copy: Path) -> None:
    with RunFolder.open(copy), pytest.raises(UserError, match=f"in use by process {os.getpid()}"):
        resume(copy)
    with RunFolder.open(copy), pytest.raises(UserError, match="in use by"):
        resume(copy, settings={"optim.epochs": 9})
    assert RunFolder(copy).resolved.settings.optim.epochs == 2


def test_another_process_is_refused_while_one_trains(
    command: list[str], squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    child = forked([*command, str(squares), "--out", str(run)], tmp_path / "log")
    wait_for(run, "checkpoints/frames/step-*", child)
    other = forked(["pretrain", "--resume", str(run)], tmp_path / "other")
    try:
        assert ended(other) == 2
        assert f"{run} is in use by process {child} on " in (tmp_path / "other").read_text()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_what_is_no_run_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run folder"):
        resume(tmp_path / "nothing")
