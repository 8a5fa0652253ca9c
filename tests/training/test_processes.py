"""``--processes`` and torchrun from the command line: started, killed, stopped, resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from children import children_of, wait_for
from training.rows import rows

from cacl.training.pretrain import resume

pytestmark = [
    pytest.mark.usefixtures("quick_end"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes by /proc"),
]
EPOCHS = 8  # 16 steps of clips, after 4 of frames


@pytest.fixture(scope="module")
def words(tiny: dict[str, Any], squares: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """``pretrain`` of a run that saves all the time, but for ``--out``."""
    file = tmp_path_factory.mktemp("settings") / "tiny.yaml"
    file.write_text(yaml.safe_dump({**tiny, "optim.epochs": EPOCHS, "run.save_minutes": 1e-4}))
    return ["pretrain", str(squares), "--config", str(file)]


class Job:
    """A command of several processes."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with log.open("wb") as file:
            self.launcher = subprocess.Popen(command, env=environment, stdout=file, stderr=file)

    def workers(self) -> list[int]:
        """Process numbers of its children, in the order of their ranks."""
        return children_of(self.launcher.pid)

    def wait_for(self, path: Path, pattern: str) -> None:
        def lives() -> bool:
            assert self.launcher.poll() is None, self.said()
            return True

        wait_for(path, pattern, lives)

    def ended(self) -> int:
        return self.launcher.wait(timeout=240)

    def said(self) -> str:
        return self.log.read_text(errors="replace")


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Any]:
    started: list[Job] = []

    def start(*command: str) -> Job:
        started.append(Job([sys.executable, "-m", *command], tmp_path / f"log-{len(started)}"))
        return started[-1]

    yield start
    for each in started:
        for number in [*each.workers(), each.launcher.pid]:
            if each.launcher.poll() is None:
                os.kill(number, signal.SIGKILL)
        each.launcher.wait()


def steps(run: Path) -> list[tuple[str, int]]:
    return [(row["kind"], row["step"]) for row in rows(run)]


ALL = [("frames", n) for n in range(1, 5)] + [("train", n) for n in range(1, 2 * EPOCHS + 1)]


