"""A Ray on this machine, in a network of its own where that may be: the index of one process, whatever is killed."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from cluster.ray_here import run_alone
from indexing.made import EXACT, facts, make_index
from pages import run_command
from squares import square

import cacl
from cacl.cluster.on_ray import do_batch
from cacl.data.media.encode import write_video
from cacl.errors import UserError

SCRIPT = """
import json, os, signal, sys, threading, time
from pathlib import Path
import torch
import cacl
from cacl.errors import UserError
from cacl.indexing.cluster import ranges

ranges.LENGTH = 16
asked = json.loads(sys.argv[1])
torch.set_num_threads(1)
said, killed = [], []

def kill():
    shards = Path(asked["out"], "shards")
    while len(killed) < asked["kills"]:
        for folder in shards.glob("*"):
            pid = int(folder.name.rsplit("-", 2)[1])
            if pid != os.getpid() and pid not in killed and (folder / "000001.npz").exists():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                break
        time.sleep(0.005)

if asked["kills"]:
    threading.Thread(target=kill, daemon=True).start()
try:
    cacl.index(asked["videos"], model=asked["model"], out=asked["out"], engine="ray", device="cpu", precision="float32",
               say=said.append)
except UserError as error:
    said.append(f"UserError: {error}")
print(json.dumps({"said": said, "killed": len(killed)}))
"""


def on_ray(videos: Path, out: Path, model: Path, *, kills: int = 0) -> dict[str, Any]:
    """Index in a process of its own."""
    asked = json.dumps({"videos": str(videos), "out": str(out), "model": str(model), "kills": kills})
    done = run_alone([sys.executable, "-c", SCRIPT, asked], out.parent)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kills", [0, 1])
def test_the_index_is_that_of_one_process(five: Path, encoder: Path, tmp_path: Path, kills: int):
    videos = tmp_path / "videos"
    shutil.copytree(five, videos)
    broken = (videos / "a" / "v0.mp4").read_bytes()
    (videos / "b" / "broken.mp4").write_bytes(broken[: len(broken) // 3])
    write_video(videos / "a" / "long.mp4", square(40 * 16, seed=9), fps=10)
    one = make_index(videos, tmp_path / "one.index", model=encoder)
    found = on_ray(videos, tmp_path / "ray.index", encoder, kills=kills)
    assert found["killed"] == kills
    assert any("tasks at once" in text for text in found["said"])
    assert any("A worker died" in text for text in found["said"]) == bool(kills)
    with cacl.Index(tmp_path / "ray.index") as other:
        assert facts(other) == facts(one)
        assert [skipped.path for skipped in other.catalog.skipped] == ["b/broken.mp4", "notes.txt"]
    assert not (tmp_path / "ray.index" / "shards").exists()


def test_what_does_not_go_together(five: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: dict[str, Any] = {"model": encoder, "out": tmp_path / "x.index", **EXACT}
    with pytest.raises(UserError, match="--address is of a Ray cluster"):
        cacl.index(five, address="auto", **asked)
    with pytest.raises(UserError, match="shares the work out by itself"):
        cacl.index(five, engine="ray", shard="1/2", **asked)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r'needs Ray, which is not installed .*pip install "ray>='):
        cacl.index(five, engine="ray", **asked)
    assert run_command(["index", str(five), "--out", str(tmp_path / "y"), "--engine", "dask"], monkeypatch) == 2


def test_a_worker_that_does_not_see_the_videos_is_named(tmp_path: Path):
    assert do_batch(list, (), [tmp_path, tmp_path / "videos"]).missing == str(tmp_path / "videos")
    assert do_batch(list, (), [tmp_path]).missing == ""
