"""The documentation as tests read it: pages, their code fences, the commands in these, and videos to run them on."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from cacl import cli
from cacl.data.media.encode import write_video

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def prose(page: Path) -> str:
    """A page without its code fences."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def fences(page: Path, *languages: str) -> list[str]:
    """Code fences of a page in these languages (an empty one: none given)."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [body for language, body in found if language in languages]


def commands(page: Path) -> list[list[str]]:
    """Every ``cacl …`` line in the shell fences of a page, split into words, without comments."""
    found = []
    for body in fences(page, "", "sh", "bash", "shell", "console"):
        for line in body.replace("\\\n", " ").splitlines():
            words = shlex.split(line.strip().removeprefix("$ "), comments=True)
            if words and words[0] in ("cacl", ".venv/bin/cacl"):
                found.append(words[1:])
    return found


def make_folder(folder: Path) -> None:
    """Two classes of small videos, patterns that go left or right, in train/ and test/; and a file that is none."""
    for split, count in (("train", 3), ("test", 2)):
        for label, step in (("left", -2), ("right", 2)):
            (folder / split / label).mkdir(parents=True)
            for i in range(count):
                small = np.random.default_rng([count, step + 2, i]).integers(0, 255, (8, 10, 3), np.uint8)
                frame = small.repeat(8, axis=0).repeat(8, axis=1)
                frames = np.stack([np.roll(frame, step * t, axis=1) for t in range(40)])
                write_video(folder / split / label / f"{label}{i}.mp4", frames)
    (folder / "notes.txt").write_text("no video\n")


def run_command(words: list[str], patch: pytest.MonkeyPatch) -> int:
    patch.setattr(sys, "argv", ["cacl", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)
