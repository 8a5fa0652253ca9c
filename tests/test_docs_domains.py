"""The page of five domains is tried as it stands: its Python makes videos, its commands train on them, tiny."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pages import ROOT, fences, run_command

from cacl.data.media.any_video import open_video
from cacl.data.videos.scan import scan
from cacl.run import Run
from cacl.training import finish

PAGE = ROOT / "docs" / "domains.md"
NAMES = ["sport", "animals", "factory", "microscope", "thermal"]
TINY = {
    "data": {"resize": [36, 40], "workers": 0},
    "augment": {"size": 32},
    "model": {"width": 4},
    "optim": {"batch_size": 4},
    "run": {"precision": "float32", "threads": 1, "device": "cpu"},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the page's Python was run."""
    home = tmp_path_factory.mktemp("domains")
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for body in fences(PAGE, "python"):
            exec(compile(body, "domains.md", "exec"), names)
    return home


def test_the_videos_are_what_the_page_says(made: Path) -> None:
    found = {name: scan(made / name) for name in NAMES}
    assert {name: (len(one.videos), len(one.skipped)) for name, one in found.items()} == {
        "sport": (8, 0), "animals": (8, 0), "factory": (12, 1), "microscope": (6, 0), "thermal": (6, 0),
    }  # fmt: skip
    assert sorted({round(video.fps) for video in found["sport"].videos}) == [25, 50]
    assert {video.label for video in found["factory"].videos} == {"left", "right"}
    with open_video(made / "thermal" / "cold" / "0.tif") as video:
        assert video.frames == 40


def test_each_domain_takes_about_twenty_lines() -> None:
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        code = [line for body in re.findall(r"```\w*\n(.*?)```", section, re.DOTALL) for line in body.splitlines()]
        assert len(code) <= 20, section.partition("\n")[0]


@pytest.mark.slow
def test_the_commands_of_the_page_run(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pages import commands

    monkeypatch.chdir(made)
    (made / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    monkeypatch.setattr(finish, "difference_baseline", functools.partial(finish.difference_baseline, steps=20))
    threads = torch.get_num_threads()
    for words in commands(PAGE):
        more = ["--config", "tiny.yaml", "--epochs", "1"] if words[0] == "pretrain" else []
        assert run_command(words + more, monkeypatch) == 0, words
    torch.set_num_threads(threads)
    thermal = Run(made / "runs" / "thermal").settings
    assert thermal.data.levels == "percentiles"
    clip = Run(made / "runs" / "microscope").encoder.clip
    assert 0.05 < clip.levels[1] < 0.07  # 12 of 16 bits
    assert Run(made / "runs" / "sport").encoder.clip.blank == ((0, 0, 40, 12),)
