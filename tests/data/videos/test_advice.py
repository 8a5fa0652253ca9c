"""Settings are suggested where a folder stands out, and only there."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cacl.config import resolve
from cacl.data.videos.advice import suggestions
from cacl.data.videos.catalog import Catalog, Video
from cacl.presets import SMALL


def catalog(count: int, *, frames: int = 60, width: int = 320, height: int = 240, split: str | None = None) -> Catalog:
    videos = (Video(f"{n}.mp4", str(n), None, split, frames, 25.0, width, height) for n in range(count))
    return Catalog(Path(), tuple(videos))


def advise(found: Catalog, **own: Any) -> str:
    """With the preset small, or other values."""
    preset = {"batch_size": 32, "stride": 2, "resize": (64, 86), "size": 56}
    return suggestions(found, **{**preset, **own})


def settings(text: str) -> list[str]:
    """The values behind each --set and --batch-size of the advice."""
    words = text.replace("'", "").split()
    return [word.rstrip(",") for before, word in pairwise(words) if before.startswith("--")]


def test_nothing_is_said_about_a_usual_folder() -> None:
    assert advise(catalog(100)) == ""
    assert advise(catalog(0)) == ""


@pytest.mark.parametrize(
    ("found", "advice"),
    [
        (catalog(12), ["12"]),
        (catalog(100, frames=30), ["data.stride=1"]),
        (catalog(100, width=240, height=320), ["data.resize=[86,64]"]),
        (catalog(100, width=64, height=48), ["data.resize=[48,64]", "augment.size=42"]),
        (catalog(5, frames=9, width=64, height=48), ["5", "data.stride=1"]),
    ],
)
def test_what_stands_out_has_its_setting(found: Catalog, advice: list[str]) -> None:
    text = advise(found)
    assert settings(text) == advice
    assert text.count(": try ") <= 2
    resolve(SMALL, assignments=tuple(word if "=" in word else f"optim.batch_size={word}" for word in advice))


def test_the_training_part_is_what_counts() -> None:
    train, test = catalog(20, split="train"), catalog(80, split="test")
    assert advise(Catalog(Path(), train.videos + test.videos)).startswith(
        "20 videos to train on are few for batches of 32: try --batch-size 20"
    )


def test_a_few_short_videos_are_no_reason() -> None:
    videos = catalog(75).videos + catalog(25, frames=3).videos
    assert advise(Catalog(Path(), videos)) == ""


def test_it_is_measured_by_the_settings_that_are_asked_about() -> None:
    few = catalog(20)
    assert advise(few, batch_size=20) == ""
    assert settings(advise(few, batch_size=64)) == ["20"]
    assert advise(catalog(100, frames=30), stride=1) == ""
    assert advise(catalog(100, width=240, height=320), resize=(86, 64)) == ""
    assert settings(advise(catalog(100, width=240, height=320), resize=(128, 171))) == ["data.resize=[171,128]"]
    assert advise(catalog(100, width=64, height=48), resize=(48, 64), size=42) == ""
    assert advise(catalog(100, width=64, height=48), resize=None) == ""  # a store's frames have their size


def test_one_video_is_too_few_whatever_the_batch() -> None:
    assert advise(catalog(1)) == "One video to train on cannot be told from others: add videos."


def test_the_preset_of_these_tests_is_small() -> None:
    assert (SMALL["optim"]["batch_size"], SMALL["data"]["stride"]) == (32, 2)
    assert (SMALL["data"]["resize"], SMALL["augment"]["size"]) == ([64, 86], 56)
