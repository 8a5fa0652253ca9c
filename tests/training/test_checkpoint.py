"""No kill and no full disk takes the last good checkpoint, and nothing in one is executed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
import torch
from sent_files import FORMS, Evil

from cacl.errors import UserError
from cacl.training import checkpoint
from cacl.training.checkpoint import (
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
    tidy_checkpoints,
)


def state(value: int) -> dict[str, object]:
    return {"method": {"w": torch.full((50,), float(value))}, "optimizer": {"step": value, "names": ["a", "b"]}}


def check(folder: Path, value: int) -> None:
    path = newest_checkpoint(folder)
    assert path is not None
    step, found = load_checkpoint(path)
    assert step == value
    assert torch.equal(found["method"]["w"], torch.full((50,), float(value)))
    assert found["optimizer"] == {"step": value, "names": ["a", "b"]}


def test_what_is_saved_is_loaded_and_the_older_one_goes(tmp_path):
    folder = tmp_path / "checkpoints" / "train"
    assert newest_checkpoint(folder) is None
    for step in (5, 12):
        save_checkpoint(folder, step, state(step))
        check(folder, step)
    assert [path.name for path in folder.iterdir()] == ["step-00000012"]


def test_types_of_an_optimizer_and_a_scaler_come_back(tmp_path):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    saved = {"optimizer": optimizer.state_dict(), "scaler": torch.amp.GradScaler("cpu", enabled=False).state_dict()}
    _, found = load_checkpoint(save_checkpoint(tmp_path, 1, {**saved, "failures": [[3, 0, "broken"]]}))
    other = torch.optim.AdamW(model.parameters(), lr=0.5)
    other.load_state_dict(found["optimizer"])
    assert other.param_groups[0]["lr"] == 0.1
    assert torch.equal(other.state[model.weight]["exp_avg"], optimizer.state[model.weight]["exp_avg"])
    assert found["failures"] == [[3, 0, "broken"]]


class Crash(BaseException):
    """Stands for a kill: no handler of the code under test may run usefully after it."""


POINTS = ["torch.save", "fsync 1", "fsync 2", "fsync 3", "rename", "rmtree"]


def break_at(point: str, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make one call of the saving fail."""
    calls = {"fsync": 0}

    def fail(*args, **rest):
        raise error

    def half(obj, file):
        file.write(b"PK half of a file")
        raise error

    def fsync(descriptor, right=os.fsync):
        calls["fsync"] += 1
        if point == f"fsync {calls['fsync']}":
            raise error
        right(descriptor)

    if point == "torch.save":
        monkeypatch.setattr(checkpoint.torch, "save", half)
    elif point == "rename":
        monkeypatch.setattr(Path, "rename", fail)
    elif point == "rmtree":
        monkeypatch.setattr(checkpoint.shutil, "rmtree", fail)
    else:
        monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("step", [9, 5], ids=["next step", "same step again"])
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_any_point_leaves_a_checkpoint(point, step, tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 5, state(5))
    with monkeypatch.context() as patch:
        break_at(point, Crash(), patch)
        patch.setattr(checkpoint.shutil, "rmtree", lambda *a, **k: (_ for _ in ()).throw(Crash()))  # nothing is tidied
        with pytest.raises(Crash):
            save_checkpoint(tmp_path, step, state(step))
    check(tmp_path, step if point in ("fsync 3", "rmtree") else 5)
    save_checkpoint(tmp_path, 14, state(14))
    check(tmp_path, 14)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000014"]


@pytest.mark.parametrize("point", POINTS[:5])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("file write failed")])
def test_a_failed_write_is_a_sentence_and_leaves_the_older_one(point, error, tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 5, state(5))
    with monkeypatch.context() as patch:
        break_at(point, error, patch)
        with pytest.raises(UserError, match=r"checkpoint of step 9 could not be written \(.*resume") as found:
            save_checkpoint(tmp_path, 9, state(9))
    assert str(tmp_path) in str(found.value)
    check(tmp_path, 9 if point == "fsync 3" else 5)
    assert not list(tmp_path.glob("partial-*"))


def test_a_really_full_disk(tmp_path):
    """The operating system refuses to let files grow."""
    code = """
import resource, signal, sys, torch
from pathlib import Path
from cacl.errors import UserError
from cacl.training.checkpoint import save_checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
save_checkpoint(folder, 5, {"w": torch.ones(50), "step": 5})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint(folder, 9, {"w": torch.ones(1_000_000)})
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "checkpoint of step 9 could not be written" in done.stdout
    step, found = load_checkpoint(newest_checkpoint(tmp_path))
    assert (step, found["step"]) == (5, 5)


def test_kill_9_while_saving_over_and_over(tmp_path):
    """Whatever instant it dies at, the newest complete checkpoint is whole and not older than the last one seen."""
    code = """
