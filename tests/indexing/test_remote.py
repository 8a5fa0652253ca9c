"""An index of videos on servers is that of the same files on a disk; what fails for a moment is tried again."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from indexing.made import make_index
from video_server import VideoServer, put_folder, s3_server

import cacl
from cacl.data.remote import place, servers
from cacl.data.videos.scan import scan
from cacl.errors import UserError

pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'cacl[remote]'")


@pytest.fixture(scope="module")
def bucket(five: Path) -> Iterator[str]:
    """An S3 with the five videos, stopped at the end."""
    with pytest.MonkeyPatch.context() as patch, s3_server(patch):
        put_folder(five, "archive-1", "videos")
        yield "s3://archive-1/videos"


@pytest.fixture
def server(five: Path, tmp_path: Path) -> Iterator[VideoServer]:
    place.forget()
    folder = tmp_path / "served"
    folder.mkdir()
    for file in five.rglob("*.mp4"):
        (folder / file.name).write_bytes(file.read_bytes())
    server = VideoServer(folder)
    yield server
    server.close()


def listed(server: VideoServer, place: Path) -> Path:
    names = sorted(file.name for file in server.folder.iterdir())
    place.write_text("path,label\n" + "".join(f"{server.url}{name},wave\n" for name in names))
    return place


def rows(index: cacl.Index) -> dict[str, str]:
    with index.catalog_file.open(encoding="utf-8", newline="") as file:
        return {row["path"]: row["status"] + row["reason"] for row in csv.DictReader(file)}


def test_a_bucket_is_indexed_as_the_folder_is(bucket: str, encoder: Path, whole: cacl.Index, tmp_path: Path) -> None:
    made = make_index(bucket, tmp_path / "index", model=encoder)
    assert [video.path for video in made.videos] == [video.path for video in whole.videos]
    assert [video.labels for video in made.catalog.videos] == [video.labels for video in whole.catalog.videos]
    np.testing.assert_array_equal(np.asarray(made.vectors), np.asarray(whole.vectors))
    np.testing.assert_array_equal(made.spans.seconds, whole.spans.seconds)
    assert rows(made)["notes.txt"].startswith("skippednot opened")

    said: list[str] = []
    again = make_index(bucket, tmp_path / "index", say=said.append)
    assert any("0 videos embedded, 5 kept" in text for text in said)
    first = again.videos[0].path
    hits = [hit.path for hit in again.search(f"{bucket}/{first}", k=3)]
    assert hits == [hit.path for hit in whole.search(whole.root / first, k=3)]


def test_another_object_of_the_same_name_is_embedded_anew(
    bucket: str, five: Path, encoder: Path, tmp_path: Path
) -> None:
    import s3fs

    files = sorted(five.rglob("*.mp4"))[:2]
    system = s3fs.S3FileSystem()
    system.pipe_file("archive-1/few/a.mp4", files[0].read_bytes())
    system.pipe_file("archive-1/few/b.mp4", files[1].read_bytes())
    make_index("s3://archive-1/few", tmp_path / "index", model=encoder).close()
    system.pipe_file("archive-1/few/a.mp4", files[1].read_bytes())
    said: list[str] = []
    made = make_index("s3://archive-1/few", tmp_path / "index", say=said.append)
    assert any("1 video embedded, 1 kept" in text for text in said)
    a, b = (np.asarray(made.vectors)[made.spans.rows(number)] for number in (0, 1))
    np.testing.assert_array_equal(a, b)


def test_a_list_of_addresses(server: VideoServer, encoder: Path, whole: cacl.Index, tmp_path: Path) -> None:
    for name in [file.name for file in server.folder.iterdir()]:
        server.faults[name] = ["503", "short"]
    made = make_index(listed(server, tmp_path / "list.csv"), tmp_path / "index", model=encoder)
    assert [video.path for video in made.videos] == sorted(server.url + Path(v.path).name for v in whole.videos)
    assert {label for video in made.catalog.videos for label in video.labels} == {"wave"}
    theirs = {Path(video.path).name: number for number, video in enumerate(whole.videos)}
    for number, video in enumerate(made.videos):
        ours, same = made.spans.rows(number), whole.spans.rows(theirs[Path(video.path).name])
        np.testing.assert_array_equal(np.asarray(made.vectors)[ours], np.asarray(whole.vectors)[same])


def test_what_failed_is_a_row_and_tried_again(server: VideoServer, encoder: Path, tmp_path: Path) -> None:
    names = sorted(file.name for file in server.folder.iterdir())
    server.always |= {names[0]: "404", names[1]: "page", names[2]: "whole"}
    (server.folder / names[3]).write_bytes(b"just a text\n" * 100)
    place = listed(server, tmp_path / "list.csv")
    made = make_index(place, tmp_path / "index", model=encoder)
    found = rows(made)
    made.close()
    assert "404" in found[server.url + names[0]]
    assert "a web page, not a video" in found[server.url + names[1]]
    assert "no ranges" in found[server.url + names[2]]
    assert "text file" in found[server.url + names[3]]
    assert found[server.url + names[4]] == "used"
    server.always.clear()
    made = make_index(place, tmp_path / "index")
    assert list(rows(made).values()).count("used") == 4
    server.always[names[0]] = "503"  # away today: kept, and said to be absent
    made.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servers, "_PAUSE", 0.001)
        made = make_index(place, tmp_path / "index")
    assert [video.absent for video in made.catalog.videos] == [True, False, False, False]
    assert "says 503" in rows(made)[server.url + names[0]]  # and why


def test_what_is_not_there_is_said(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no such bucket"):
        scan("s3://archive-9/videos")
    with pytest.raises(UserError, match="nothing of this name"):
        scan(f"{bucket}/nothing")
    catalog = scan(bucket)
    assert (len(catalog.videos), len(catalog.skipped)) == (5, 1)
