"""No file that a user might be sent can run code, fill the memory with a few bytes, or reach for the network."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import shutil
import socket
import struct
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cacl.cli import main as cli_main
from cacl.config import read_yaml, resolve
from cacl.data.catalog import scan
from cacl.data.decode import VideoDecoder
from cacl.data.encode import write_video
from cacl.data.isolated import isolated
from cacl.data.sources import FrameStore
from cacl.data.store import build_store
from cacl.errors import UserError, VideoError
from cacl.models.encoder import Encoder
from cacl.models.foreign import read_foreign
from cacl.models.weights import read_frame_state
from cacl.presets import PRESETS
from cacl.training.checkpoint import load_checkpoint, newest_checkpoint

ROOT = Path(__file__).parent.parent


class Evil:
    """Unpickled, it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (self.mark,)


def _plain(evil: object) -> bytes:
    return pickle.dumps({"state_dict": {"conv1.weight": evil}, "method": evil})


def _zip(evil: object) -> bytes:
    out = io.BytesIO()
    torch.save({"state_dict": {"conv1.weight": evil}, "method": evil}, out)
    return out.getvalue()


def _legacy(evil: object) -> bytes:
    out = io.BytesIO()
    torch.save({"state_dict": {"conv1.weight": evil}, "method": evil}, out, _use_new_zipfile_serialization=False)
    return out.getvalue()


def _numpy(evil: object) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([evil, 1], dtype=object), allow_pickle=True)
    return out.getvalue()


FORMS = {"pickle": _plain, "torch archive": _zip, "torch legacy": _legacy, "numpy": _numpy}


