"""Work that crashes, hangs or eats memory is the end of its own process and of nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cacl.data.clips.sampling import ClipPlan, training_clip
from cacl.data.media import isolated
from cacl.data.media.isolated import LostProcess, LostVideo, OwnProcess, end_idle, time_limit
from cacl.data.media.isolated import isolated as run
from cacl.data.videos import look, sources
from cacl.data.videos.catalog import Catalog
from cacl.data.videos.scan import scan
from cacl.data.videos.sources import DecodedVideos
from cacl.errors import UserError, VideoError

if TYPE_CHECKING:
    from cacl.data.clips.batch import ClipBatch
    from cacl.data.clips.loader import ClipLoader

WORK = """
import os, signal, time
import numpy as np
from cacl.errors import UserError, VideoError

def pid(): return os.getpid()
def add(a, *, b): return a + b
def crash(): os.kill(os.getpid(), signal.SIGSEGV)
def abort(): os.abort()
def leave(): os._exit(3)
def hang():
    while True: pass
def sleep(seconds): time.sleep(seconds)
def eat():
    held = []
    while True: held.append(np.empty(2**26))
def bad_video(): raise VideoError("x.mp4", "no video stream found")
def user(): raise UserError("install it")
def bug(): return {}["key"]
def cannot_travel(): return lambda: 0
kept = []
def keep(one): kept.append(one); return kept
def space():
    import resource
    return resource.getrlimit(resource.RLIMIT_AS)[0]
def weak(mark):
    if not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getpid(), signal.SIGSEGV)
    return "done"
def stray_output():
    print("to stdout"); os.write(2, b"to stderr"); return 1
"""


@pytest.fixture
def work(in_decode_processes: Callable[[str], ModuleType]) -> Any:
    return in_decode_processes(WORK)


def test_results_come_back_and_processes_are_kept(work: Any) -> None:
    assert run("x", 60, work.add, 1, b=2) == 3
    first = run("x", 60, work.pid)
    assert first != os.getpid()
    assert run("x", 60, work.pid) == first


def test_a_process_of_ones_own_keeps_what_it_makes_and_has_no_limit_of_memory(work: Any) -> None:
    resource = pytest.importorskip("resource", reason="Unix")
    own, other = OwnProcess(), OwnProcess()
    try:
        assert own.run(work.keep, 1) == [1]
        assert other.run(work.keep, 7) == [7]
        assert own.run(work.keep, 2) == [1, 2]
        assert own.run(work.space) == resource.getrlimit(resource.RLIMIT_AS)[0]
        with pytest.raises(UserError, match="install it"):
            own.run(work.user)
        assert own.run(work.keep, 3) == [1, 2, 3]
        with pytest.raises(LostProcess):
            own.run(work.crash)
        with pytest.raises(LostProcess):
            own.run(work.pid)
        assert other.run(work.keep, 8) == [7, 8]
    finally:
        own.end()
        other.end()


def test_there_is_none_where_processes_cannot_be_given_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "ISOLATING", False)
    with pytest.raises(LostProcess):
        OwnProcess()


def test_relative_paths_mean_the_same(work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert run("x", 60, os.getcwd) == str(tmp_path / name)
    (tmp_path / "two").rmdir()
    assert run("x", 60, work.add, 1, b=2) == 3


def test_each_thread_has_a_process_to_itself(work: Any) -> None:
    barrier = threading.Barrier(2)

    def one() -> int:
        barrier.wait()
        run("x", 60, work.sleep, 0.3)
        return int(run("x", 60, work.pid))

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(one) for _ in range(2)]
        assert len({future.result() for future in futures}) == 2


@pytest.mark.parametrize(
    ("name", "seconds", "reason"),
    [
        ("crash", 60.0, r"the process that decoded it died \(SIGSEGV\)"),
        ("abort", 60.0, r"the process that decoded it died \(SIGABRT\)"),
        ("leave", 60.0, r"the process that decoded it died \(exit status 3\)"),
        ("hang", 0.3, "took longer than 0 s to decode, given up"),
        ("eat", 60.0, "needs more than 4 GiB of memory to decode"),
    ],
)
def test_whatever_happens_there_is_a_video_error_here(work: Any, name: str, seconds: float, reason: str) -> None:
    with pytest.raises(LostVideo, match=f"^clip.mp4: {reason}$"):
        run("clip.mp4", seconds, getattr(work, name))
    assert run("x", 60, work.add, 1, b=1) == 2, "the process was replaced"


def test_a_death_counts_in_a_fresh_process_only(work: Any, tmp_path: Path) -> None:
    assert run("x", 60, work.weak, str(tmp_path / "mark")) == "done"


def test_a_process_that_died_while_nobody_asked_is_replaced(work: Any) -> None:
    os.kill(run("x", 60, work.pid), signal.SIGKILL)
    assert run("x", 60, work.add, 1, b=1) == 2


def test_errors_are_those_of_the_work(work: Any) -> None:
    with pytest.raises(VideoError, match="no video stream found") as video:
        run("x", 60, work.bad_video)
    assert not isinstance(video.value, LostVideo)
    with pytest.raises(UserError, match="install it"):
        run("x", 60, work.user)
    with pytest.raises(KeyError) as bug:
        run("x", 60, work.bug)
    assert "def bug(): return" in bug.value.__notes__[0], "where it happened"
    with pytest.raises(RuntimeError, match="lambda"):
        run("x", 60, work.cannot_travel)


def test_what_a_decoder_prints_is_not_seen(work: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("x", 60, work.stray_output) == 1
    assert capfd.readouterr() == ("", "")


def test_a_process_that_cannot_start_is_no_fault_of_the_video(monkeypatch: pytest.MonkeyPatch) -> None:
    end_idle()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="did not start"):
        run("x", 60, os.getpid)


def test_no_more_processes_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    end_idle()
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(UserError, match=r"can be started \(No such file or directory\): raise the limits"):
        run("x", 60, os.getpid)


def test_it_ends_with_its_parent_however_that_ends(tmp_path: Path) -> None:
    """Even if it hangs at that moment."""
    code = (
        "import os, signal, threading, time\n"
        "from cacl.data.media.isolated import isolated\n"
        "print(isolated('x', 60, os.getpid), flush=True)\n"
        "threading.Thread(target=isolated, args=('x', 60, time.sleep, 50), daemon=True).start()\n"
        "time.sleep(1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False).stdout
    patience = time.monotonic() + 20
    while _alive(int(out)):
        assert time.monotonic() < patience
        time.sleep(0.05)


def _alive(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def test_ctrl_c_and_terminate_are_for_the_parent(work: Any) -> None:
    process = run("x", 60, work.pid)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(process, number)
    assert run("x", 60, work.pid) == process


def test_the_limit_grows_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(2_000_000))
    assert time_limit(tmp_path / "a") == 60 + 2 * 10
    assert time_limit(tmp_path / "absent") == 60


# ---- hostile files in the catalog and in training -------------------------------------------------------------------

HOSTILE = """
import os, signal, time
import numpy as np
from cacl.data.videos.look import _look
from cacl.data.media.open_files import read_frames

