"""No file that a user might be sent can fill the memory, or the time, with a few bytes."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sent_files import open_checkpoint, open_encoder, open_store

from cacl.config import read_yaml, resolve
from cacl.data.media.encode import write_video
from cacl.data.videos.scan import scan
from cacl.data.videos.sources import FrameStore
from cacl.data.videos.store import build_store
from cacl.errors import UserError, VideoError
from cacl.models.foreign import read_foreign
from cacl.models.weights import read_frame_state
from cacl.presets import PRESETS


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
        open_checkpoint(tmp_path, content)


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
    for open_it in (open_encoder("config.json"), open_store("manifest.json")):
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
from cacl.data.media.decode import VideoDecoder
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
