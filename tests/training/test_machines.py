"""Two machines that train together, one of which is lost: two agents of torchrun on this host, each with one process.

A machine that dies takes its agent and its process with it at once, mid-epoch.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from children import children_of, wait_for
from training.rows import rows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes by /proc"),
]
EPOCHS = 5  # 10 steps of clips, after 4 of frames
SOON = "last_call_timeout=3,keep_alive_interval=1,keep_alive_max_attempt=2"
OWN_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # else what the dead left is in the way: docs/scale.md
Agent = Callable[[Path], subprocess.Popen[bytes]]


@pytest.fixture
def machines(tiny: dict[str, Any], squares: Path, tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    """``machines()`` is a new cluster, with changes of settings; called with a run folder it starts an agent.

    It goes on with as few as ``least`` machines.
    """
    file, started = tmp_path / "tiny.yaml", list[subprocess.Popen[bytes]]()
    file.write_text(yaml.safe_dump({**tiny, "optim.epochs": EPOCHS, "run.save_minutes": 1e-4}))

    def cluster(least: int = 1, **changes: Any) -> Agent:
        words = ["-m", "cacl", "pretrain", str(squares), "--config", str(file)]
        words += [f"--set={key}={value}" for key, value in changes.items()]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

        begun: list[Path] = []

        def agent(run: Path) -> subprocess.Popen[bytes]:
            conf = f"{SOON},is_host={int(not begun)}"  # the first, that lasts, keeps the meeting place
            begun.append(run)
            elastic = [f"--nnodes={least}:2", "--nproc-per-node=1", "--max-restarts=5", "--rdzv-backend=c10d"]
            elastic += [f"--rdzv-endpoint=127.0.0.1:{port}", f"--rdzv-id={port}", f"--rdzv-conf={conf}"]
            command = [sys.executable, "-m", "torch.distributed.run", *elastic, "--local-addr=127.0.0.1"]
            command += [*words, "--out", str(run)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **OWN_STORE}
            with (tmp_path / f"log-{len(started)}").open("wb") as log:
                started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            return started[-1]

        return agent

    yield cluster
    for each in started:
        if each.poll() is None:
            lose(each)


def lose(agent: subprocess.Popen[bytes]) -> None:
    """What a power cut does to a machine."""
    workers = children_of(agent.pid)
    for number in [agent.pid, *workers]:
        os.kill(number, signal.SIGKILL)
    agent.wait()


def lost_in_the_middle(agent: Agent, run: Path) -> subprocess.Popen[bytes]:
    """Two machines begin, the second is lost after the first checkpoint: the one that is left."""
    first = agent(run)
    second = agent(run)
    wait_for(run, "checkpoints/train/step-*", lambda: first.poll() is None and second.poll() is None, 500)
    lose(second)
    return first


def steps(run: Path) -> list[tuple[str, int]]:
    return [(row["kind"], row["step"]) for row in rows(run)]


ALL = [("frames", n) for n in range(1, 5)] + [("train", n) for n in range(1, 2 * EPOCHS + 1)]


def said(tmp_path: Path) -> str:
    return "\n".join(log.read_text(errors="replace") for log in sorted(tmp_path.glob("log-*")))


def test_what_is_left_goes_on_from_the_last_checkpoint(machines: Callable[..., Agent], tmp_path: Path) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    slow = {"optim.lr": 1e-8, "frames.optim.lr": 1e-8}  # so that a loss tells of the samples, and of little else
    left = lost_in_the_middle(machines(**slow), run)
    assert left.wait(timeout=500) == 0, said(tmp_path)
    assert steps(run) == ALL
    assert "steps were made with 2 processes, now it is 1. The samples stay the same" in (run / "log.txt").read_text()
    lost = [line for line in said(tmp_path).splitlines() if line.startswith("Another process of this job has gone")]
    assert len(lost) == 1
    assert f"To go on: cacl pretrain --resume {run}" in lost[0]
    alone = machines(**slow)(whole)
    assert alone.wait(timeout=500) == 0, said(tmp_path)
    for one, other in zip(rows(run), rows(whole), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_machines_whose_process_died_both_begin_again_and_end_as_if_nothing_had_been(
    machines: Callable[..., Agent], tmp_path: Path, fingerprint: Any
) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    agent = machines(least=2)  # on a busy machine one would begin alone, and sums of one process are rounded otherwise
    both = [agent(run), agent(run)]
    wait_for(run, "checkpoints/train/step-*", lambda: all(each.poll() is None for each in both), 500)
    (worker,) = children_of(both[1].pid)
    os.kill(worker, signal.SIGKILL)
    assert [each.wait(timeout=500) for each in both] == [0, 0], said(tmp_path)
    undisturbed = machines(least=2)
    assert [each.wait(timeout=500) for each in [undisturbed(whole), undisturbed(whole)]] == [0, 0], said(tmp_path)
    assert steps(run) == ALL
    assert fingerprint(run) == fingerprint(whole)