def harm(path):
    name = os.path.basename(path)
    if name.startswith("crash"): os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith("hang"): time.sleep(1000)
    if name.startswith("eat"):
        held = []
        while True: held.append(np.empty(2**26))

def look(root, path, entries, **rest):
    harm(path)
    return _look(root, path, entries, **rest)

def read(path, indices, **rest):
    harm(path)
    return read_frames(path, indices, **rest)
"""
NAMES = ("a", "b", "crash", "d", "eat", "f", "g", "hang", "i", "j")
REASONS = {
    "crash.mp4": "the process that decoded it died (SIGSEGV)",
    "eat.mp4": "needs more than 4 GiB of memory to decode",
    "hang.mp4": "took longer than 1 s to decode, given up",
}


@pytest.fixture
def hostile(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_decode_processes: Callable[[str], ModuleType]
) -> tuple[Path, ModuleType]:
    for name in NAMES:
        shutil.copy(media / "no_b_frames.mp4", tmp_path / f"{name}.mp4")
    for module in (look, sources):
        monkeypatch.setattr(module, "time_limit", lambda path: 1.0 if "hang" in Path(path).name else 60.0)
    return tmp_path, in_decode_processes(HOSTILE)


def test_a_catalog_reports_what_kills_its_decoder(
    hostile: tuple[Path, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, hooks = hostile
    monkeypatch.setattr(look, "_look", hooks.look)
    found = scan(folder)
    assert {item.path: item.reason for item in found.skipped} == REASONS
    assert [video.id for video in found.videos] == [name for name in NAMES if f"{name}.mp4" not in REASONS]


def plan(n_frames: int, rng: np.random.Generator) -> ClipPlan:
    return ClipPlan(tuple(training_clip(n_frames, rng)), {"order": rng.permutation(4)})


def batches(found: Catalog, *, workers: int, epochs: int) -> tuple[ClipLoader, list[ClipBatch]]:
    pytest.importorskip("torch")
    from cacl.data.clips.loader import ClipLoader

    source = DecodedVideos(found, height=6, width=8)
    loader = ClipLoader(source, [v.frames for v in found.videos], plan, seed=3, batch_size=5, workers=workers)
    return loader, [batch for epoch in range(epochs) for batch in loader.epoch(epoch)]


def test_training_goes_on_with_the_same_samples(
    hostile: tuple[Path, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a video does to its process, its samples go to the same replacements as if it could not be opened."""
    folder, hooks = hostile
    found = scan(folder)  # still harmless
    assert len(found.videos) == len(NAMES)
    monkeypatch.setattr(sources, "read_frames", hooks.read)
    runs = [batches(found, workers=workers, epochs=2) for workers in (0, 2)]
    monkeypatch.undo()
    for path in REASONS:
        (folder / path).write_bytes(b"")
    runs.append(batches(found, workers=0, epochs=2))
    names = [video.path for video in found.videos]
    for loader, _ in runs[:2]:
        assert {names[failure.video]: failure.reason for failure in loader.failures} == REASONS
    assert {names[failure.video] for failure in runs[2][0].failures} == set(REASONS)
    for _, some in runs[1:]:
        for one, other in zip(runs[0][1], some, strict=True):
            assert (one.video == other.video).all()
            assert (one.sample == other.sample).all()
            assert all((a == b).all() for a, b in zip(one.clips, other.clips, strict=True))


def test_a_hang_is_waited_for_once(hostile: tuple[Path, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, hooks = hostile
    found = scan(folder)
    monkeypatch.setattr(sources, "read_frames", hooks.read)
    source = DecodedVideos(found, height=6, width=8)
    calls = []
    inner = isolated.isolated
    monkeypatch.setattr(
        sources, "isolated", lambda path, *rest, **more: (calls.append(path), inner(path, *rest, **more))[1]
    )
    for _ in range(3):
        with pytest.raises(VideoError, match=r"^hang.mp4: took longer"):
            source.read(NAMES.index("hang"), np.arange(2))
    assert len(calls) == 1