@pytest.fixture(params=FORMS)
def evil(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[bytes]:
    """Bytes that run code where they are unpickled; fails the test when they were."""
    mark = tmp_path / "executed"
    yield FORMS[request.param](Evil(mark))
    assert not mark.exists(), "a pickle was executed"


def test_the_evil_files_are_evil(tmp_path: Path) -> None:
    for number, make in enumerate(FORMS.values()):
        mark = tmp_path / f"executed{number}"
        content = io.BytesIO(make(Evil(mark)))
        if make is _numpy:
            np.load(content, allow_pickle=True)
        elif make is _plain:
            pickle.load(content)
        else:
            torch.load(content, weights_only=False)
        assert mark.exists()


def _checkpoint(folder: Path, content: bytes) -> None:
    step = folder / "step-00000001"
    step.mkdir()
    (step / "state.pt").write_bytes(content)
    manifest = {"format": 1, "step": 1, "bytes": len(content), "crc32": zlib.crc32(content)}
    (step / "manifest.json").write_text(json.dumps(manifest))
    assert newest_checkpoint(folder) == step
    load_checkpoint(step)


def _weights(name: str, load: Callable[[Path], object]) -> Callable[[Path, bytes], None]:
    def open_it(folder: Path, content: bytes) -> None:
        (folder / name).write_bytes(content)
        load(folder / name)

    return open_it


def _encoder(part: str) -> Callable[[Path, bytes], None]:
    def open_it(folder: Path, content: bytes) -> None:
        Encoder("r3d10", width=4).save(folder / "encoder")
        (folder / "encoder" / part).write_bytes(content)
        Encoder.load(folder / "encoder")

    return open_it


def _store(part: str) -> Callable[[Path, bytes], None]:
    def open_it(folder: Path, content: bytes) -> None:
        (folder / "videos").mkdir()
        write_video(folder / "videos" / "v.mp4", np.zeros((20, 16, 16, 3), np.uint8))
        store = build_store(scan(folder / "videos"), folder / "store", height=4, width=4)
        (store.path / part).write_bytes(content)
        FrameStore(store.path)

    return open_it


LOADERS: dict[str, Callable[[Path, bytes], None]] = {
    "checkpoint": _checkpoint,
    "frame weights .pth": _weights("w.pth", read_frame_state),
    "frame weights .safetensors": _weights("w.safetensors", read_frame_state),
    "foreign .pth": _weights("w.pth", read_foreign),
    "foreign .safetensors": _weights("w.safetensors", read_foreign),
    "encoder weights": _encoder("model.safetensors"),
    "encoder config": _encoder("config.json"),
    "store offsets": _store("offsets.npy"),
    "store manifest": _store("manifest.json"),
    "store catalog": _store("videos.csv"),
    "settings": _weights("settings.yaml", read_yaml),
}


@pytest.mark.parametrize("loader", LOADERS)
def test_no_loader_executes_a_pickle(loader: str, evil: bytes, tmp_path: Path) -> None:
    (tmp_path / "sent").mkdir()
    with pytest.raises(UserError):
        LOADERS[loader](tmp_path / "sent", evil)


def test_a_pickle_among_the_videos_is_skipped(evil: bytes, media: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "v.mp4").write_bytes(evil)
    shutil.copy(media / "one_frame.mp4", tmp_path / "videos" / "w.mp4")
    assert [item.path for item in scan(tmp_path / "videos").skipped] == ["v.mp4"]


@pytest.mark.parametrize("tag", ["python/object/apply:os.mkdir", "python/object/new:os.mkdir", "python/name:os.mkdir"])
def test_yaml_makes_no_objects(tag: str, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    text = f"!!{tag} ['{mark}']"
    (tmp_path / "s.yaml").write_text(f"data: {text}\n")
    with pytest.raises(UserError, match="cannot be read as YAML"):
        read_yaml(tmp_path / "s.yaml")
    with pytest.raises(UserError, match="the value is not YAML"):
        resolve(PRESETS["small"], assignments=(f"run.seed={text}",))
    assert not mark.exists()


_CALLS = {
    ("torch", "load"): "weights_only",
    ("np", "load"): "allow_pickle",
    ("numpy", "load"): "allow_pickle",
}
_NEVER = {"eval", "exec", "load_pickle", "unsafe_load", "full_load", "system", "popen", "urlopen", "urlretrieve"}
_IMPORTS = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "urllib", "requests", "httpx", "ftplib"}
_ALLOWED = {"pickle.UnpicklingError", "pickle.PicklingError", "pickle.PickleBuffer", "pickle.dumps"}
# What is sent between our own processes is pickled; nothing that came in a file is.
_BETWEEN_PROCESSES = {("isolated.py", "pickle.loads")}


def test_no_source_file_opens_a_pickle_or_runs_text() -> None:
    """Of the whole package: every ``torch.load`` has ``weights_only=True``, every ``yaml.load`` our safe loader."""
    problems = []
    for file in sorted(ROOT.glob("cacl/**/*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            dangers = [found for found in _dangers(node) if (file.name, found) not in _BETWEEN_PROCESSES]
            problems += [f"{file.name}:{node.lineno}: {found}" for found in dangers]  # type: ignore[attr-defined]
    assert problems == []


def _dangers(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in _IMPORTS:
        name = f"{node.value.id}.{node.attr}"
        if name not in _ALLOWED:
            yield name
    if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in _IMPORTS:
        yield from (f"from {node.module} import {n.name}" for n in node.names if f"pickle.{n.name}" not in _ALLOWED)
    if not isinstance(node, ast.Call):
        return
    keywords = {k.arg: k.value for k in node.keywords}
    if isinstance(node.func, ast.Name) and node.func.id in _NEVER:
        yield node.func.id
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
        wanted = _CALLS.get((owner, node.func.attr))
        value = keywords.get(wanted)
        if wanted and not (isinstance(value, ast.Constant) and value.value is (wanted == "weights_only")):
            yield f"{owner}.{node.func.attr} without {wanted}"
        if owner == "yaml" and node.func.attr in {"load", "load_all"}:
            loaders = [a.id for a in node.args[1:] if isinstance(a, ast.Name)]
            if loaders != ["_Loader"]:
                yield f"yaml.{node.func.attr} with {loaders}"
        if node.func.attr in _NEVER - {"eval"}:  # of modules
            yield f"{owner}.{node.func.attr}"
    shell = keywords.get("shell")
    if isinstance(shell, ast.Constant) and shell.value:
        yield "shell=True"


def test_the_search_for_dangers_finds_them() -> None:
    text = (
        "torch.load(f)\ntorch.load(f, weights_only=False)\nnp.load(f, allow_pickle=True)\npickle.loads(b)\n"
        "yaml.load(t, yaml.Loader)\nyaml.unsafe_load(t)\neval(t)\nsubprocess.run(t, shell=True)\nos.system(t)\n"
        "from urllib.request import urlopen\n"
    )
    for statement in ast.parse(text).body:
        assert [found for node in ast.walk(statement) for found in _dangers(node)], ast.unparse(statement)


# ---- sizes in headers ------------------------------------------------------------------------------------------------


def _packed_bomb(file: Path) -> None:
    """A file that torch can read, of 100 kB, with a tensor of 100 MB."""
    torch.save({"conv1.weight": torch.zeros(25_000_000)}, file)
    with (
        zipfile.ZipFile(file) as stored,
        zipfile.ZipFile(file.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in stored.infolist():
            packed.writestr(entry.filename, stored.read(entry.filename))
    file.with_suffix(".zip").replace(file)
    assert file.stat().st_size < 200_000


def test_packed_checkpoints_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _packed_bomb(tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("was opened"))
    for load in (read_frame_state, read_foreign):
        with pytest.raises(UserError, match="bytes that unpack to 1000"):
            load(tmp_path / "w.pth")
    with pytest.raises(UserError, match="bytes that unpack to 1000"):
        _checkpoint(tmp_path, content)


def test_a_safetensors_header_cannot_ask_for_more_than_the_file_has(tmp_path: Path) -> None:
    header = json.dumps({"conv1.weight": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    for length in (len(header), 2**60):
        (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", length) + header)
        with pytest.raises(UserError):
            read_frame_state(tmp_path / "w.safetensors")


def test_aliases_in_settings_are_refused_before_they_multiply(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefghijkl", "bcdefghijklm", strict=True)]
    (tmp_path / "s.yaml").write_text("\n".join(lines))
    with pytest.raises(UserError, match="settings have no aliases") as error:
        read_yaml(tmp_path / "s.yaml")
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("text", ["a: " + "[" * 5000, "a: " + "{b: " * 5000, "run: {seed: " + "9" * 5000 + "}"])
def test_deep_and_long_settings_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(UserError):
        resolve(PRESETS["small"], file=tmp_path / "s.yaml")
    (tmp_path / "s.yaml").write_text("# nothing\n" * 200_000)
    with pytest.raises(UserError, match="2000000 bytes are no settings"):
        read_yaml(tmp_path / "s.yaml")


def test_deep_json_is_refused(tmp_path: Path) -> None:
    for open_it in (_encoder("config.json"), _store("manifest.json")):
        shutil.rmtree(tmp_path / "sent", ignore_errors=True)
        (tmp_path / "sent").mkdir()
        with pytest.raises(UserError):
            open_it(tmp_path / "sent", b"[" * 100_000)


@pytest.mark.parametrize(
    "change",
    [
        {"height": 10**9},
        {"height": 16_000, "width": 16_000},
        {"width": "4"},
        {"height": -4},
        {"kind": "x"},
        {"root": 3},
    ],
)
def test_a_store_with_insane_sizes_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "v.mp4", np.zeros((20, 16, 16, 3), np.uint8))
    store = build_store(scan(tmp_path / "videos"), tmp_path / "store", height=4, width=4)
    manifest = json.loads((store.path / "manifest.json").read_text())
    (store.path / "manifest.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(UserError, match="damaged"):
        FrameStore(store.path)


def test_a_picture_of_another_size_in_a_store_is_a_video_error(tmp_path: Path) -> None:
    import simplejpeg

    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "v.mp4", np.zeros((20, 16, 16, 3), np.uint8))
    store = build_store(scan(tmp_path / "videos"), tmp_path / "store", height=40, width=40)
    data = (store.path / "frames.bin").read_bytes()
    small = simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8), 90, "RGB", "420")
    assert len(small) <= len(data)
    (store.path / "frames.bin").write_bytes(small + data[len(small) :])
    with pytest.raises(VideoError, match=r"frame 0 is damaged in .* \(8x8 pixels\)"):
        FrameStore(store.path).read(0, np.array([0]))


_PEAK = """
import resource, sys
from cacl.data.decode import VideoDecoder
from cacl.errors import VideoError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    VideoDecoder(sys.argv[1])
except VideoError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_picture_of_sixteen_thousand_pixels_is_not_allocated(tmp_path: Path) -> None:
    """The size stands in the first frame, not in the container: opening would decode it."""
    path = tmp_path / "huge.mov"
    write_video(path, np.zeros((5, 64, 64, 3), np.uint8), codec="png", pixel_format="rgb24")
    data = bytearray(path.read_bytes())
    place = data.find(b"IHDR")
    assert place > 0
    while place >= 0:
        data[place + 4 : place + 12] = struct.pack(">II", 16_000, 16_000)
        data[place + 17 : place + 21] = struct.pack(">I", zlib.crc32(data[place : place + 17]))
        place = data.find(b"IHDR", place + 4)
    path.write_bytes(data)
    out = subprocess.run([sys.executable, "-c", _PEAK, path], capture_output=True, text=True, check=True).stdout
    assert int(out) < 100_000, "kilobytes; one such picture takes 768 MB"


# ---- the network, and pages ------------------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[tuple[int, list[object]]]:
    """A port of this machine, and who connected to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found: list[object] = []
        server.settimeout(0.1)
        done = threading.Event()

        def accept() -> None:
            while not done.is_set():
                try:
                    connection, peer = server.accept()
                except TimeoutError:
                    continue
                found.append(peer)
                connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1], found
        done.set()
        thread.join()


def test_a_video_file_cannot_make_us_fetch_something(listener: tuple[int, list[object]], tmp_path: Path) -> None:
    port, connections = listener
    url = f"http://127.0.0.1:{port}/x.ts"
    playlists = {
        "hls.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n",
        "concat.ffconcat": f"ffconcat version 1.0\nfile '{url}'\n",
        "dash.mpd": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
        f"<Period><AdaptationSet><Representation><BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>",
        "session.sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n",
    }
    for name, text in playlists.items():
        for path, content in ((tmp_path / name, text.encode()), (tmp_path / f"b{name}", text.encode() + b"#\0\xff\n")):
            path.write_bytes(content)
            with pytest.raises(VideoError):
                isolated(str(path), 60.0, VideoDecoder, path)
    with pytest.raises(UserError, match="no video found among 8 files"):
        scan(tmp_path)
    assert connections == []


NAMES = [b"<img src=x onerror=alert(1)>.mp4", b"-rf.mp4", b"a\nb.mp4", b"quo'te\".mp4", b"latin-\xe9.mp4", b"{{x}}.mp4"]


def test_a_run_over_hostile_names_and_its_report(
    tiny: dict[str, Any],
    tmp_path: Path,
    make_square: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "vid<b>eos"
    for number, name in enumerate(NAMES):
        write_video(tmp_path / "v.mp4", make_square(seed=number))
        for part in ("train/<i>a", "train/b", "test/<i>a", "test/b"):
            (folder / part).mkdir(parents=True, exist_ok=True)
            shutil.copy(tmp_path / "v.mp4", os.path.join(os.fsencode(folder / part), name))
    with open(os.path.join(os.fsencode(folder), b"<script>alert(2)\xff.mp4"), "wb") as file:
        file.write(bytes(100))
    from cacl.experiments.evaluate import evaluate
    from cacl.training.pretrain import pretrain

    run = pretrain(folder, out=tmp_path / "run<u>", method="sdp+v-moco", settings={**tiny, "optim.epochs": 1})
    evaluate(run.path)
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(2)" in page, "shown, as text"
    for tag in ("<img src=x", "<script>alert", "<i>a", "<u>"):
        assert tag not in page
    monkeypatch.setattr("sys.argv", ["cacl", "check", str(folder)])
    with pytest.raises(SystemExit) as end:
        cli_main()
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "24 used, 1 skipped (of 25 files)" in out
