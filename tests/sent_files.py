"""Files that a user might be sent: pickles that run code, and how each kind of file is opened."""

from __future__ import annotations

import io
import json
import os
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from cacl.config import read_yaml
from cacl.data.media.encode import write_video
from cacl.data.videos.scan import scan
from cacl.data.videos.sources import FrameStore
from cacl.data.videos.store import build_store
from cacl.models.encoder import Encoder
from cacl.models.foreign import read_foreign
from cacl.models.weights import read_frame_state
from cacl.training.checkpoint import load_checkpoint, newest_checkpoint


class Evil:
    """Unpickled, it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (self.mark,)


def as_pickle(evil: object) -> bytes:
    return pickle.dumps({"state_dict": {"conv1.weight": evil}, "method": evil})


def as_archive(evil: object) -> bytes:
    out = io.BytesIO()
    torch.save({"state_dict": {"conv1.weight": evil}, "method": evil}, out)
    return out.getvalue()


def as_legacy_archive(evil: object) -> bytes:
    out = io.BytesIO()
    torch.save({"state_dict": {"conv1.weight": evil}, "method": evil}, out, _use_new_zipfile_serialization=False)
    return out.getvalue()


def as_numpy(evil: object) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([evil, 1], dtype=object), allow_pickle=True)
    return out.getvalue()


FORMS = {"pickle": as_pickle, "torch archive": as_archive, "torch legacy": as_legacy_archive, "numpy": as_numpy}


def open_checkpoint(folder: Path, content: bytes) -> None:
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


def open_encoder(part: str) -> Callable[[Path, bytes], None]:
    def open_it(folder: Path, content: bytes) -> None:
        Encoder("r3d10", width=4).save(folder / "encoder")
        (folder / "encoder" / part).write_bytes(content)
        Encoder.load(folder / "encoder")

    return open_it


def open_store(part: str) -> Callable[[Path, bytes], None]:
    def open_it(folder: Path, content: bytes) -> None:
        (folder / "videos").mkdir()
        write_video(folder / "videos" / "v.mp4", np.zeros((20, 16, 16, 3), np.uint8))
        store = build_store(scan(folder / "videos"), folder / "store", height=4, width=4)
        (store.path / part).write_bytes(content)
        FrameStore(store.path)

    return open_it


LOADERS: dict[str, Callable[[Path, bytes], None]] = {
    "checkpoint": open_checkpoint,
    "frame weights .pth": _weights("w.pth", read_frame_state),
    "frame weights .safetensors": _weights("w.safetensors", read_frame_state),
    "foreign .pth": _weights("w.pth", read_foreign),
    "foreign .safetensors": _weights("w.safetensors", read_foreign),
    "encoder weights": open_encoder("model.safetensors"),
    "encoder config": open_encoder("config.json"),
    "store offsets": open_store("offsets.npy"),
    "store manifest": open_store("manifest.json"),
    "store catalog": open_store("videos.csv"),
    "settings": _weights("settings.yaml", read_yaml),
}
