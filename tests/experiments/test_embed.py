"""``cacl embed``: vectors and seconds of one video at a time, whatever stops it, and a folder that says what it is."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import feather, parquet

import cacl
from cacl.data.media.decode import VideoDecoder
from cacl.data.media.encode import write_video
from cacl.data.videos.catalog import Catalog
from cacl.data.videos.scan import scan
from cacl.data.videos.store import build_store
from cacl.errors import UserError
from cacl.evaluation import embedding
from cacl.evaluation.embedding import Embedding
from cacl.experiments import embed_parts
from cacl.lock import FolderLock, InUse
from cacl.models.encoder import ClipSpec, Encoder

FILES = {"embedding.json", "segments.csv", "vectors.npy", "videos.csv"}
EXACT: dict[str, Any] = {"device": "cpu", "precision": "float32"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("encoder")
    Encoder("r3d10", width=4, clip=ClipSpec(frames=8, resize=(32, 40), size=32)).save(folder)
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, media: Path, bad_media: Path) -> Path:
    """Long and short, one of uneven rate, one that breaks, one that is none."""
    folder = tmp_path_factory.mktemp("videos")
    names = ["h264.mp4", "uneven_rate.mp4", "one_frame.mp4", "mpeg4.avi"]
    for name in names:
        shutil.copy(media / name, folder / name)
    for name in ("breaks_late.mp4", "text.mp4"):
        shutil.copy(bad_media / name, folder / name)
    return folder


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed_parts, "PART", 4)


@pytest.mark.parametrize("name", ["table.parquet", "table.arrow"])
def test_the_table_has_the_rows_of_the_folder(
    encoder: Path, videos: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "_ROWS", 3)  # several parts
    made = cacl.embed(videos, model=encoder, out=tmp_path / "out", **EXACT)
    made.write_table(tmp_path / name)
    read = parquet.read_table if name.endswith("parquet") else feather.read_table
    table = read(tmp_path / name)
    assert len(table) == len(made) > 3
    np.testing.assert_array_equal(np.array(table["vector"].to_pylist(), np.float32), np.load(made.path / "vectors.npy"))
    with (made.path / "segments.csv").open(newline="") as file:
        told = list(csv.DictReader(file))
    assert table.column_names == [*told[0], "vector"]
    for row, cells in zip(table.to_pylist(), told, strict=True):
        assert row["path"] == cells["path"]
        assert [row[key] for key in cells if key != "path"] == [float(v) for key, v in cells.items() if key != "path"]


def test_a_table_replaces_only_a_table_and_needs_pyarrow(
    encoder: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cacl.embed(videos, model=encoder, out=tmp_path / "out", **EXACT)
    (tmp_path / "notes.parquet").write_text("mine")
    with pytest.raises(UserError, match="was not written by cacl embed"):
        made.write_table(tmp_path / "notes.parquet")
    with pytest.raises(UserError, match="there is no folder"):
        made.write_table(tmp_path / "none" / "t.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r'pip install "pyarrow>='):
        made.write_table(tmp_path / "t.arrow")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_each_video_has_the_vectors_and_seconds_of_embed_video(encoder: Path, videos: Path, tmp_path: Path):
    made = cacl.embed(videos, model=encoder, out=tmp_path / "out", **EXACT)
    assert set(content(made.path)) == FILES
    segments, vectors, one_by_one = made.segments, made.vectors, cacl.load(encoder)
    assert len(made) == len(segments) == len(vectors)
    for name in ("h264.mp4", "uneven_rate.mp4", "one_frame.mp4", "mpeg4.avi"):
        rows = [i for i, segment in enumerate(segments) if segment.path == name]
        expected = one_by_one.embed_video(videos / name)
        np.testing.assert_allclose(vectors[rows], expected.vector, atol=1e-5)
        np.testing.assert_allclose([segments[i].start_s for i in rows], expected.start_s, atol=1e-6)
        np.testing.assert_allclose([segments[i].end_s for i in rows], expected.end_s, atol=1e-6)
    uneven = [s for s in segments if s.path == "uneven_rate.mp4"]
    assert np.std([s.end_s - s.start_s for s in uneven[:-1]]) > 0.01  # or the mean rate would have done


def test_an_encoder_of_one_frame_rate_reads_every_video_at_it(videos: Path, tmp_path: Path):
    torch.manual_seed(0)
    clip = ClipSpec(frames=8, resize=(32, 40), size=32, frame_rate=10.0)
    Encoder("r3d10", width=4, clip=clip).save(tmp_path / "encoder")
    one_by_one = cacl.load(tmp_path / "encoder")
    assert one_by_one.clip.frame_rate == 10
    made = cacl.embed(videos, model=tmp_path / "encoder", out=tmp_path / "out", **EXACT)
    segments, frames_seen = (
        made.segments,
        {v.path: v.frames for v in Catalog.read_csv(made.path / "videos.csv", root=videos).videos},
    )
    for name in ("h264.mp4", "uneven_rate.mp4"):
        rows = [i for i, segment in enumerate(segments) if segment.path == name]
        expected = one_by_one.embed_video(videos / name)
        np.testing.assert_allclose(made.vectors[rows], expected.vector, atol=1e-5)
        np.testing.assert_allclose([segments[i].start_s for i in rows], expected.start_s, atol=1e-6)
        np.testing.assert_allclose([segments[i].end_s for i in rows], expected.end_s, atol=1e-6)
        with VideoDecoder(videos / name) as decoder:
            seconds = decoder.seconds
        for i in rows:  # frames of the file, and their own seconds
            first, stop = segments[i].first_frame, segments[i].first_frame + segments[i].frames
            assert (segments[i].start_s, segments[i].end_s) == pytest.approx((seconds[first], seconds[stop]), abs=1e-6)
            assert segments[i].end_s - segments[i].start_s == pytest.approx(1.6, abs=0.3) or i in rows[-1:]
        assert stop == frames_seen[name]


def test_every_file_is_accounted_for(encoder: Path, videos: Path, tmp_path: Path):
    made = cacl.embed(videos, model=encoder, out=tmp_path / "out", **EXACT)
    found = Catalog.read_csv(made.path / "videos.csv", root=videos)
    assert {video.path for video in found.videos} == {segment.path for segment in made.segments}
    assert made.about["used"] == len(found.videos) == 5
    (broken,) = [video for video in found.videos if video.path == "breaks_late.mp4"]
    assert "used up to its break" in broken.note
    assert {item.path for item in found.skipped} == {"text.mp4"}
    last = max(s.first_frame + s.frames for s in made.segments if s.path == "breaks_late.mp4")
    assert 31 <= last <= 50


def test_a_stopped_one_goes_on_to_the_same_bytes(encoder: Path, videos: Path, tmp_path: Path, small_parts: None):
    whole = cacl.embed(videos, model=encoder, out=tmp_path / "whole", **EXACT)
    out, done = tmp_path / "stopped", list[int]()

    class Stop(Exception):
        pass

    for stop_after in (1, 3):

        def watch(what: str, count: int, total: int, most: int = stop_after) -> None:
            done.append(count)
            if what == "videos embedded" and count >= most:
                raise Stop

        with pytest.raises(Stop):
            cacl.embed(videos, model=encoder, out=out, progress=watch, **EXACT)
        with pytest.raises(UserError, match="is not finished: give the command that began it again"):
            Embedding(out)
    kept = sorted((out / "parts").glob("*.npz"))
    assert len(kept) >= 2
    kept[0].write_bytes(kept[0].read_bytes()[:-20])  # as after a failing disk: made anew
    assert content(cacl.embed(videos, model=encoder, out=out, **EXACT).path) == content(whole.path)


def begun(monkeypatch: pytest.MonkeyPatch, *arguments: Any, **more: Any) -> None:
    """An embedding of which every part is there, but not what becomes of them."""
    with monkeypatch.context() as patch:
        patch.setattr("cacl.experiments.embed.finish", lambda *arguments: None)
        with pytest.raises(UserError, match="not finished"):
            cacl.embed(*arguments, **more)


def test_parts_that_are_there_are_not_made_again(encoder: Path, videos: Path, tmp_path: Path, small_parts, monkeypatch):
    begun(monkeypatch, videos, model=encoder, out=tmp_path / "out", **EXACT)
    made = list[int]()
    monkeypatch.setattr("cacl.experiments.embed.video_vectors", lambda *arguments, **more: made.append(1) or [])
    assert len(cacl.embed(videos, model=encoder, out=tmp_path / "out", **EXACT).vectors) > 4
    assert not made


def test_one_that_was_killed_in_its_first_write_begins_anew(encoder: Path, videos: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    for name in (".lock", ".embedding.json.partial"):
        (tmp_path / "out" / name).write_text('{"format": "ca')
    again = cacl.embed(videos, model=encoder, out=tmp_path / "out", **EXACT)
    assert again.vectors.tobytes() == cacl.embed(videos, model=encoder, out=tmp_path / "new", **EXACT).vectors.tobytes()
    assert not list(again.path.glob(".*.partial"))


def test_who_comes_second_leaves_the_first_what_it_has(encoder: Path, videos: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    with FolderLock(tmp_path / "out"):  # it has written nothing yet
        with pytest.raises(InUse):
            cacl.embed(videos, model=encoder, out=tmp_path / "out", **EXACT)
        assert [file.name for file in (tmp_path / "out").iterdir()] == [".lock"]


def test_a_finished_one_is_left_alone(encoder: Path, videos: Path, tmp_path: Path):
    made = cacl.embed(videos, model=encoder, out=tmp_path / "out", **EXACT)
    before = {path.name: path.stat().st_mtime_ns for path in made.path.iterdir() if path.name != ".lock"}
    said: list[str] = []
    again = cacl.embed(videos, model=encoder, out=tmp_path / "out", say=said.append, **EXACT)
    assert said == [f"{made.path} is finished already."]
    assert cacl.embed(videos, model=encoder, out=tmp_path / "out", device="cpu").about["precision"] == "float32"
    assert {path.name: path.stat().st_mtime_ns for path in again.path.iterdir() if path.name != ".lock"} == before


def test_from_a_lossless_store_come_the_same_vectors(encoder: Path, media: Path, tmp_path: Path):
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(media / "h264.mp4", folder)
    store = build_store(scan(folder), tmp_path / "store", height=32, width=40, kind="raw")
    from_files = cacl.embed(folder, model=encoder, out=tmp_path / "a", **EXACT)
    from_store = cacl.embed(store.path, model=encoder, out=tmp_path / "b", **EXACT)
    np.testing.assert_array_equal(from_files.vectors, from_store.vectors)
    assert list(from_files.segments) == list(from_store.segments)


def test_parts_of_a_file_have_the_seconds_of_the_file(encoder: Path, tmp_path: Path, make_square: Callable[..., Any]):
    (tmp_path / "v").mkdir()
    write_video(tmp_path / "v" / "a.mp4", make_square(60), fps=10)
    (tmp_path / "v" / "videos.csv").write_text("path,label,start,end\na.mp4,x,0,2\na.mp4,y,2,6\n")
    made = cacl.embed(tmp_path / "v" / "videos.csv", model=encoder, out=tmp_path / "out", **EXACT)
    assert [(s.first_frame, s.frames, s.start_s, s.end_s) for s in made.segments] == [
        (0, 16, 0.0, 1.6),
        (5, 15, 0.5, 2.0),
        (20, 16, 2.0, 3.6),
        (36, 16, 3.6, 5.2),
        (45, 15, 4.5, 6.0),
    ]


def test_sixteen_bits_are_near(encoder: Path, videos: Path, tmp_path: Path):
    exact = cacl.embed(videos, model=encoder, out=tmp_path / "a", **EXACT).vectors
    near = cacl.embed(videos, model=encoder, out=tmp_path / "b", device="cpu", precision="bfloat16").vectors
    assert not np.array_equal(exact, near)
    assert np.linalg.norm(exact - near) < 0.03 * np.linalg.norm(exact)


def test_what_is_refused(encoder: Path, videos: Path, tmp_path: Path, bad_media: Path):
    out = tmp_path / "out"
    with pytest.raises(UserError, match="--step is 0; it must be 1 or more"):
        cacl.embed(videos, model=encoder, out=out, step=0)
    with pytest.raises(UserError, match="there is no such file or folder"):
        cacl.embed(tmp_path / "none", model=encoder, out=out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty, and no embedding"):
        cacl.embed(videos, model=encoder, out=tmp_path / "mine")
    with pytest.raises(UserError, match="is a file; choose another --out"):
        cacl.embed(videos, model=encoder, out=tmp_path / "mine" / "notes.txt")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no video found"):
        cacl.embed(tmp_path / "empty", model=encoder, out=out, **EXACT)
    assert not out.exists()
    made = cacl.embed(videos, model=encoder, out=tmp_path / "made", **EXACT)
    with pytest.raises(UserError, match=r"embedding of something else.*step was None, is 3"):
        cacl.embed(videos, model=encoder, out=made.path, step=3, **EXACT)
    Encoder("r3d10", width=4, clip=ClipSpec(frames=8, resize=(32, 40), size=32)).save(tmp_path / "other")
    with pytest.raises(UserError, match=r"embedding of something else \(by another encoder\)"):
        cacl.embed(videos, model=tmp_path / "other", out=made.path, **EXACT)


def test_videos_that_change_in_between_are_told(encoder: Path, videos: Path, tmp_path: Path, monkeypatch):
    folder = tmp_path / "videos"
    shutil.copytree(videos, folder)
    begun(monkeypatch, folder, model=encoder, out=tmp_path / "out", **EXACT)
    shutil.copy(folder / "h264.mp4", folder / "new.mp4")
    with pytest.raises(UserError, match="The videos have changed since"):
        cacl.embed(folder, model=encoder, out=tmp_path / "out", **EXACT)


@pytest.mark.parametrize("name", ["parts/000000000.npz", "vectors.npy", "segments.csv", "videos.csv"])
def test_a_full_disk_costs_nothing_that_was_there(encoder: Path, videos: Path, tmp_path: Path, monkeypatch, name: str):
    expected = content(cacl.embed(videos, model=encoder, out=tmp_path / "whole", **EXACT).path)
    out, replace = tmp_path / "out", os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target) == out / name:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match=f"{name} could not be written"):
        cacl.embed(videos, model=encoder, out=out, **EXACT)
    monkeypatch.setattr("os.replace", replace)
    assert content(cacl.embed(videos, model=encoder, out=out, **EXACT).path) == expected


def test_a_damaged_folder_is_told(encoder: Path, videos: Path, tmp_path: Path):
    made = cacl.embed(videos, model=encoder, out=tmp_path / "out", **EXACT)
    assert repr(made) == f"Embedding({made.path}: {len(made)} segments of 5 videos, {made.vectors.shape[1]} features)"
    (made.path / "vectors.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match=r"vectors.npy is missing or damaged"):
        _ = Embedding(made.path).vectors
    (made.path / "segments.csv").write_text("path,start_s\na,b\n")
    with pytest.raises(UserError, match=r"segments.csv is missing or damaged"):
        _ = Embedding(made.path).segments
    about = json.loads((made.path / "embedding.json").read_text())
    (made.path / "embedding.json").write_text(json.dumps({**about, "format": 99}))
    with pytest.raises(UserError, match="another version of cacl"):
        Embedding(made.path)
    with pytest.raises(UserError, match="is no embedding folder"):
        Embedding(tmp_path)


def test_the_command(cacl: Callable[..., Any], encoder: Path, videos: Path, tmp_path: Path):
    ended = cacl("embed", videos, "--model", encoder, "--out", tmp_path / "out", "--step", 8)
    assert ended.status == 0, ended
    assert f"{tmp_path / 'out' / 'vectors.npy'}" in ended.out
    assert "hours of video a minute" in ended.err
    with (tmp_path / "out" / "segments.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert f"{len(rows)} vectors" in ended.out
    info = cacl("info", tmp_path / "out")
    assert "embedding, finished" in info.out
    assert f"{len(rows)}" in info.out
    cacl("embed", videos, "--model", encoder, "--out", tmp_path / "b", "--precision", "float23").refused("'float32'")
    cacl("embed", videos, "--model", tmp_path / "out", "--out", tmp_path / "b").refused(tmp_path / "out")
