"""A tiny encoder, some videos and an index of them, made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from squares import square

import cacl
from cacl.data.media.encode import write_video
from cacl.models.encoder import ClipSpec, Encoder

EXACT: dict[str, Any] = {"device": "cpu", "precision": "float32"}


def make_encoder(folder: Path, *, seed: int = 0, **clip: Any) -> Path:
    torch.manual_seed(seed)
    Encoder("r3d10", width=4, clip=ClipSpec(frames=8, resize=(32, 40), size=32, **clip)).save(folder)
    return folder


def make_folder(folder: Path, count: int = 4) -> Path:
    """``a`` and ``b`` with videos of 40 frames: at stride 2 three windows each."""
    for number in range(count):
        add(folder, number)
    return folder


def add(folder: Path, number: int) -> Path:
    path = folder / "ab"[number % 2] / f"v{number}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, square(40 + number, seed=number), fps=10)
    return path


def make_index(videos: Path, out: Path, **more: Any) -> cacl.Index:
    made = cacl.index(videos, out=out, **{**EXACT, **more})
    assert made is not None
    return made


def content(index: cacl.Index) -> dict[str, bytes]:
    """Every file of the current generation, byte for byte."""
    generation = index.catalog_file.parent
    return {file.name: file.read_bytes() for file in generation.iterdir() if file.name != ".lock"}


def facts(index: cacl.Index) -> dict[str, bytes]:
    """Every file of the current generation and the previews of its videos, byte for byte."""
    previews = {file.stem: file.read_bytes() for file in (index.path / "previews").rglob("*.zip")}
    return content(index) | {video.key: previews[video.key] for video in index.videos}
