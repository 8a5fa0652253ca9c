"""Several videos of one file in a store: the file is read once, and each has its own frames."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cacl.data.media.any_video import AnyVideo, open_video
from cacl.data.media.encode import write_video
from cacl.data.videos import store_parts
from cacl.data.videos.scan import scan
from cacl.data.videos.sources import DecodedVideos
from cacl.data.videos.store import FrameStore, build_store

PARTS = "v.{0},0,0.4\nv.{0},0.2,1.2\nv.{0},1.0,2.4\nv.{0},0,\nv.{0},2.3,2.36\n"


@pytest.mark.parametrize("name", ["h264.mp4", "open_gop.ts", "no_times.h264"])
def test_parts_of_a_file_are_read_in_one_go(
    name: str, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that share frames, in a store, are what the whole file's store has there; the file is opened once."""
    suffix = name.rsplit(".")[-1]
    shutil.copy(media / name, tmp_path / f"v.{suffix}")
    whole = build_store(scan(tmp_path), tmp_path / "whole", height=12, width=16, kind="raw")
    (tmp_path / "videos.csv").write_text("path,start,end\n" + PARTS.format(suffix), encoding="utf-8")
    catalog = scan(tmp_path)
    assert len(catalog.videos) == 5
    opened = []

    def counted(path: Path, **how: Any) -> AnyVideo:
        opened.append(path)
        return open_video(path, **how)

    monkeypatch.setattr(store_parts, "open_video", counted)
    plan = store_parts.PartPlan(0, tmp_path, tmp_path, catalog.videos, 12, 16, "raw", 90)
    store_parts.make_part(plan)
    facts = store_parts.PartFacts.read(plan.facts)
    assert len(opened) == 1
    assert facts.problems == [""] * 5
    assert facts.frames == [video.frames for video in catalog.videos]
    frames = np.fromfile(plan.data, np.uint8).reshape(-1, 12, 16, 3)
    numbers = np.concatenate([video.first_frame + np.arange(video.frames) for video in catalog.videos])
    np.testing.assert_array_equal(frames, whole.read(0, numbers))


def test_parts_behind_a_break_are_left_out_and_those_before_it_kept(
    media: Path, bad_media: Path, tmp_path: Path
) -> None:
    shutil.copy(bad_media / "breaks_late.mp4", tmp_path / "v.mp4")
    rows = "".join(f"v.mp4,{start / 25},{(start + 31) / 25}\n" for start in range(0, 29, 2))
    (tmp_path / "videos.csv").write_text("path,start,end\n" + rows, encoding="utf-8")
    store = build_store(scan(tmp_path), tmp_path / "store", height=12, width=16, kind="raw")
    good = scan(bad_media, deep=True)
    frames = next(video.frames for video in good.videos if video.path == "breaks_late.mp4")
    kept = [start for start in range(0, 29, 2) if start + 31 <= frames]
    assert [video.first_frame for video in store.catalog.videos] == kept
    assert kept
    assert all("fewer than 31 frames are good" in s.reason for s in store.catalog.skipped if s.path == "v.mp4")
    source = DecodedVideos(store.catalog, height=12, width=16)
    last = len(kept) - 1
    np.testing.assert_array_equal(store.read(last, np.arange(31)), source.read(last, np.arange(31)))


def test_the_seconds_of_a_part_are_those_of_its_file(tmp_path: Path) -> None:
    """25 frames a second, then one: the rate of a part says nothing of when it begins in the file."""
    starts = [i * 0.04 if i < 30 else 1.2 + i - 30 for i in range(50)]
    frames = np.random.default_rng(0).integers(0, 256, (50, 16, 16, 3), dtype=np.uint8)
    write_video(tmp_path / "v.mkv", frames, timestamps=starts, options={"bf": "0", "preset": "ultrafast"})
    rows = "v.mkv,0,1.2\nv.mkv,1.2,\nv.mkv,0.8,6\nv.mkv,0.4,0.8\n"
    (tmp_path / "videos.csv").write_text("path,start,end\n" + rows, encoding="utf-8")
    store = build_store(scan(tmp_path), tmp_path / "store", height=12, width=16, kind="raw")
    with open_video(tmp_path / "v.mkv") as video:
        shown = video.seconds
    assert shown[[30, 31, 49]] == pytest.approx([1.2, 2.2, 20.2], abs=0.002)
    for number, part in enumerate(store.catalog.videos):
        own = shown[part.first_frame : part.first_frame + part.frames + 1]
        assert store.file_seconds(number) == pytest.approx(own, abs=0.002)
        assert store.seconds(number) == pytest.approx(own - own[0], abs=0.002)
    assert sorted(v.first_frame for v in store.catalog.videos) == [0, 10, 20, 30]


def test_a_part_in_a_store_of_before_counts_its_times_from_0(tmp_path: Path, media: Path) -> None:
    shutil.copy(media / "h264.mp4", tmp_path / "v.mp4")
    (tmp_path / "videos.csv").write_text("path,start,end\nv.mp4,0.4,0.56\n", encoding="utf-8")
    build_store(scan(tmp_path), tmp_path / "store", height=12, width=16, kind="raw")
    (tmp_path / "store" / "times.json").write_text('{"0": [0, 0.01, 0.02, 0.05, 0.16]}', encoding="utf-8")
    store = FrameStore(tmp_path / "store")
    assert store.file_seconds(0) == pytest.approx([0.4, 0.41, 0.42, 0.45, 0.56])
    assert store.seconds(0) == pytest.approx([0, 0.01, 0.02, 0.05, 0.16])
