"""Long videos cut into ranges: the windows, vectors, times and previews of the whole, whoever made which range."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cluster.pretend import Pretend
from hypothesis import given
from hypothesis import strategies as st
from indexing.made import content, facts, make_encoder, make_folder, make_index
from squares import square

import cacl
from cacl.data.media.encode import write_video
from cacl.data.media.open_files import longest_lead
from cacl.data.videos.catalog import Video
from cacl.indexing.changes import Entry
from cacl.indexing.cluster import on_ray, ranges
from cacl.indexing.cluster.ranges import ranges_of
from cacl.models.encoder import ClipSpec
from cacl.models.segments import segment_windows

CLIP = ClipSpec(frames=8, resize=(32, 40), size=32)


def entry_of(frames: int, first: int = 0) -> Entry:
    return Entry("k", Video("v.mp4", "v", None, None, frames, 25.0, 64, 48, first))


@given(
    st.integers(1, 3000), st.integers(0, 50), st.one_of(st.none(), st.integers(1, 40)), st.integers(1, 9),
    st.integers(1, 4),
)  # fmt: skip
def test_the_windows_of_the_ranges_are_those_of_the_video(
    frames: int, first: int, step: int | None, length: int, stride: int
):
    clip = replace(CLIP, stride=stride)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "LENGTH", length)
        cut = ranges_of(entry_of(frames, first), clip, step)
    named: dict[str, Any] = {"frames": clip.frames, "stride": clip.stride, "step": step}
    whole = segment_windows(frames, **named)
    assert bool(cut) == (len(whole[0]) >= 2 * length and frames >= 2 * length and (step or stride) >= stride)
    if not cut:
        return
    parts = []
    for one in cut:
        own, offset = segment_windows(one.video.frames, **named), one.video.first_frame - first
        assert length <= len(own[0]) < 2 * length
        parts.append([column + offset for column in own])
    assert all(len(part[0]) == length for part in parts[:-1])
    for column, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert np.array_equal(np.concatenate(pieces), column)
    assert len({one.key for one in cut}) == len(cut)


def test_what_is_not_cut(monkeypatch: pytest.MonkeyPatch):
    assert ranges_of(entry_of(32_000), CLIP, None) == [], "2 000 windows of 16 frames are not two ranges"
    assert len(ranges_of(entry_of(10 * 3600 * 30), CLIP, None)) == 65
    assert ranges_of(entry_of(10 * 3600 * 30), replace(CLIP, frame_rate=8.0), None) == [], "frames chosen by a rate"


def test_how_far_keyframes_are_apart(media: Path, tmp_path: Path):
    write_video(tmp_path / "g.mp4", square(70), options={"g": "30", "sc_threshold": "0"})
    assert longest_lead(str(tmp_path / "g.mp4")) == 30
    assert longest_lead(str(tmp_path / "g.mp4")) == 30, "what is known by now"
    assert longest_lead(str(media / "no_times.h264")) is None, "all of it has to be decoded first"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A long video, and short ones."""
    folder = make_folder(tmp_path_factory.mktemp("videos"), 3)
    write_video(folder / "a" / "long.mp4", square(40 * 16 + 7, seed=9), fps=10, options={"g": "25"})
    return folder


