"""Lists in a folder of videos: used as they are meant, or said not to be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cacl.data.videos.catalog import MISSING, UNUSED, Skipped
from cacl.data.videos.scan import scan
from cacl.errors import UserError


def put(source: Path, root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, root / name)
    return root


def test_a_blank_behind_train_does_not_train_on_the_test_videos(media: Path, tmp_path: Path) -> None:
    put(media / "one_frame.mp4", tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "videos.csv").write_bytes("path;label;split\na.mp4;x;train \nb.mp4 ; y;TEST\n".encode("utf-16"))
    catalog = scan(tmp_path)
    assert [(v.label, v.split) for v in catalog.videos] == [("x", "train"), ("y", "test")]
    assert catalog.skipped == (Skipped("videos.csv", "list file"),)


def test_a_missing_video_is_missing_though_another_folder_has_one_of_its_name(media: Path, tmp_path: Path) -> None:
    put(media / "one_frame.mp4", tmp_path, "S001/rgb/color.mp4", "S002/rgb/color.mp4", "S004/rgb/color.mp4")
    rows = "".join(f"S00{n}/rgb/color.mp4,{n}\n" for n in (1, 2, 3))
    (tmp_path / "videos.csv").write_text("path,label\n" + rows, encoding="utf-8")
    catalog = scan(tmp_path)
    assert [(v.path, v.label) for v in catalog.videos] == [("S001/rgb/color.mp4", "1"), ("S002/rgb/color.mp4", "2")]
    assert catalog.skipped == (
        Skipped("S003/rgb/color.mp4", MISSING),
        Skipped("S004/rgb/color.mp4", "not in videos.csv"),
        Skipped("videos.csv", "list file"),
    )


def test_a_name_that_two_folders_have_is_an_error_even_where_nobody_named_the_list(media: Path, tmp_path: Path) -> None:
    put(media / "one_frame.mp4", tmp_path, "a/x.mp4", "b/x.mp4")
    (tmp_path / "train.txt").write_text("x.mp4 wave\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"'x\.mp4' may be a/x\.mp4 or b/x\.mp4"):
        scan(tmp_path)


def test_rows_of_one_part_are_several_labels(media: Path, tmp_path: Path) -> None:
    put(media / "h264.mp4", tmp_path, "a.mp4")
    rows = "a.mp4,run,0,1\na.mp4,jump,0,1\na.mp4,run,1,2\n"
    (tmp_path / "videos.csv").write_text("path,label,start,end\n" + rows, encoding="utf-8")
    assert [v.labels for v in scan(tmp_path).videos] == [("run", "jump"), ("run",)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "path,label\na.mp4,wave\nb.mp4,run\n"),
        ("classes.tsv", "file\tclass\na\twave\nb\trun\n"),
        ("which.txt", "sub/b.mp4 run\n"),
        ("annotations.json", json.dumps([{"vid_name": "a", "label": 1}])),
    ],
)
def test_a_list_that_is_not_used_is_said(name: str, text: str, media: Path, tmp_path: Path) -> None:
    put(media / "one_frame.mp4", tmp_path, "a.mp4", "sub/b.mp4")
    (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("a walk in the morning\nrain\n", encoding="utf-8")
    catalog = scan(tmp_path)
    assert catalog.skipped == tuple(
        sorted([Skipped(name, UNUSED), Skipped("notes.txt", "not a video (text file)")], key=lambda s: s.path)
    )
    assert f"; {name} looks like a list, not used" in catalog.summary()


def test_a_train_list_of_slowfast_labels_its_folder(media: Path, tmp_path: Path) -> None:
    put(media / "one_frame.mp4", tmp_path, "train/a.mp4", "train/b.mp4", "val/c.mp4")
    (tmp_path / "train.csv").write_text("/old/train/a.mp4 3\n/old/train/b.mp4 4\n", encoding="utf-8")
    (tmp_path / "val.csv").write_text("/old/val/c.mp4 3\n", encoding="utf-8")
    assert [(v.label, v.split) for v in scan(tmp_path).videos] == [("3", "train"), ("4", "train"), ("3", "val")]


def test_episodes_of_lerobot_are_videos(media: Path, tmp_path: Path) -> None:
    """Two episodes of two seconds in one file of 60 frames at 25 a second."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet needs pyarrow")
    import pyarrow

    camera = "observation.images.top"
    put(media / "h264.mp4", tmp_path, f"videos/{camera}/chunk-000/file-000.mp4")
    meta = tmp_path / "meta"
    (meta / "episodes").mkdir(parents=True)
    info = {"codebase_version": "v3.0", "features": {camera: {"dtype": "video"}}, "splits": {"train": "0:2"}}
    (meta / "info.json").write_text(json.dumps(info), encoding="utf-8")
    columns = {"chunk_index": [0, 0], "file_index": [0, 0], "from_timestamp": [0.0, 1.2], "to_timestamp": [1.2, 2.4]}
    rows = {f"videos/{camera}/{name}": values for name, values in columns.items()}
    parquet.write_table(
        pyarrow.table({"episode_index": [0, 1], "tasks": [["pick"], ["place"]], **rows}),
        meta / "episodes" / "file-000.parquet",
    )
    found = [(v.label, v.split, v.first_frame, v.frames) for v in scan(tmp_path).videos]
    assert found == [("pick", "train", 0, 30), ("place", "train", 30, 30)]


@pytest.mark.parametrize("text", ["path,label\n", "# nothing yet\n\n"])
def test_a_list_that_names_no_video_is_said_to(text: str, tmp_path: Path) -> None:
    """And not that its folder holds none."""
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(UserError, match=r"mine\.csv names no video"):
        scan(tmp_path / "mine.csv")
