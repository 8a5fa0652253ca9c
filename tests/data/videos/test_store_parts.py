"""Several videos of one file in a store: the file is read once, and each has its own frames."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cacl.data.media.any_video import AnyVideo, open_video
from cacl.data.videos import store_parts
from cacl.data.videos.scan import scan
from cacl.data.videos.sources import DecodedVideos
from cacl.data.videos.store import build_store

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
