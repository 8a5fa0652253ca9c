"""``cacl index``: what is kept, what is embedded again, what is absent, and that nothing is lost on the way."""

from __future__ import annotations

import csv
import os
import re
import shutil
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from indexing.conftest import Counts
from indexing.made import EXACT, add, facts, make_folder, make_index

import cacl
from cacl.errors import UserError
from cacl.indexing import embedding_run, generation, known
from cacl.indexing.generation import open_generation, remove_others
from cacl.indexing.request import read_pointer, write_pointer
from cacl.lock import FolderLock, InUse


def statuses(index: cacl.Index) -> dict[str, str]:
    with index.catalog_file.open(newline="") as file:
        return {row["path"]: row["status"] for row in csv.DictReader(file)}


def test_an_index_holds_the_vectors_of_embed(encoder: Path, five: Path, whole: cacl.Index, tmp_path: Path):
    embedded = cacl.embed(five, model=encoder, out=tmp_path / "out", **EXACT)
    assert whole.vectors.tobytes() == embedded.vectors.tobytes()
    for one, other in zip(whole.segments, embedded.segments, strict=True):
        assert (one.path, one.first_frame, one.frames) == (other.path, other.first_frame, other.frames)
        assert (one.start_s, one.end_s) == pytest.approx((other.start_s, other.end_s))
    assert cacl.Embedding(whole.path).vectors.tobytes() == embedded.vectors.tobytes()
    assert statuses(whole) == {**{f"{'ab'[n % 2]}/v{n}.mp4": "used" for n in range(5)}, "notes.txt": "skipped"}


@pytest.mark.parametrize("name", [".index.json.99.partial", "..index.json.99.partial.partial"])
def test_one_that_was_killed_in_its_first_write_begins_anew(
    name: str, encoder: Path, five: Path, whole: cacl.Index, tmp_path: Path
):
    (tmp_path / "my.index").mkdir()
    (tmp_path / "my.index" / name).write_text('{"format": 1, "vid')
    made = make_index(five, tmp_path / "my.index", model=encoder)
    assert facts(made) == facts(whole)
    assert not list((tmp_path / "my.index").glob("*.partial"))


def killed_first(out: Path, whole: cacl.Index) -> Path:
    """What is left of a first run, asked for with ``--step 8`` and another encoder, that was killed as it looked."""
    out.mkdir()
    write_pointer(out, {**read_pointer(whole.path), "generation": None, "step": 8, "weights": "f" * 64})
    return out


def test_what_a_killed_run_asked_for_before_it_made_anything_binds_nobody(
    encoder: Path, five: Path, whole: cacl.Index, tmp_path: Path
):
    assert facts(make_index(five, killed_first(tmp_path / "index", whole), model=encoder)) == facts(whole)


def test_who_comes_second_leaves_the_first_what_it_has(encoder: Path, five: Path, whole: cacl.Index, tmp_path: Path):
    out = killed_first(tmp_path / "index", whole)
    with FolderLock(out):  # it lives, and has made nothing yet
        before = {file.name: file.read_bytes() for file in out.iterdir()}
        with pytest.raises(UserError, match="--out"):
            make_index(five, out, model=encoder)
        write_pointer(out, {**read_pointer(whole.path), "generation": None})
        with pytest.raises(InUse):
            make_index(five, out, model=encoder)
        assert {file.name for file in out.iterdir()} == before.keys()


def test_a_second_run_opens_no_file_and_writes_nothing(copied: tuple[Path, Path], counts: Counts):
    videos, out = copied
    make_index(videos, out)  # takes the new place
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.name != ".lock"}
    make_index(videos, out)
    assert (counts.opened, counts.embedded) == ([], 0)
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*") if file.name != ".lock"} == before


def test_what_grew_step_by_step_is_what_is_made_at_once(encoder: Path, five: Path, tmp_path: Path, counts: Counts):
    """New, changed and removed videos: in the end all bytes are those of an index made from scratch."""
    videos = make_folder(tmp_path / "videos", 3)
    index = make_index(videos, tmp_path / "index", model=encoder)
    first = {video.path: index.vectors[video.first_row : video.first_row + video.rows] for video in index.videos}
    assert counts.embedded == 3
    add(videos, 3)
    (videos / "a" / "v0.mp4").unlink()
    shutil.copy(five / "a" / "v4.mp4", videos / "a" / "v2.mp4")  # another content under the old name
    (videos / "b" / "song.mp4").write_bytes(b"\0\1 no video")
    counts.opened.clear()
    counts.embedded = 0
    grown = make_index(videos, tmp_path / "index", prune=True)
    assert counts.embedded == 2
    assert sorted(counts.opened) == ["a/v2.mp4", "b/song.mp4", "b/v3.mp4"]
    at_once = make_index(videos, tmp_path / "at once", model=encoder)
    assert facts(grown) == facts(at_once)
    same = next(video for video in grown.videos if video.path == "b/v1.mp4")
    assert grown.vectors[same.first_row : same.first_row + same.rows].tobytes() == first["b/v1.mp4"].tobytes()
    assert len(list((grown.path / "generations").iterdir())) == 2  # the first one is still being read