def test_a_killed_process_ends_the_job_in_one_sentence_and_one_process_goes_on(
    words: list[str], job: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    killed = job("cacl", *words, "--out", str(run), "--processes", "2")
    killed.wait_for(run, "checkpoints/train/step-*")
    workers = killed.workers()
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    assert killed.ended() == 2
    assert not any(Path(f"/proc/{number}").exists() for number in workers)
    assert killed.said().splitlines()[-1] == (
        "Process 2 of 2 was killed (SIGKILL), which ends them all. "
        f"Go on from the last checkpoint: cacl pretrain --resume {run} --processes 2"
    )
    assert "Traceback" not in killed.said()
    resume(run)
    assert steps(run) == ALL
    assert "steps were made with 2 processes, now it is 1" in (run / "log.txt").read_text()
    assert (run / "encoder" / "config.json").exists()


@pytest.mark.slow
def test_what_is_wrong_is_said_once(words: list[str], job: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    refused = job("cacl", *words, "--out", str(run), "--processes", "3")
    assert refused.ended() == 2
    assert refused.said() == "optim.batch_size is 4, which 3 processes cannot share equally; set it to 3.\n"
    assert not run.exists()


@pytest.mark.slow
def test_ctrl_c_saves_and_as_many_processes_end_as_if_nothing_had_been(
    words: list[str], job: Any, tmp_path: Path, fingerprint: Any
) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    stopped = job("cacl", *words, "--out", str(run), "--processes", "2")
    stopped.wait_for(run, "checkpoints/train/step-*")
    stopped.launcher.send_signal(signal.SIGINT)
    assert stopped.ended() == 130
    last = f"Stopped, everything is saved. Go on: cacl pretrain --resume {run} --processes 2"
    assert stopped.said().splitlines()[-1] == last
    assert stopped.said().count("Stopped") == 1
    done = steps(run)
    assert done == ALL[: len(done)] != ALL
    assert job("cacl", "pretrain", "--resume", str(run), "--processes", "2").ended() == 0
    assert job("cacl", *words, "--out", str(whole), "--processes", "2").ended() == 0
    assert fingerprint(run) == fingerprint(whole)
    assert steps(whole) == ALL


@pytest.mark.slow
def test_without_the_one_that_started_them_they_save_and_stop(words: list[str], job: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    orphaned = job("cacl", *words, "--out", str(run), "--processes", "2")
    orphaned.wait_for(run, "checkpoints/train/step-*")
    workers = orphaned.workers()
    orphaned.launcher.kill()
    orphaned.ended()
    until = time.monotonic() + 120
    while any(Path(f"/proc/{number}/exe").exists() for number in workers):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert "Stopped, everything is saved." in orphaned.said(), (workers, orphaned.said())
    done = steps(run)
    assert done == ALL[: len(done)] != ALL


@pytest.mark.slow
def test_torchrun_starts_it_again_from_the_last_checkpoint(words: list[str], job: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    elastic = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1", "-m", "cacl"]
    restarted = job(*elastic, *words, "--out", str(run))
    restarted.wait_for(run, "checkpoints/train/step-*")
    os.kill(restarted.workers()[1], signal.SIGKILL)
    assert restarted.ended() == 0, restarted.said()
    assert steps(run) == ALL
    assert (run / "encoder" / "config.json").exists()


@pytest.mark.slow
def test_torchrun_starts_a_fine_tuning_again_too(finished: Path, squares: Path, job: Any, tmp_path: Path) -> None:
    """It gave the same command, which refused the run as begun already."""
    run = tmp_path / "run"
    quick = ["optim.batch_size=4", "optim.epochs=6", "run.precision=float32", "run.device=cpu", "run.threads=1"]
    words = [f"--set={pair}" for pair in (*quick, "run.save_minutes=0.0001")]
    elastic = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1", "-m", "cacl"]
    restarted = job(*elastic, "finetune", str(squares), "--model", str(finished), "--out", str(run), *words)
    part = run / "parts" / "split1-all"
    restarted.wait_for(part, "checkpoints/step-*")
    os.kill(restarted.workers()[1], signal.SIGKILL)
    assert restarted.ended() == 0, restarted.said()
    assert steps(part) == [("finetune", n) for n in range(1, 13)]
    assert (run / "results.json").exists()


@pytest.mark.slow
def test_fine_tuning_shares_training_and_evaluation(finished: Path, squares: Path, job: Any, tmp_path: Path) -> None:
    quick = [f"--set={pair}" for pair in ("optim.batch_size=4", "optim.epochs=2", "run.precision=float32")]
    quick += ["--set=run.device=cpu", "--set=run.threads=1"]
    words = ["finetune", str(squares), "--model", str(finished), *quick]
    found = []
    for count in ("1", "2"):
        run = tmp_path / count
        ended = job("cacl", *words, "--out", str(run), "--processes", count)
        assert ended.ended() == 0, ended.said()
        found.append(json.loads((run / "results.json").read_text())["recognition"])
        assert (run / "classifier" / "config.json").exists()
    one, two = found
    assert two.keys() == one.keys()
    for name in ("linear probe", "k-NN"):  # of frozen features: the same bits
        assert two[name] == one[name]
    first, second = (
        json.loads((tmp_path / c / "parts/split1-all/metrics.jsonl").read_text().splitlines()[0]) for c in "12"
    )
    assert second["loss"] == pytest.approx(first["loss"], rel=1e-4)


@pytest.mark.slow
def test_evaluation_in_several_processes_gives_the_same_file(finished: Path, job: Any, tmp_path: Path) -> None:
    import shutil

    found = []
    for count in ("1", "2", "3"):
        run = shutil.copytree(finished, tmp_path / count)
        assert job("cacl", "evaluate", str(run), "--processes", count).ended() == 0
        found.append(json.loads((run / "results.json").read_text()))
    assert found[1] == found[0]
    assert found[2] == found[0]
