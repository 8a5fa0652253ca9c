"""Threads by the load of the machine: counted against processes that are really busy, and in pretended tables."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from cacl.machine import load
from cacl.machine.load import free_threads, one_thread, others_busy, threads_auto, threads_for, usable_processors

ROW = "cpu{n} {user} {nice} 30 {idle} {waiting} 5 6 7 99 99\n"  # user nice system idle iowait irq softirq steal guest…


@pytest.mark.parametrize(
    ("most", "cpus", "busy", "threads"),
    [
        (2, 2, 0.0, 2),  # alone
        (2, 2, 0.4, 2),  # the second is free for the better part
        (2, 2, 0.5, 1),
        (2, 2, 1.0, 1),
        (2, 2, 2.0, 1),  # all is taken: one all the same
        (8, 8, 1.1, 7),
        (8, 8, 7.9, 1),
        (8, 16, 4.0, 8),  # two threads a core: PyTorch takes one of them
        (8, 16, 12.6, 3),
        (1, 2, 0.0, 1),
    ],
)
def test_a_thread_for_each_processor_that_is_free_for_the_better_part(most, cpus, busy, threads):
    assert threads_for(most, cpus=cpus, busy=busy) == threads


def write(path: Path, *, cpus: int, user: int, nice: int = 0, idle: int = 0, waiting: int = 0) -> None:
    rows = "".join(ROW.format(n=n, user=user, nice=nice, idle=idle, waiting=waiting) for n in range(cpus))
    path.write_text("cpu  1 2 3 4 5 6 7 8 9 10\n" + rows + "intr 17 0\n")


@pytest.fixture
def stat(monkeypatch, tmp_path):
    """Two processors' counters in a file, a clock and our own processor time, all moved by hand."""
    now = SimpleNamespace(clock=100.0, own=5.0)
    monkeypatch.setattr(load, "_STAT", tmp_path / "stat")
    monkeypatch.setattr(load, "usable_processors", lambda: [0, 1])
    monkeypatch.setattr(load.time, "monotonic", lambda: now.clock)
    monkeypatch.setattr(load.time, "process_time", lambda: now.own)
    monkeypatch.setattr(load.os, "sysconf", lambda name: 100)
    now.file = tmp_path / "stat"
    return now


@pytest.mark.parametrize(
    ("user", "nice", "idle", "own", "busy"),
    [
        (0, 0, 100, 0.0, 0.0),
        (100, 0, 0, 0.0, 2.0),
        (40, 10, 50, 0.0, 1.0),  # what runs at a low priority counts too
        (50, 0, 50, 1.0, 0.0),  # that was ourselves
        (50, 0, 50, 0.25, 0.75),
    ],
)
def test_what_others_take_is_told_from_the_counters(stat, user, nice, idle, own, busy):
    write(stat.file, cpus=3, user=1000)  # the third is not ours

    def wait(seconds):
        write(stat.file, cpus=3, user=1000 + user, nice=nice, idle=idle, waiting=70)  # for a disk: free to compute
        stat.clock, stat.own = stat.clock + 1.0, stat.own + own

    assert others_busy(wait=wait) == pytest.approx(busy)


def test_without_the_counters_it_is_the_load_average_or_unknown(stat, monkeypatch):
    monkeypatch.setattr(load.os, "getloadavg", lambda: (1.25, 9.0, 9.0), raising=False)
    monkeypatch.setattr(load.torch, "get_num_threads", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert others_busy() == 1.25
    assert threads_auto() == (
        1,
        "other programs use 1.2 of 2 processors, and threads would wait for each other",
    )
    monkeypatch.delattr(load.os, "getloadavg")
    assert others_busy() is None
    assert threads_auto() == (2, "PyTorch's choice for this machine, whose load cannot be told")


def test_what_the_user_says_is_obeyed(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(load.torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(load, "others_busy", lambda: pytest.fail("nothing is to be looked at"))
    assert threads_auto() == (2, "OMP_NUM_THREADS")


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="Linux counts it")
def test_a_busy_program_is_seen():
    code = "print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        found = others_busy()
        other.kill()
    assert found is not None
    assert found > 0.2


def test_its_own_work_is_not_another_program(monkeypatch):
    if not Path("/proc/stat").exists():
        pytest.skip("Linux counts it")

    def work(seconds):
        end = time.process_time() + seconds
        while time.process_time() < end:
            os.getpid()

    cpus = len(usable_processors())
    monkeypatch.setattr(load, "_busy_seconds", lambda: dict.fromkeys(range(cpus), time.process_time() / cpus))
    assert others_busy(0.2, wait=work) == pytest.approx(0.0, abs=0.1)


def test_fewer_threads_are_said_and_go_again(monkeypatch):
    said: list[str] = []
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        monkeypatch.setattr(load, "threads_auto", lambda: (1, "other programs use 1.0 of 2 processors"))
        with free_threads(said.append):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
        monkeypatch.setattr(load, "threads_auto", lambda: (3, "free"))
        with free_threads(said.append):
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert said == ["1 thread: other programs use 1.0 of 2 processors."]


def test_one_thread_alone_and_whoever_begins_meanwhile() -> None:
    def in_a_new_thread() -> int:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(torch.get_num_threads).result()

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == in_a_new_thread() == 1
        assert torch.get_num_threads() == in_a_new_thread() == 2
    finally:
        torch.set_num_threads(before)