def test_what_is_not_there_is_absent_until_it_is_pruned(copied: tuple[Path, Path], whole: cacl.Index, counts: Counts):
    videos, out = copied
    make_index(videos, out).close()
    (videos / "a").rename(videos.parent / "unplugged")
    said: list[str] = []
    index = make_index(videos, out, say=said.append)
    assert index.vectors.tobytes() == whole.vectors.tobytes()
    assert {path for path, status in statuses(index).items() if status == "absent"} == {
        f"a/v{n}.mp4" for n in (0, 2, 4)
    }
    assert "3 absent, kept" in said[-1]
    (videos.parent / "unplugged").rename(videos / "a")
    assert make_index(videos, out).vectors.tobytes() == whole.vectors.tobytes()
    assert counts.embedded == 0
    shutil.rmtree(videos / "a")
    index.close()
    pruned = make_index(videos, out, prune=True, say=said.append)
    assert [video.path for video in pruned.videos] == ["b/v1.mp4", "b/v3.mp4"]
    assert "3 forgotten" in said[-1]
    assert {file.stem for file in (out / "previews").rglob("*.zip")} == {video.key for video in pruned.videos}


def test_an_empty_mount_and_a_missing_one_lose_nothing(copied: tuple[Path, Path], whole: cacl.Index):
    videos, out = copied
    make_index(videos, out)
    shutil.rmtree(videos)
    with pytest.raises(UserError, match="no such folder"):
        make_index(videos, out)
    videos.mkdir()
    with pytest.raises(UserError, match="holds no video at all: nothing was pruned"):
        make_index(videos, out, prune=True)
    said: list[str] = []
    assert make_index(videos, out, say=said.append).vectors.tobytes() == whole.vectors.tobytes()
    assert "is a disk not there?" in said[0]


