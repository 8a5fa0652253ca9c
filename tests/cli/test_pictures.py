"""Folders of pictures and blank boxes through all commands: check, prepare, pretrain, embed."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cacl.data.media.any_video import open_video
from cacl.models.encoder import Encoder

Command = Callable[..., Any]
BLANK = "0,0,8,6"


def ends_with(ended: Any, *parts: object) -> None:
    """Check status 2, and a last line on stderr with these parts."""
    assert ended.status == 2, ended
    for part in parts:
        assert str(part) in ended.err.splitlines()[-1], ended.err


@pytest.fixture(scope="module")
def folders(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The videos of ``squares`` as folders of PNG."""
    root = tmp_path_factory.mktemp("folders")
    for path in sorted(squares.rglob("*.mp4")):
        folder = root / path.relative_to(squares).with_suffix("")
        folder.mkdir(parents=True)
        with open_video(path) as video:
            for i, frame in enumerate(video.iterate(height=video.info.height, width=video.info.width)):
                Image.fromarray(frame).save(folder / f"{i}.png")
    return root


def flags(tiny: dict[str, Any]) -> list[str]:
    return [word for key, value in tiny.items() for word in ("--set", f"{key}={json.dumps(value)}")]


def test_the_whole_way(cacl: Command, folders: Path, squares: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    checked = cacl("check", folders, "--rate", 25, "--deep")
    assert checked.status == 0
    assert "12 used, 0 skipped (of 12 files)" in checked.out
    trained = cacl("pretrain", folders, "--out", "run", "--blank", BLANK, *flags(tiny), "--set", "data.picture_rate=25")
    assert trained.status == 0, trained.err
    assert Encoder.load("run").clip.blank == ((0, 0, 8, 6),)
    beside = cacl("pretrain", squares, "--out", "beside", "--blank", BLANK, *flags(tiny))
    assert beside.status == 0, beside.err
    a, b = (Encoder.load(run).network.state_dict() for run in ("run", "beside"))
    assert all(np.array_equal(a[name], b[name]) for name in a)  # the same pixels in the same order
    for videos, out in ((folders, "pictures"), (squares, "files")):
        embedded = cacl("embed", videos, "--model", "run", "--out", out, *(("--rate", 25) if out == "pictures" else ()))
        assert embedded.status == 0, embedded.err
    assert np.array_equal(np.load("pictures/vectors.npy"), np.load("files/vectors.npy"))
    times = []
    for out in ("pictures", "files"):
        rows = csv.DictReader(Path(out, "segments.csv").read_text().splitlines())
        times.append([(row["start_s"], row["end_s"]) for row in rows])
    assert times[0] == times[1]
    evaluated = cacl("evaluate", "run")
    assert evaluated.status == 0, evaluated.err


def test_a_store_and_its_blank_boxes(cacl: Command, folders: Path, tiny: dict[str, Any]) -> None:
    prepared = cacl("prepare", folders, "--out", "store", "--size", 32, 40, "--blank", BLANK, "--rate", 25)
    assert prepared.status == 0, prepared.err
    cacl("pretrain", "store", "--out", "run", *flags(tiny)).refused("holds frames with 0,0,8,6 blank", "data.blank")
    trained = cacl("pretrain", "store", "--out", "run", "--blank", BLANK, *flags(tiny))
    assert trained.status == 0, trained.err
    shutil.rmtree("store")
    cacl("prepare", folders, "--out", "store", "--size", 32, 40)
    embedded = cacl("embed", "store", "--model", "run", "--out", "vectors")
    ends_with(embedded, "holds frames with nothing blank", "0,0,8,6")


@pytest.mark.parametrize("box", ["1,2,3", "0,0,0,5", "a,b,c,d", "-1,0,5,5", "1.5,0,5,5"])
def test_a_box_that_is_none(box: str, cacl: Command, folders: Path) -> None:
    cacl("prepare", folders, "--out", "store", f"--blank={box}").refused(
        f"--blank is {box}; it must be four whole numbers"
    )
