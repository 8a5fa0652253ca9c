"""Runs that are killed or stopped end as the run that never was: the same weights, bit for bit."""

from __future__ import annotations

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
import yaml
from children import ended, forked, kill, wait, wait_for

from cacl.training.pretrain import pretrain

LONG = {
    "frames.optim.epochs": 4,  # 16 steps
    "optim.epochs": 8,  # 16 steps
    "run.save_minutes": 0.0005,
    "data.store": "auto",
}
pytestmark = pytest.mark.usefixtures("quick_end")
Fingerprint = Callable[[Path], dict[str, Any]]


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
        wait_for(run, pattern, lambda child=child: child.poll() is None)
        waits.append(rng.uniform(0, most))
        time.sleep(waits[-1])
        child.kill()
        assert child.wait() in (-signal.SIGKILL, 0), waits  # 0: a machine so fast that it came to the end before
        words = ["pretrain", "--resume", str(run)]
    subprocess.run([sys.executable, "-m", "cacl", *words], env=environment, check=True, capture_output=True)
    assert fingerprint(run) == expected, waits


@pytest.mark.parametrize(
    ("number", "code", "pattern"),
    [
        (signal.SIGTERM, 143, "log.txt"),
        (signal.SIGINT, 130, "checkpoints/train/step-*"),
        pytest.param(signal.SIGTERM, 143, "checkpoints/frames/step-*", marks=pytest.mark.slow),
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
    wait_for(run, pattern, lambda: ended(child) is None)
    os.kill(child, number)
    assert wait(child) == code
    words = (tmp_path / "log").read_text().splitlines()[-1]
    assert words == f"Stopped, everything is saved. Go on: cacl pretrain --resume '{run}'"
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert wait(forked(["pretrain", "--resume", str(run)], tmp_path / "log")) == 0
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
    status = wait(forked(words, folder / "log", before=dies_at(event)))
    assert status in (0, -signal.SIGKILL), (folder / "log").read_text()
    if status:
        again = ["pretrain", "--resume", str(run)] if (run / "config.yaml").exists() else words
        assert wait(forked(again, folder / "log")) == 0, f"event {event}: {(folder / 'log').read_text()}"
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


@pytest.mark.parametrize("event", [45])
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
        if (status := ended(child)) is not None:
            assert status == 0, (tmp_path / "log").read_text()
            break
        kill(child)
        kills += 1
        if (run / "config.yaml").exists():
            words = ["pretrain", "--resume", str(run)]
        if kills == 12:
            assert wait(forked(words, tmp_path / "log")) == 0
            break
    assert kills > 1
    assert fingerprint(run) == expected


def test_another_process_is_refused_while_one_trains(
    command: list[str], squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    child = forked([*command, str(squares), "--out", str(run)], tmp_path / "log")
    wait_for(run, "checkpoints/frames/step-*", lambda: ended(child) is None)
    other = forked(["pretrain", "--resume", str(run)], tmp_path / "other")
    try:
        assert wait(other) == 2
        assert f"{run} is in use by process {child} on " in (tmp_path / "other").read_text()
    finally:
        kill(child)


def slow_steps() -> None:
    """Each step takes long enough for two signals."""
    from cacl.training import loop

    step = loop._step

    def waits(*arguments: Any) -> Any:
        time.sleep(3)
        return step(*arguments)

    loop._step = waits


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_it_at_once_and_it_resumes(
    second: int,
    short: tuple[list[str], dict[str, Any]],
    squares: Path,
    tmp_path: Path,
    fingerprint: Fingerprint,
) -> None:
    run = tmp_path / "run"
    child = forked([*short[0], str(squares), "--out", str(run)], tmp_path / "log", before=slow_steps)
    wait_for(run, "metrics.jsonl", lambda: ended(child) is None)
    time.sleep(0.5)  # the frame stage's first step
    os.kill(child, signal.SIGINT)
    time.sleep(0.2)
    os.kill(child, second)
    assert wait(child) == 130
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert "everything is saved" not in said
    assert wait(forked(["pretrain", "--resume", str(run)], tmp_path / "log")) == 0
    assert fingerprint(run) == short[1]


def test_a_run_that_was_moved_goes_on_from_another_folder(
    short: tuple[list[str], dict[str, Any]],
    squares: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fingerprint: Fingerprint,
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(squares)
    words = [*short[0], ".", "--out", str(tmp_path / "a" / "run")]  # the videos by a relative name
    assert wait(forked(words, tmp_path / "log", before=dies_at(60))) == -signal.SIGKILL
    assert list((tmp_path / "a" / "run").glob("checkpoints/*/step-*"))
    run = (tmp_path / "a" / "run").rename(tmp_path / "b" / "moved")
    monkeypatch.chdir(tmp_path / "b")
    assert wait(forked(["pretrain", "--resume", "moved"], tmp_path / "log")) == 0, (tmp_path / "log").read_text()
    assert fingerprint(run) == short[1]
    assert not list((tmp_path / "a").iterdir())
