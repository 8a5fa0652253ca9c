"""Settings are suggested where a folder stands out, and only there."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cacl.config import resolve
from cacl.data.videos.advice import suggestions, time_spread
from cacl.data.videos.catalog import Catalog, Video
from cacl.presets import SMALL


def catalog(count: int, *, frames: int = 60, width: int = 320, height: int = 240, split: str | None = None) -> Catalog:
    videos = (Video(f"{n}.mp4", str(n), None, split, frames, 25.0, width, height) for n in range(count))
    return Catalog(Path(), tuple(videos))


def advise(found: Catalog, **own: Any) -> str:
    """With the preset small, or other values."""
    preset = {"batch_size": 32, "frames": 8, "stride": 4, "resize": (64, 86), "size": 56}
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
        (catalog(100, frames=28), ["data.stride=1"]),
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


def at_rates(*rates: float) -> Catalog:
    return Catalog(
        Path(), tuple(Video(f"{n}.mp4", str(n), None, None, 900, fps, 320, 240) for n, fps in enumerate(rates))
    )


def test_rates_that_differ_are_said_with_one_that_few_do_not_reach() -> None:
    mixed = at_rates(*[24.0] * 40, *[60.0] * 40, *[5.0] * 2)
    assert settings(advise(mixed)) == ["data.frame_rate=24"]
    assert advise(mixed, frame_rate=24.0) == ""
    assert advise(at_rates(*[25.0] * 50, *[29.97] * 50)) == ""
    assert advise(at_rates(*[25.0] * 99, 60.0)) == ""  # one that stands out is no spread
    assert advise(at_rates(*[0.0] * 100)) == ""


def lengths(*frames: int) -> Catalog:
    return Catalog(
        Path(), tuple(Video(f"{n}.mp4", str(n), None, None, f, 25.0, 320, 240) for n, f in enumerate(frames))
    )


def test_long_videos_that_an_epoch_hardly_sees_are_said() -> None:
    mostly = lengths(*[100] * 40, 180_000)
    assert settings(advise(mostly)) == ["data.clips_per_video=duration"]
    assert "in 1 video of 41" in advise(mostly)
    assert advise(mostly, clips_per_video="duration") == ""
    assert advise(lengths(*[100] * 40, 3000)) == ""  # long, but less than the others together
    assert advise(lengths(*[90_000] * 40)) == ""  # all alike


def test_the_spread_of_rates_and_of_what_a_clip_lasts() -> None:
    assert time_spread(at_rates(25.0, 25.0, 0.0), frames=16, stride=2) == (
        "25 frames a second: what the network sees at once, a clip of 31 frames, lasts 1.24 s."
    )
    assert time_spread(at_rates(29.97, 10.0, 62.0), frames=16, stride=2) == (
        "10 to 62 frames a second (median 29.97): what the network sees at once, a clip of 31 frames, "
        "lasts 0.50 to 3.10 s."
    )
    assert time_spread(at_rates(0.0), frames=16, stride=2) == ""


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
    assert advise(catalog(100, frames=29)) == ""  # (8 - 1) · 4 + 1
    assert settings(advise(catalog(100, frames=30), frames=16, stride=2)) == ["data.stride=1"]
    assert advise(catalog(100, frames=28), stride=1) == ""
    assert advise(catalog(100, width=240, height=320), resize=(86, 64)) == ""
    assert settings(advise(catalog(100, width=240, height=320), resize=(128, 171))) == ["data.resize=[171,128]"]
    assert advise(catalog(100, width=64, height=48), resize=(48, 64), size=42) == ""
    assert advise(catalog(100, width=64, height=48), resize=None) == ""  # a store's frames have their size


def test_one_video_is_too_few_whatever_the_batch() -> None:
    assert advise(catalog(1)) == (
        "One video to train on cannot be told from others: add videos, or give each of its parts a row in a videos.csv "
        "beside it (path,start,end)."
    )


def test_the_preset_of_these_tests_is_small() -> None:
    assert (SMALL["optim"]["batch_size"], SMALL["data"]["frames"], SMALL["data"]["stride"]) == (32, 8, 4)
    assert (SMALL["data"]["resize"], SMALL["augment"]["size"]) == ([64, 86], 56)
