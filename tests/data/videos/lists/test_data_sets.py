"""Lists of known data sets, written here in the words of the originals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from list_files import matched, write

from cacl.data.videos.lists.entry import Entry
from cacl.data.videos.lists.find import find_lists, read_lists
from cacl.data.videos.lists.lerobot import is_lerobot, lerobot_lists
from cacl.errors import UserError


def test_kinetics_600_and_700(tmp_path: Path) -> None:
    """A column more, a held-out part without labels, and the part in the name of the file alone."""
    folder = write(
        tmp_path,
        kinetics_700_2020_train__csv="label,youtube_id,time_start,time_end,split,is_cc\ntai chi,-AbC,3,13,train,0\n",
        kinetics_600_holdout_test__csv="youtube_id,time_start,time_end\nxyz,0,10\n",
    )
    listing = read_lists(folder)
    rows = [("xyz.mp4", (), "test"), ("tai chi/-AbC_000003_000013.mp4", ("tai chi",), "train")]
    assert matched(listing, "tai chi/-AbC_000003_000013.mp4", "xyz.mp4") == rows


def test_kinetics_as_json(tmp_path: Path) -> None:
    about = {"label": "air drumming", "segment": [9.0, 19.0]}
    text = json.dumps({"abc": {"annotations": about, "duration": 10.0, "subset": "validate", "url": "…"}})
    for name in ("validate__json", "kinetics700_val__json"):
        folder = write(tmp_path / name, **{name: text})
        rows = [("x/abc_000009_000019.mp4", ("air drumming",), "val")]
        assert matched(read_lists(folder), "x/abc_000009_000019.mp4") == rows


def something(folder: Path) -> Path:
    train = [
        {
            "id": "78687",
            "label": "holding potato next to vicks vaporub bottle",
            "template": "Holding [something] next to [something]",
            "placeholders": ["potato", "vicks vaporub bottle"],
        }
    ]
    return write(
        folder,
        labels__json=json.dumps({"Holding something next to something": "0"}),
        train__json=json.dumps(train),
        validation__json=json.dumps([{**train[0], "id": "2"}]),
        test__json=json.dumps([{"id": "3"}]),
    )


def test_something_something(tmp_path: Path) -> None:
    labels = ("Holding something next to something",)
    rows = [("20bn/3.webm", (), "test"), ("20bn/78687.webm", labels, "train"), ("20bn/2.webm", labels, "val")]
    listing = find_lists(something(tmp_path / "labels"))
    assert listing is not None
    assert matched(listing, "20bn/78687.webm", "20bn/2.webm", "20bn/3.webm") == rows
    (tmp_path / "labels" / "train.json").rename(tmp_path / "something-something-v2-train.json")
    assert matched(read_lists(tmp_path / "something-something-v2-train.json"), "78687.webm") == [
        ("78687.webm", labels, "train")
    ]


def test_diving48(tmp_path: Path) -> None:
    items = [{"vid_name": "zBUFJ2EsGnw_00001", "label": 1, "start_frame": 0, "end_frame": 188}]
    folder = write(
        tmp_path,
        Diving48_V2_train__json=json.dumps(items),
        Diving48_V2_test__json=json.dumps([{**items[0], "vid_name": "zBUFJ2EsGnw_00002"}]),
    )
    files = ("rgb/zBUFJ2EsGnw_00001.mp4", "rgb/zBUFJ2EsGnw_00002.mp4")
    assert matched(read_lists(folder), *files) == [(files[1], ("1",), "test"), (files[0], ("1",), "train")]
    vocabulary = [["Back", "15som", "05Twis", "FREE"], ["Back", "15som", "15Twis", "FREE"]]
    write(folder, Diving48_vocab__json=json.dumps(vocabulary))
    assert read_lists(folder).entries[0].labels == ("Back 15som 15Twis FREE",)


def test_a_row_a_frame_as_slowfast_writes_it(tmp_path: Path) -> None:
    header = "original_vido_id video_id frame_id path labels\n"
    rows = 'x 0 0 x/img_00001.jpg "2,5"\nx 0 1 x/img_00002.jpg "2,5"\ny 1 0 y/img_00001.jpg ""\n'
    listing = find_lists(write(tmp_path, train__csv=header + rows))
    assert listing is not None
    assert matched(listing, "x", "y") == [("x", ("2", "5"), "train"), ("y", (), "train")]


def lerobot(root: Path, version: str, **info: object) -> Path:
    features = {"observation.images.top": {"dtype": "video"}, "action": {"dtype": "float32"}}
    about = {"codebase_version": version, "features": features, "splits": {"train": "0:2", "test": "2:3"}, **info}
    (root / "meta").mkdir(parents=True)
    (root / "meta" / "info.json").write_text(json.dumps(about), encoding="utf-8")
    return root


def test_episodes_of_lerobot_3(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet needs pyarrow")
    import pyarrow

    root = lerobot(tmp_path, "v3.0", video_path="videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4")
    camera = "videos/observation.images.top/"
    columns = {
        "episode_index": [0, 1, 2],
        "tasks": [["pick"], ["pick", "place"], ["place"]],
        "length": [50, 25, 25],
        f"{camera}chunk_index": [0, 0, 0],
        f"{camera}file_index": [0, 0, 1],
        f"{camera}from_timestamp": [0.0, 2.0, 0.0],
        f"{camera}to_timestamp": [2.0, 3.0, 1.0],
        "stats/action/max": [[1.0], [1.0], [1.0]],
    }
    (root / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
    parquet.write_table(pyarrow.table(columns), root / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    file = camera + "chunk-000/file-00{}.mp4"
    assert is_lerobot(root)
    assert lerobot_lists(root).entries == (
        Entry(file.format(0), ("pick",), "train", 0.0, 2.0),
        Entry(file.format(0), ("pick", "place"), "train", 2.0, 3.0),
        Entry(file.format(1), ("place",), "test", 0.0, 1.0),
    )
    (root / "meta" / "episodes" / "chunk-000" / "file-000.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        lerobot_lists(root)


def test_lerobot_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r'pip install "pyarrow>='):
        lerobot_lists(lerobot(tmp_path, "v3.0"))


def test_episodes_of_lerobot_2_have_a_file_each(tmp_path: Path) -> None:
    path = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    root = lerobot(tmp_path, "v2.1", video_path=path, chunks_size=2)
    rows = [{"episode_index": n, "tasks": ["pick"], "length": 5} for n in (0, 2)]
    (root / "meta" / "episodes.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert lerobot_lists(root).entries == (
        Entry("videos/chunk-000/observation.images.top/episode_000000.mp4", ("pick",), "train"),
        Entry("videos/chunk-001/observation.images.top/episode_000002.mp4", ("pick",), "test"),
    )


def test_json_of_something_else(tmp_path: Path) -> None:
    folder = write(tmp_path, train__json='{"a": 1}', notes__json="[[[")
    assert find_lists(folder) is None
    with pytest.raises(UserError, match="a JSON file, but no list of Kinetics"):
        read_lists(folder / "notes.json")