def test_what_failed_for_a_passing_reason_is_tried_again(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    videos = make_folder(tmp_path / "videos", 2)
    look = known.look

    def failing(root: Path, path: str, *more: Any, **named: Any) -> Any:
        if path == "b/v1.mp4":
            from cacl.data.videos.catalog import Skipped

            return [Skipped(path, "needs more than 4 GiB of memory to decode")]
        return look(root, path, *more, **named)

    with monkeypatch.context() as patch:
        patch.setattr(known, "look", failing)
        index = make_index(videos, tmp_path / "index", model=encoder)
        assert statuses(index)["b/v1.mp4"] == "skipped"
    assert statuses(make_index(videos, tmp_path / "index"))["b/v1.mp4"] == "used"


def test_a_stopped_one_goes_on_and_ends_in_the_same_bytes(
    encoder: Path, five: Path, whole: cacl.Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: Counts
):
    monkeypatch.setattr(embedding_run, "PART", 1)

    class Stop(Exception):
        pass

    def stop(what: str, done: int, total: int) -> None:
        if what == "videos embedded" and done >= 2:
            raise Stop

    out = tmp_path / "index"
    with pytest.raises(Stop):
        make_index(five, out, model=encoder, progress=stop)
    with pytest.raises(UserError, match="is not finished: give the command that began it again"):
        cacl.Index(out)
    counts.embedded = 0
    assert facts(make_index(five, out, model=encoder)) == facts(whole)
    assert counts.embedded == 3
    assert not (out / "parts").exists()


def test_a_share_says_how_many_have_vectors_and_why_another_has_none(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    videos, said, stamp = make_folder(tmp_path / "videos", 3), [], embedding_run._stamp_now
    monkeypatch.setattr(embedding_run, "_stamp_now", lambda file: None if file.name == "v1.mp4" else stamp(file))
    cacl.index(videos, model=encoder, out=tmp_path / "index", shard="1/1", say=said.append, **EXACT)
    words = (
        r"Share 1 of 1: 2 videos embedded, 1 not \(first b/v1.mp4: it is not what it was when it was looked at .*\)\. "
    )
    assert re.match(words + r"0\.1 minutes of video in \d+ s: ", said[-1])  # 40 and 42 frames, 10 a second


def test_shares_joined_are_one_run(encoder: Path, five: Path, whole: cacl.Index, tmp_path: Path, counts: Counts):
    out = tmp_path / "index"
    for share in ("1/3", "3/3"):
        assert cacl.index(five, model=encoder, out=out, shard=share, **EXACT) is None
    with pytest.raises(UserError, match="keeps no encoder yet: name the encoder that makes it, --model RUN"):
        make_index(five, out, merge=True)
    with pytest.raises(UserError, match="in no share yet"):
        make_index(five, out, model=encoder, merge=True)
    cacl.index(five, model=encoder, out=out, shard="2/3", **EXACT)
    assert counts.embedded == 5
    with FolderLock(out / "shards" / "0002-of-0003"), pytest.raises(UserError, match="0002-of-0003 is in use by"):
        make_index(five, out, model=encoder, merge=True)
    said: list[str] = []
    assert facts(make_index(five, out, model=encoder, merge=True, say=said.append)) == facts(whole)
    assert "5 videos embedded, 0 kept as they were." in said
    assert counts.embedded == 5
    make_index(five, out, say=said.append)
    assert "0 videos embedded, 5 kept as they were." in said
    assert not (out / "shards").exists()


def test_a_reader_keeps_the_state_that_it_opened(copied: tuple[Path, Path], whole: cacl.Index):
    videos, out = copied
    first, second = cacl.Index(out), cacl.Index(out)
    add(videos, 5)
    new = make_index(videos, out)
    assert len(new.videos) == 6
    assert len(first.videos) == len(first.segments.path and set(first.segments.path)) == 5  # read after the swap
    assert second.vectors.tobytes() == whole.vectors.tobytes()
    assert second.search("index:a/v0.mp4", k=1)
    for reader in (first, second):
        reader.close()
    add(videos, 6)
    make_index(videos, out).close()
    new.close()
    make_index(videos, out)
    assert len(list((out / "generations").iterdir())) == 1


def test_a_reader_never_gets_a_state_that_is_being_removed(copied: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch):
    """A reader that took the old name from the pointer opens it at the instant before its files are removed."""
    _, out = copied
    old, new = str(read_pointer(out)["generation"]), "000002"
    shutil.copytree(out / "generations" / old, out / "generations" / new)
    names, read, opened = [old], generation.read_object, list[str]()
    monkeypatch.setattr(generation, "read_object", lambda file: {"generation": names.pop()} if names else read(file))

    def remove(folder: Path, **more: bool) -> None:
        found = open_generation(out)
        assert found is not None
        with closing(found):
            opened.append(found.path.name)
        shutil.rmtree(folder)

    write_pointer(out, {**read_pointer(out), "generation": new})
    monkeypatch.setattr(generation, "shutil", SimpleNamespace(rmtree=remove))
    assert remove_others(out, new)
    assert opened == [new]


def test_whitening_is_kept_and_can_be_changed_without_decoding(copied: tuple[Path, Path], counts: Counts):
    videos, out = copied
    white = make_index(videos, out, whiten=True)
    assert white.space.matrix is not None
    assert make_index(videos, out).space.matrix is not None
    assert make_index(videos, out, whiten=False).space.matrix is None
    assert counts.embedded == 0


def test_previews_move_and_can_be_left_out(whole: cacl.Index, five: Path, encoder: Path, tmp_path: Path):
    import io

    from PIL import Image

    for row in range(len(whole)):
        picture = whole.preview(row)
        assert picture is not None
        with Image.open(io.BytesIO(picture)) as image:
            assert (image.format, image.n_frames) == ("WEBP", 3)
            assert image.width / image.height == pytest.approx(64 / 48, abs=0.05)
            first = np.asarray(image.convert("RGB"), np.float64)
            image.seek(2)
            assert np.abs(np.asarray(image.convert("RGB"), np.float64) - first).max() > 50
    bare = make_index(five, tmp_path / "bare", model=encoder, previews=False)
    assert bare.preview(0) is None
    assert bare.vectors.tobytes() == whole.vectors.tobytes()


def test_a_folder_that_was_moved_is_known_again(copied: tuple[Path, Path], counts: Counts):
    videos, out = copied
    index = make_index(videos, out)
    assert (counts.embedded, index.root) == (0, videos.absolute())


def test_another_time_of_a_file_is_another_content(copied: tuple[Path, Path], counts: Counts):
    videos, out = copied
    os.utime(videos / "a" / "v0.mp4", ns=(1, 1))
    make_index(videos, out)
    assert counts.opened == ["a/v0.mp4"]
    assert counts.embedded == 1
