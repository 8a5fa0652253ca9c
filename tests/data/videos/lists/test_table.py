"""Tables as spreadsheets and people write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from list_files import write

from cacl.data.videos.lists.entry import Entry
from cacl.data.videos.lists.find import find_lists, read_lists
from cacl.errors import UserError

ROWS = 'Path;Label ;SPLIT\n Möwe.mp4 ; flying ;train \n"b; c.mp4";diving;Test\n'
ENTRIES = (Entry("Möwe.mp4", ("flying",), "train"), Entry("b; c.mp4", ("diving",), "test"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_fields_are_trimmed_whatever_wrote_them(encoding: str, end: str, tmp_path: Path) -> None:
    (tmp_path / "videos.csv").write_bytes(ROWS.replace("\n", end).encode(encoding))
    listing = find_lists(tmp_path)
    assert listing is not None
    assert listing.entries == ENTRIES


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_fields_are_told_apart_by_comma_semicolon_or_tab(mark: str, tmp_path: Path) -> None:
    rows = [["path", "label", "split"], ["a.mp4", "1,5; x" if mark == "\t" else "wave", "val"]]
    (tmp_path / "videos.csv").write_text("\n".join(mark.join(row) for row in rows), encoding="utf-8")
    assert read_lists(tmp_path).entries == (Entry("a.mp4", (rows[1][1],), "val"),)


def test_a_misspelt_part_is_asked_about_and_another_word_is_kept(tmp_path: Path) -> None:
    assert read_lists(write(tmp_path, videos__csv="path,split\na.mp4,night\nb.mp4,\n")).entries[0].split == "night"
    for word in ("trian", "Tranining", "tests"):
        with pytest.raises(UserError, match=rf"videos\.csv, line 2: '{word}' in column split.* Did you mean"):
            read_lists(write(tmp_path, videos__csv=f"path,split\na.mp4,{word}\n"))


def test_a_comma_in_a_name_without_quotation_marks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 2: 3 fields where the first line names 2; put .* quotation marks"):
        read_lists(write(tmp_path, videos__csv="path,label\nHello, world.mp4,wave\n"))
    assert read_lists(write(tmp_path, videos__csv="path,label\na.mp4,wave,\n")).entries == (Entry("a.mp4", ("wave",)),)


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two columns are called 'label'"):
        read_lists(write(tmp_path, videos__csv="path,label,Label\na.mp4,a,b\n"))


def test_seconds(tmp_path: Path) -> None:
    listing = read_lists(write(tmp_path, videos__csv="path;start;end\na.mp4;1,5;2.25\n"))
    assert listing.entries == (Entry("a.mp4", start=1.5, end=2.25),)
    for value in ("-1", "nan", "inf", "soon"):
        with pytest.raises(UserError, match="in column start is not a number of seconds"):
            read_lists(write(tmp_path, videos__csv=f"path,start\na.mp4,{value}\n"))


def test_frames_a_second(tmp_path: Path) -> None:
    listing = read_lists(write(tmp_path, videos__csv="path;fps\na;12,5\nb;\n"))
    assert [entry.fps for entry in listing.entries] == [12.5, 0.0]
    for value in ("30000/1001", "-1", "nan"):
        with pytest.raises(UserError, match="in column fps is no number of frames a second"):
            read_lists(write(tmp_path, videos__csv=f"path,fps\na,{value}\n"))


def test_one_table_a_part(tmp_path: Path) -> None:
    folder = write(
        tmp_path, train__csv="path,label\na.mp4,wave\n", val__csv="path,label\nb.mp4,run\n", notes__csv="x\n1\n"
    )
    assert read_lists(folder).entries == (Entry("a.mp4", ("wave",), "train"), Entry("b.mp4", ("run",), "val"))
    with pytest.raises(
        UserError, match=r"notes\.csv: the first line must name the columns, 'path' among them; it says x"
    ):
        read_lists(write(folder, notes__csv="x,y\n1,2\n") / "notes.csv")
