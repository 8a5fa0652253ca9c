"""Kills and full disks: some in every test run, many in the slow one; and that a loss is noticed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from chaos.kills import Counts, LossError, Whole, compare
from chaos.victims import Victim, result
from postgres import binaries

FOLDER = Path(__file__).parent
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes by /proc")


FOUR = ("pretrain", "finetune", "evaluate", "prepare")  # to reproduce a table takes longer


def script(name: str, *words: str, seconds: int = 6000) -> list[str]:
    """What a script of this folder prints; it must end with status 0."""
    command = [sys.executable, str(FOLDER / name), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def number(lines: list[str], name: str) -> int:
    return int(next(line for line in lines if line.startswith(name))[len(name) :].split()[0])


def test_four_kills_lose_nothing() -> None:
    lines = script("campaign.py", "--kills", "4", "--most", "1", "--seed", "5", "--only", *FOUR)
    assert number(lines, "kills") == 4
    assert number(lines, "resumes") == 4
    assert number(lines, "differences found") == number(lines, "torn files") == 0


@pytest.mark.slow
def test_thirty_kills_lose_nothing() -> None:
    lines = script("campaign.py", "--kills", "30", "--seed", "1")
    assert number(lines, "kills") >= 30
    assert number(lines, "in a write") > 5


@pytest.mark.slow
@pytest.mark.parametrize("life", ["index", "push"])
def test_kills_in_a_cluster_lose_nothing(life: str) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'cacl[ray]'")
    binaries()
    assert number(script("cluster.py", "--kills", "4", "--seed", "2", "--only", life), "kills") >= 4


def test_a_full_disk_is_said_and_with_room_the_store_is_the_same() -> None:
    lines = script("full_disk.py", "--sites", "3", "--only", "prepare")
    assert number(lines, "full disks") == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "sites"), [("pretrain", 30), ("finetune", 40), ("evaluate", 0), ("prepare", 0), ("index", 0)]
)
def test_full_at_any_step_on_the_disk(verb: str, sites: int) -> None:
    assert number(script("full_disk.py", "--sites", str(sites), "--only", verb), "full disks") > 10


@pytest.mark.slow
def test_small_real_disks() -> None:
    if subprocess.run(["unshare", "--mount", "--map-root-user", "true"], check=False).returncode:
        pytest.skip("needs to mount a disk of its own")
    assert number(script("full_disk.py", "--sizes", "8"), "full disks") > 10


@pytest.mark.slow
def test_memory_is_flat_in_videos_and_in_time() -> None:
    lines = script("memory.py")  # ends with another status where memory grows
    print("\n".join(lines))
    assert [line.split(":")[0] for line in lines if "bytes a video" in line] == ["frames", "train"]
    assert lines[-1].startswith("growth: training ")


# A loss is noticed ---------------------------------------------------------------------------------------------------


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    place = tmp_path / "run"
    place.mkdir()
    (place / "results.json").write_text("{}")
    (place / "metrics.jsonl").write_text('{"kind": "train", "step": 1, "loss": 2.0, "clips_per_second": 3.0}\n')
    return Victim("test", [], place, stage=lambda path: "")


@pytest.fixture
def whole(victim: Victim) -> Whole:
    return Whole(result(victim), 1.0)


def test_the_clock_is_no_difference(victim: Victim, whole: Whole) -> None:
    metrics = victim.place / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace("3.0", "4.5"))
    (victim.place / "log.txt").write_text("")
    whole.made["log.txt"] = "of each sitting"
    compare(victim, whole)


DAMAGE: dict[str, Any] = {
    "results.json": lambda place: (place / "results.json").write_text("{ }"),
    "metrics.jsonl": lambda place: (place / "metrics.jsonl").write_text('{"kind": "train", "step": 1, "loss": 2.1}\n'),
    "more": lambda place: (place / "more").write_text(""),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_difference_is_a_loss(name: str, victim: Victim, whole: Whole) -> None:
    counts = Counts()
    DAMAGE[name](victim.place)
    with pytest.raises(LossError, match=f"not as undisturbed: {name}"):
        compare(victim, whole, counts)
    assert (counts.differences, counts.torn) == (1, 0)


@pytest.mark.parametrize("name", ["run/.results.json.partial", "run/x/partial-7", "run.partial", "run/.encoder.old"])
def test_a_torn_file_is_a_loss(name: str, victim: Victim, whole: Whole, tmp_path: Path) -> None:
    counts = Counts()
    (tmp_path / name).mkdir(parents=True)
    with pytest.raises(LossError, match=r"left .*" + name):
        compare(victim, whole, counts)
    assert counts.torn == 1
