"""List files of data sets, written here in the words of the originals."""

from __future__ import annotations

from pathlib import Path

import pytest
from list_files import only, write

from cacl.data.videos.labels import label_order
from cacl.data.videos.lists.entry import Entry, split_of_name
from cacl.data.videos.lists.find import find_lists, read_lists
from cacl.data.videos.lists.match import match
from cacl.data.videos.lists.plain import plain_lists
from cacl.errors import UserError

ROOT = Path("/videos")


@pytest.fixture
def ucf(tmp_path: Path) -> Path:
    return write(
        tmp_path / "ucf",
        classInd__txt="1 Archery\n2 HandstandPushups\n",
        trainlist01__txt="Archery/v_Archery_g08_c01.avi 1\nHandstandPushups/v_HandStandPushups_g08_c01.avi 2\n",
        testlist01__txt="Archery/v_Archery_g01_c01.avi\r\nHandstandPushups/v_HandStandPushups_g01_c01.avi\r\n\r\n",
    )


def test_ucf101(ucf: Path) -> None:
    listing = read_lists(ucf, split=1)
    assert [(e.name.split("/")[1], only(e), e.split) for e in listing.entries] == [
        ("v_Archery_g08_c01.avi", "Archery", "train"),
        ("v_HandStandPushups_g08_c01.avi", "HandstandPushups", "train"),
        ("v_Archery_g01_c01.avi", "Archery", "test"),
        ("v_HandStandPushups_g01_c01.avi", "HandstandPushups", "test"),
    ]
    files = [
        "handstandpushups/V_HANDSTANDPUSHUPS_g01_c01.mp4",
        "Archery/v_Archery_g08_c01.mp4",
        "v_Archery_g01_c01.MP4",
    ]
    pairs, missing = match(listing, files, root=ROOT)
    assert [path for _, path in pairs] == [files[1], files[2], files[0]]
    assert [e.name for e in missing] == ["HandstandPushups/v_HandStandPushups_g08_c01.avi"]


def test_classes_counted_from_0_are_those_that_ucf101_counts_from_1(tmp_path: Path) -> None:
    names = ["Hammering", "HammerThrow", "JumpingJack", "JumpRope"]  # in the order of classInd.txt
    lines = [f"{name}/v_{name}_g08_c01.avi {number}\n" for number, name in enumerate(names, 1)]
    folder = write(
        tmp_path, trainlist01__txt="".join(reversed(lines)), testlist01__txt="Hammering/v_Hammering_g01.avi\n"
    )
    order = label_order(str(only(entry)) for entry in read_lists(folder).entries)
    assert [order.index(line.split("/")[0]) for line in lines] == [0, 1, 2, 3]


def test_a_split_that_is_not_there_names_those_that_are(ucf: Path) -> None:
    with pytest.raises(UserError, match="no lists of split 2 there, but of 1"):
        read_lists(ucf, split=2)
    (ucf / "testlist01.txt").unlink()
    with pytest.raises(UserError, match=r"testlist01\.txt: no such file"):
        read_lists(ucf, split=1)
    with pytest.raises(UserError, match="no such file or folder"):
        read_lists(ucf / "absent")
    with pytest.raises(UserError, match="no split lists found"):
        read_lists(write(ucf / "none", readme__md="nothing"))


def test_hmdb51(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        brush_hair_test_split1__txt="a#1_brush_hair_u_nm_0.avi 1 \nb_brush_hair_1.avi 2 \nc_brush_hair_2.avi 0 \n",
        wave_test_split1__txt="d_wave_0.avi 2\n",
    )
    entries = read_lists(folder, split=1).entries
    assert [(e.name, only(e), e.split) for e in entries] == [
        ("brush_hair/a#1_brush_hair_u_nm_0.avi", "brush_hair", "train"),
        ("brush_hair/b_brush_hair_1.avi", "brush_hair", "test"),
        ("wave/d_wave_0.avi", "wave", "test"),
    ]
    write(tmp_path, wave_test_split1__txt="d_wave_0.avi 7\n")
    with pytest.raises(UserError, match=r"line 1: 'd_wave_0\.avi 7' is not of the form"):
        read_lists(folder, split=1)


