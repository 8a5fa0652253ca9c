"""What a plan says, against cases worked by hand."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from cacl.experiments.plan.formulas import SIZES, Stage, stages
from cacl.experiments.plan.measure import Measured
from cacl.experiments.plan.plan import Plan
from cacl.experiments.plan.steps import steps_of
from cacl.experiments.plan.words import as_text, duration, size
from cacl.training.resolve import resolve_settings

GB = 10**9
ROUND = Measured(
    device="cpu", processors=2, memory=16 * GB, process=GB, free=100 * GB, videos=1000, frames=100.0, bytes=1e6,
    row=500.0, read=1e8, write=5e7, look=0.01, decode=0.002, packed=5000.0, fetch=0.001, batch=20, clip=10,
    per_video=1.0, step=2.0, frames_step=0.0, state=1e7, windows=4.0, embed=0.003, compute=0.05, width=100,
    preview=1000.0, search=0.001, search_row=1e-6,
)  # fmt: skip


def of(m: Measured, videos: int = 1000, **more: object) -> dict[str, Stage]:
    return {stage.verb: stage for stage in stages(m, videos, steps=(50, 0), **more)}  # type: ignore[arg-type]


def test_one_machine_by_hand() -> None:
    found = of(ROUND)
    assert found["check"].seconds == pytest.approx(10)  # 1000 · .01
    assert found["check"].memory == 500_000
    # decode 100 000 · 2 ms = 200 s; read 1 GB / 100 MB/s = 10 s; write 500 MB / 50 MB/s = 10 s; joined 5 s + 10 s
    assert found["prepare"].parts == pytest.approx(
        {"decode": 200, "disk, reading": 10, "disk, writing": 10, "joining": 15}
    )
    assert found["prepare"].seconds == pytest.approx(215)
    assert found["prepare"].disk == pytest.approx(500e6)
    assert found["prepare"].memory == pytest.approx(500_000 + 100_000 * 44)
    # 50 · 2 s; 50 · 20 · 10 frames · 1 ms on two processors = 5 s; both on the same processors
    assert found["pretrain"].seconds == pytest.approx(105)
    assert found["pretrain"].bound == "computing"
    # 10 s of looking, 100 000 · 3 ms = 300 s, of them 4000 · 50 ms = 200 s computed
    assert found["index"].seconds == pytest.approx(310)
    assert found["index"].parts == pytest.approx(
        {"looking at files": 10, "computing": 200, "decode and previews": 100, "disk": 10}
    )
    assert found["index"].disk == pytest.approx(4000 * (500 + 40 + 1000))
    assert found["search"].seconds == pytest.approx(0.001 + 0.004)
    assert [stage.bound for stage in found.values()] == [
        "looking at files", "decode", "computing", "computing", "computing",
    ]  # fmt: skip


def test_machines_share_the_work_and_one_disk() -> None:
    found = of(ROUND, machines=40)
    assert found["check"].seconds == pytest.approx(10)  # one process
    assert found["prepare"].parts["decode"] == pytest.approx(5)
    assert found["prepare"].seconds == pytest.approx(10 + 15)
    assert found["prepare"].bound == "joining"
    assert found["pretrain"].seconds == pytest.approx(100 / 40 + 5 / 40)
    assert found["index"].seconds == pytest.approx(10 + 10)  # the disk: 300 s / 40 are less
    assert found["index"].bound in ("looking at files", "shared disk")
    assert "shared disk, reading" in found["prepare"].parts


def test_gpus_compute_beside_what_is_read() -> None:
    found = of(replace(ROUND, device="cuda"), machines=2, gpus=5)
    assert found["pretrain"].seconds == pytest.approx(10)  # 100 s / 10; 5 s / 2 meanwhile
    slow = of(replace(ROUND, device="cuda", fetch=0.1), machines=2, gpus=5)
    assert slow["pretrain"].seconds == pytest.approx(250)
    assert slow["pretrain"].bound == "unpacking frames"


def test_what_does_not_fit_into_memory_waits_for_the_disk_or_for_memory() -> None:
    many = 10**7
    found = of(ROUND, many)
    # a store of 5 TB: 50 · 20 · 10 · 5000 B = 50 MB are read from the disk
    assert found["pretrain"].parts["disk"] == pytest.approx(0.5)
    assert found["prepare"].bound == found["index"].bound == "memory"
    assert found["check"].bound == "looking at files"  # 5 GB of 16
    small = of(replace(ROUND, memory=GB), many)
    assert small["check"].bound == "memory"
    assert small["search"].parts == pytest.approx({"computing": 40.001, "disk": 40.0})  # 4 GB at 100 MB/s
    unknown = of(replace(ROUND, memory=0), many)
    assert "memory" not in [stage.bound for stage in unknown.values()]


def test_steps_are_those_of_a_training() -> None:
    flags = {"optim.epochs": 3, "optim.batch_size": 20, "run.device": "cpu"}
    given = resolve_settings(flags=flags)
    assert steps_of(given, 1000, per_video=1.0, frames=100) == (150, 0)
    assert steps_of(given, 1010, per_video=1.5, frames=100) == (3 * 75, 0)  # 1515 samples
    assert steps_of(given, 7, per_video=1.0, frames=100) == (3, 0)  # three passes fill a batch
    auto = resolve_settings(flags={"optim.batch_size": 20, "run.device": "cpu"})
    assert steps_of(auto, 1000, per_video=1.0, frames=100) == (900, 0)  # 18 epochs of 50
    assert steps_of(auto, 10**6, per_video=1.0, frames=100) == (50_000, 0)
    frames = {"frames.every": 10, "frames.optim.epochs": 2, "frames.optim.batch_size": 100}
    with_frames = resolve_settings(method="cacl", flags={**flags, **frames})
    assert steps_of(with_frames, 1000, per_video=1.0, frames=100) == (150, 200)  # 10 000 frames


def test_a_plan_in_words() -> None:
    found = [stage for count in (1000, *SIZES) for stage in stages(ROUND, count, steps=(50, 0))]
    text = as_text(Plan(1, None, ROUND, tuple(found)))
    lines = text.splitlines()
    assert lines[0] == "1 000 videos of 100 frames and 1 MB, on average of a sample; 1 machine of 2 processors."
    rows = [line.split() for line in lines if line.startswith("     ") and " pretrain " in line]
    assert len(rows) == 1 + len(SIZES)
    assert rows[0] == ["pretrain", "1.8", "min", "10", "MB", "1", "GB", "computing"]
    assert "More than the 100 GB that are free on this disk: prepare from 1 000 000 videos on" in text
    assert "More than the 16 GB of this machine's memory: prepare from 10 000 000 videos on" in text
    assert all(f"  {name} " in text for name in set(asdict(ROUND)) - {"videos", "frames", "bytes", "row", "processors",
               "process", "per_video", "state", "preview"})  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12 ms"), (0.0, "0 ms"), (1.5, "1.5 s"), (90, "1.5 min"), (7200, "2 h"), (3 * 86400, "3 days"),
     (3 * 365.25 * 86400, "3 years")],
)  # fmt: skip
def test_times_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(12, "12 B"), (1500, "1.5 kB"), (25e9, "25 GB"), (3e15, "3 PB")])
def test_sizes_in_words(count: float, text: str) -> None:
    assert size(count) == text
