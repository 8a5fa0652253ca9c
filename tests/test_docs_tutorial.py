"""The tutorial runs, command after command, and the examples beside it."""

from __future__ import annotations

import functools
import re
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pages import ROOT, commands, fences, make_folder, run_command

TINY = """
data: {resize: [36, 40], workers: 0}
augment: {size: 32}
model: {width: 4, frame_width: 4, token_width: 12, depth: 1, degree_hidden: 16}
optim: {batch_size: 4, epochs: 2}
frames: {optim: {batch_size: 8, epochs: 1}}
run: {precision: float32, threads: 1, device: cpu}
"""


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which every command of the tutorial was run, in order, with tiny networks."""
    from cacl.training import finish

    home = tmp_path_factory.mktemp("tutorial")
    make_folder(home / "videos")
    (home / "tiny.yaml").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr(finish, "difference_baseline", functools.partial(finish.difference_baseline, steps=20))
        threads = torch.get_num_threads()
        for words in commands(ROOT / "docs" / "tutorial.md"):
            fresh = words[0] == "pretrain" and "--resume" not in words and "--print-config" not in words
            more = ["--config", "tiny.yaml", "--epochs", "2"] if fresh else []
            assert run_command(words + more, patch) == 0, words
        yield home
        torch.set_num_threads(threads)


def test_the_tutorial_runs_and_leaves_what_it_says(tutorial: Path):
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(runs/mine/[\w./-]+)`", text))
    assert named
    assert not [name for name in named if not (tutorial / name).exists()]


def test_the_python_of_the_tutorial_runs(tutorial: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tutorial)
    shutil.copy(next(tutorial.glob("videos/test/left/*.mp4")), tutorial / "query.mp4")
    names: dict[str, Any] = {}
    bodies = fences(ROOT / "docs" / "tutorial.md", "python")
    assert bodies
    for body in bodies:
        exec(compile(body, "tutorial.md", "exec"), names)


def run_example(name: str, arguments: list[str], patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")


def test_the_search_example_finds_a_video_itself(
    tutorial: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    query = next(tutorial.glob("videos/train/right/*.mp4"))
    shutil.copy(query, tutorial / "copy.mp4")
    folder, run = str(tutorial / "videos"), str(tutorial / "runs" / "mine")
    run_example("search_my_folder.py", [run, folder, str(tutorial / "copy.mp4"), "-k", "3"], monkeypatch)
    lines = [line.split(maxsplit=6) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 3
    assert lines[0][5] == query.relative_to(tutorial / "videos").as_posix()
    similarities = [float(line[0]) for line in lines]
    assert similarities[0] > 0.99
    assert similarities == sorted(similarities, reverse=True)


def test_the_features_example_prints_the_features_of_a_video(
    tutorial: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    video = next(tutorial.glob("videos/train/right/*.mp4"))
    out = tutorial / "features.npy"
    run_example("features.py", [str(tutorial / "runs" / "mine"), str(video), "--out", str(out)], monkeypatch)
    vectors = np.load(out)
    assert vectors.shape == (2, 32)  # 40 frames: 32, then the last window; 8 · width, 1 frame, 1 of 2x2 pixels
    assert "32" in capsys.readouterr().out