@contextmanager
def many(cluster: Pretend) -> Iterator[None]:
    """In the place of Ray; ranges of sixteen windows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "LENGTH", 16)
        patch.setattr(on_ray, "Cluster", lambda address, say: cluster)
        patch.setattr(on_ray, "_own", uuid.uuid4().hex)  # its workers are others than before
        yield


def on_many(
    videos: Path, out: Path, cluster: Pretend, encoder: Path, **more: Any
) -> tuple[dict[str, bytes], list[str]]:
    """An index made by a cluster that is none; its content, and what was said."""
    said: list[str] = []
    seen, total = [0], [0]

    def watch(what: str, done: int, of: int) -> None:
        if what == "videos embedded":
            assert seen[-1] <= done <= of
            seen.append(done)
            total[0] = of

    more |= {"say": said.append, "progress": watch}
    with many(cluster), make_index(videos, out, model=encoder, engine="ray", **more) as index:
        found = facts(index)
        keys = {video.key for video in index.videos}
    assert seen[-1] == total[0]
    assert {file.stem for file in (out / "previews").rglob("*.zip")} == keys, "those of ranges are gone"
    assert not (out / "shards").exists()
    return found, said


def ranged(cluster: Pretend) -> list[str]:
    return [key for key in cluster.done if "@" in key]


@pytest.mark.parametrize(("step", "deaths", "count"), [(None, 0, 2), (5, 3, 8)])
def test_the_index_is_that_of_one_process(
    videos: Path, encoder: Path, tmp_path: Path, step: int | None, deaths: int, count: int
):
    cluster = Pretend(deaths=deaths)
    with make_index(videos, tmp_path / "one", model=encoder, step=step) as one:
        assert on_many(videos, tmp_path / "many", cluster, encoder, step=step)[0] == facts(one)
    assert len(set(ranged(cluster))) == count


def test_without_previews(videos: Path, encoder: Path, tmp_path: Path):
    with make_index(videos, tmp_path / "one", model=encoder, previews=False) as one:
        whole = content(one)
    cluster = Pretend()
    with many(cluster):
        make_index(videos, tmp_path / "many", model=encoder, previews=False, engine="ray").close()
    with cacl.Index(tmp_path / "many") as index:
        assert content(index) == whole
    assert ranged(cluster)


def test_a_damaged_long_video_is_read_whole(videos: Path, encoder: Path, tmp_path: Path):
    other = tmp_path / "videos"
    shutil.copytree(videos, other)
    long = other / "a" / "long.mp4"
    content = bytearray(long.read_bytes())
    middle = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2
    content[middle : middle + 400] = bytes(400)
    long.write_bytes(content)
    with make_index(other, tmp_path / "one", model=encoder) as one:
        assert any("break" in video.note for video in one.catalog.videos) or len(one.catalog.skipped) == 1
        whole = facts(one)
    cluster = Pretend()
    found, said = on_many(other, tmp_path / "many", cluster, encoder)
    assert found == whole
    assert ranged(cluster)
    assert any("1 long video cannot be cut into ranges (first a/long.mp4)" in text for text in said)


def test_a_video_without_keyframes_is_read_whole(
    encoder: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ranges, "_LEAD", 20)
    with make_index(videos, tmp_path / "one", model=encoder) as one:
        whole = facts(one)
    found, said = on_many(videos, tmp_path / "many", Pretend(), encoder)
    assert found == whole
    assert any("cannot be cut" in text for text in said)


def test_ranges_of_a_run_that_was_stopped_are_not_made_again(videos: Path, encoder: Path, tmp_path: Path):
    class Stopped(Pretend):
        def next(self, sent: Any) -> Any:
            if self.done:
                raise KeyboardInterrupt
            return super().next(sent)

    first, again = Stopped(), Pretend()
    with pytest.raises(KeyboardInterrupt):
        on_many(videos, tmp_path / "many", first, encoder)
    assert len(ranged(first)) == 1, "the most costly first"
    with make_index(videos, tmp_path / "one", model=encoder) as one:
        assert on_many(videos, tmp_path / "many", again, encoder)[0] == facts(one)
    assert set(ranged(first)) & set(ranged(again)) == set()


def test_a_run_that_was_stopped_goes_on_in_one_process(videos: Path, encoder: Path, tmp_path: Path):
    class Stopped(Pretend):
        def next(self, sent: Any) -> Any:
            if ranged(self):
                raise KeyboardInterrupt
            return super().next(sent)

    with pytest.raises(KeyboardInterrupt):
        on_many(videos, tmp_path / "many", Stopped(), encoder)
    with (
        make_index(videos, tmp_path / "one", model=encoder) as one,
        make_index(videos, tmp_path / "many", model=encoder) as two,
    ):
        assert facts(one) == facts(two)
    assert not any("@" in file.name for file in (tmp_path / "many").rglob("*"))


def test_a_range_that_ends_its_workers_gives_up_the_video(videos: Path, encoder: Path, tmp_path: Path):
    class Deadly(Pretend):
        def next(self, sent: Any) -> Any:
            self.killers = [job.key for batch in self._sent for job in batch if "@0-" in job.key]
            return super().next(sent)

    with many(Deadly()), make_index(videos, tmp_path / "many", model=encoder, engine="ray") as index:
        assert [(item.path, item.reason) for item in index.catalog.skipped] == [("a/long.mp4", on_ray.DIED)]
        assert len(index.videos) == 3
    found, _ = on_many(videos, tmp_path / "many", Pretend(), encoder)
    with make_index(videos, tmp_path / "one", model=encoder) as one:
        assert found == facts(one), "the next command tries it again"


def test_frames_chosen_by_a_rate(videos: Path, tmp_path: Path):
    encoder, cluster = make_encoder(tmp_path / "encoder", frame_rate=5.0), Pretend()
    with make_index(videos, tmp_path / "one", model=encoder) as one:
        assert on_many(videos, tmp_path / "many", cluster, encoder)[0] == facts(one)
    assert not ranged(cluster)