import sys, torch
from pathlib import Path
from cacl.training.checkpoint import save_checkpoint
for step in range(1, 10**6):
    save_checkpoint(Path(sys.argv[1]), step, {"w": torch.full((30000,), float(step))})
    print(step, flush=True)
"""
    for delay in (0.0, 0.013, 0.047, 0.081):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        seen = [1, *map(int, process.stdout.read().split())][-1]
        process.wait()
        step, found = load_checkpoint(newest_checkpoint(tmp_path))
        assert step >= seen
        assert torch.equal(found["w"], torch.full((30000,), float(step)))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no manifest", "torn manifest", "list", "no state"])
def test_the_newest_complete_one_is_taken(damage, tmp_path):
    old = save_checkpoint(tmp_path, 5, state(5))
    kept = {file.name: file.read_bytes() for file in old.iterdir()}
    new = save_checkpoint(tmp_path, 9, state(9))
    old.mkdir()
    for name, content in kept.items():
        (old / name).write_bytes(content)
    content = bytearray((new / "state.pt").read_bytes())
    if damage == "truncated":
        (new / "state.pt").write_bytes(content[:-7])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        (new / "state.pt").write_bytes(content)
    elif damage == "no manifest":
        (new / "manifest.json").unlink()
    elif damage == "torn manifest":
        (new / "manifest.json").write_text('{"format": 1, "st')
    elif damage == "list":
        (new / "manifest.json").write_text("[1, 2]")
    else:
        (new / "state.pt").unlink()
    check(tmp_path, 5)


def test_what_the_last_save_left_is_removed_by_the_next_start(tmp_path, monkeypatch):
    """No later save would do it when the training was at its end."""
    save_checkpoint(tmp_path, 5, state(5))
    with monkeypatch.context() as patch:
        break_at("rmtree", Crash(), patch)
        with pytest.raises(Crash):
            save_checkpoint(tmp_path, 9, state(9))
    (tmp_path / "partial-123").mkdir()
    assert len(list(tmp_path.iterdir())) == 3
    tidy_checkpoints(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000009"]
    check(tmp_path, 9)


def test_tidying_keeps_the_newest_that_is_whole(tmp_path):
    old = save_checkpoint(tmp_path, 5, state(5))
    torn = tmp_path / "step-00000009"
    torn.mkdir()
    (torn / "manifest.json").write_text("{}")
    tidy_checkpoints(tmp_path)
    assert list(tmp_path.iterdir()) == [old]
    assert tidy_checkpoints(tmp_path / "nothing") == []


def disguise(path: Path, content: bytes) -> None:
    """Put other content into a checkpoint, with a manifest that fits."""
    (path / "state.pt").write_bytes(content)
    manifest = {"format": 1, "step": 5, "bytes": len(content), "crc32": zlib.crc32(content)}
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["pickle", "torch archive"])
def test_code_in_a_checkpoint_is_not_executed(form, tmp_path):
    mark = tmp_path / "executed"
    disguise(save_checkpoint(tmp_path / "c", 5, state(5)), FORMS[form](Evil(mark)))
    with pytest.raises(UserError, match=r"state\.pt.*tensors and plain values"):
        load_checkpoint(newest_checkpoint(tmp_path / "c"))
    assert not mark.exists()


def test_what_is_no_checkpoint_is_a_sentence(tmp_path):
    path = save_checkpoint(tmp_path, 5, state(5))
    disguise(path, b"PK\x03\x04 not really")
    with pytest.raises(UserError, match="step-00000005"):
        load_checkpoint(path)
    with pytest.raises(UserError, match="cannot be read"):
        load_checkpoint(tmp_path / "step-00000099")


def test_damage_is_told_and_never_begins_anew_by_itself(tmp_path):
    save_checkpoint(tmp_path, 3, state(3))
    assert tidy_checkpoints(tmp_path) == []
    save_checkpoint(tmp_path / "other", 5, state(5)).rename(tmp_path / "step-00000005")
    (tmp_path / "step-00000005" / "state.pt").write_bytes(b"xx")
    assert tidy_checkpoints(tmp_path) == ["step-00000005"]
    check(tmp_path, 3)
    (tmp_path / "step-00000003" / "state.pt").write_bytes(b"xx")
    with pytest.raises(UserError, match=r"no checkpoint is whole \(step-00000003\); put back a copy"):
        tidy_checkpoints(tmp_path)
    assert (tmp_path / "step-00000003").exists()
