"""What may be over next time is told from what is wrong with a file, by what really comes of both."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from cacl.data.media.isolated import LostVideo, isolated
from cacl.data.videos.catalog import Skipped
from cacl.data.videos.lists.entry import Entry
from cacl.data.videos.look import look
from cacl.data.videos.passing import may_pass
from cacl.data.videos.scan import scan
from cacl.data.videos.sources import DecodedVideos
from cacl.errors import VideoError


def reason_of(path: Path) -> str:
    (found,) = look(path.parent, path.name, [Entry(path.name)], deep=False, rate=0.0, named=False)
    assert isinstance(found, Skipped)
    return found.reason


def test_lost_processes_may_pass():
    for seconds, work, argument in ((0.3, time.sleep, 9), (60, bytearray, 9 * 2**30), (60, os._exit, 3)):
        with pytest.raises(LostVideo) as lost:
            isolated("x.mp4", seconds, work, argument)  # type: ignore[arg-type]
        assert may_pass(lost.value.reason), lost.value.reason


def test_the_system_may_say_otherwise_next_time(tmp_path: Path, media: Path):
    gone = reason_of(tmp_path / "gone.mp4")
    assert may_pass(gone), gone
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "a.mp4").write_bytes((media / "h264.mp4").read_bytes())
    source = DecodedVideos(scan(folder), height=32, width=40)
    (folder / "a.mp4").write_bytes((media / "one_frame.mp4").read_bytes())
    with pytest.raises(VideoError) as changed:
        source.read(0, np.arange(20))
    assert may_pass(changed.value.reason), changed.value.reason


@pytest.mark.parametrize("name", ["text.mp4", "empty.mp4", "audio.wav"])
def test_what_is_wrong_with_a_file_stays_wrong(bad_media: Path, name: str):
    assert not may_pass(reason_of(bad_media / name))
