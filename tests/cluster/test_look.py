"""A folder looked at by many: the catalog of one process, whoever dies."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from cluster.pretend import Pretend
from PIL import Image

from cacl.cluster.look import scan_on_ray
from cacl.data.videos.catalog import Catalog
from cacl.data.videos.scan import scan
from cacl.errors import UserError


@pytest.fixture(scope="module")
def folder(media: Path, bad_media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, broken ones, a text, numbered pictures, and a list that names parts of some."""
    folder = tmp_path_factory.mktemp("videos")
    for name in ("h264.mp4", "vp9.webm", "one_frame.mp4"):
        shutil.copy(media / name, folder / name)
    for name in ("breaks_late.mp4", "text.mp4"):
        shutil.copy(bad_media / name, folder / name)
    (folder / "notes.txt").write_text("no video")
    (folder / "pictures").mkdir()
    for number in range(12):
        Image.new("RGB", (40, 30), (20 * number, 0, 0)).save(folder / "pictures" / f"{number:03}.png")
    return folder


def on_many(cluster: Pretend, folder: Path, **asked: Any) -> Catalog:
    return scan_on_ray(cluster, folder, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("cluster", [{}, {"deaths": 2}, {"killers": ["h264.mp4"]}])
def test_the_catalog_is_that_of_one_process(folder: Path, deep: bool, cluster: dict[str, Any]) -> None:
    seen: list[tuple[int, int]] = []
    pretend = Pretend(**cluster)
    found = on_many(pretend, folder, deep=deep, rate=10.0, progress=lambda *now: seen.append(now))
    assert found == scan(folder, deep=deep, rate=10.0)
    assert {item.path for item in found.skipped} >= {"notes.txt", "text.mp4"}
    assert seen == sorted(seen)
    if cluster.get("killers"):
        assert "h264.mp4" not in pretend.done, "looked at here"
    else:
        assert seen[-1][0] == seen[-1][1] == len(set(pretend.done))


def test_lists_are_read_here_and_their_parts_found_there(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "listed"
    shutil.copytree(folder, other)
    (other / "videos.csv").write_text(
        "path,start,end,label\nh264.mp4,0.4,2,x\nh264.mp4,,,y\npictures,,,z\ngone.mp4,,,\n"
    )
    pretend = Pretend()
    found = on_many(pretend, other)
    assert found == scan(other)
    assert len([video for video in found.videos if video.path == "h264.mp4"]) == 2
    assert sorted(pretend.done) == ["h264.mp4", "pictures"]


def test_a_folder_without_videos_is_refused_as_ever(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no video")
    for look in (scan, lambda folder: on_many(Pretend(), folder)):
        with pytest.raises(UserError, match="no video found among 1 file"):
            look(tmp_path)