def test_kinetics_names_files_by_identifier_and_times(tmp_path: Path) -> None:
    header = "label,youtube_id,time_start,time_end,split\n"
    folder = write(
        tmp_path,
        train__csv=header + '"air drumming",-_abc1,3,13,train\n"abseiling",ab_c2,120,130,train\n',
        validate__csv=header + "abseiling,xyz,0,10,validate\n",
    )
    listing = read_lists(folder)
    files = ["train/air_drumming/-_abc1_000003_000013.mp4", "val/xyz.mkv", "train/abseiling/ab_c2_000120_000130.mp4"]
    pairs, missing = match(listing, files, root=ROOT)
    assert [(only(e), e.split, path) for e, path in pairs] == [
        ("air drumming", "train", files[0]),
        ("abseiling", "train", files[2]),
        ("abseiling", "val", files[1]),
    ]
    assert not missing


def test_table_of_parts(tmp_path: Path) -> None:
    (tmp_path / "videos.csv").write_text(
        "path, label, split, start, end\na/x.mp4,wave,training,1.5,3\na/x.mp4,jump,test,3,\n\nb.mp4,,,,\n",
        encoding="utf-8-sig",
    )
    listing = find_lists(tmp_path)
    assert listing is not None
    assert listing.entries == (
        Entry("a/x.mp4", ("wave",), "train", 1.5, 3.0),
        Entry("a/x.mp4", ("jump",), "test", 3.0, None),
        Entry("b.mp4"),
    )
    for text, problem in {
        "name\na.mp4\n": "'path' among them; it says name",
        "": "it says nothing",
        "path,start\na.mp4,soon\n": "line 2: 'soon' in column start",
        "path,start,end\na.mp4,3,2\n": "line 2: the part ends at 2 s but starts at 3 s",
    }.items():
        (tmp_path / "videos.csv").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=problem):
            find_lists(tmp_path)


def test_plain_lists(tmp_path: Path) -> None:
    folder = write(tmp_path, train__txt="a/one film.mp4 wave\nb.mp4,jump\n# a remark\nc.mp4\n", val_list__txt="d\n")
    listing = read_lists(folder)
    pairs, missing = match(listing, ["a/one film.mp4", "b.mp4", "c.mp4", "x/d.mp4"], root=ROOT)
    assert [(path, only(e), e.split) for e, path in pairs] == [
        ("a/one film.mp4", "wave", "train"),
        ("b.mp4", "jump", "train"),
        ("c.mp4", None, "train"),
        ("x/d.mp4", None, "val"),
    ]
    assert not missing
    assert plain_lists([folder / "train.txt"]).entries == listing.entries[:3]
    assert read_lists(folder / "train.txt").entries == listing.entries[:3]


def test_a_file_of_another_folder_is_not_the_one_named(tmp_path: Path) -> None:
    listing = read_lists(write(tmp_path, train__txt="a/1.mp4\nb/1.mp4\n2.mp4\n"))
    pairs, missing = match(listing, ["a/1.avi", "c/1.mp4", "c/2.mp4"], root=ROOT)
    assert [path for _, path in pairs] == ["a/1.avi", "c/2.mp4"]
    assert [e.name for e in missing] == ["b/1.mp4"]


def test_lists_of_other_videos_are_an_error(ucf: Path) -> None:
    with pytest.raises(
        UserError, match=r"3 of the 4 videos named there .* first HandstandPushups/v_HandStandPushups_g08"
    ):
        match(read_lists(ucf), ["Archery/v_Archery_g08_c01.avi", "other.mp4"], root=ROOT)


def test_words_for_splits() -> None:
    words = {"train": "train", "Training": "train", "val_list": "val", "validation": "val", "TEST": "test"}
    assert {word: split_of_name(word) for word in words} == words
    assert split_of_name("trains") is split_of_name("Archery") is None
