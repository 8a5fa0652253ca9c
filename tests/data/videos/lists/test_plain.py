"""What stands behind the file name is the label as it is, whatever the name holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from list_files import matched, write

from cacl.data.videos.lists.find import find_lists, read_lists
from cacl.data.videos.lists.plain import labels_of, plain_lists
from cacl.errors import UserError


@pytest.mark.parametrize(
    ("line", "file", "labels"),
    [
        ("v1.mp4 brushing hair", "v1.mp4", ("brushing hair",)),
        ("v1.mp4\tbrushing hair", "v1.mp4", ("brushing hair",)),
        ("v1.mp4 ;brushing  hair ", "v1.mp4", ("brushing  hair",)),
        ("v.mp4 1 3 5", "v.mp4", ("1", "3", "5")),
        ("v.mp4,1,3,5", "v.mp4", ("1", "3", "5")),
        ("v.mp4 1,3, 5", "v.mp4", ("1", "3", "5")),
        ("v.mp4 7", "v.mp4", ("7",)),
        ("v.mp4 7 7", "v.mp4", ("7",)),
        ("v.mp4 0 -1", "v.mp4", ()),  # VideoMAE's lists for pretraining: first frame, all frames
        ("Hello, world.mp4,wave", "Hello, world.mp4", ("wave",)),
        ("Hello, world.mp4", "Hello, world.mp4", ()),
        ('"Hello, world.mp4",wave', "Hello, world.mp4", ("wave",)),
        ('"a ""b"" c.mp4";"wave, slowly"', 'a "b" c.mp4', ("wave, slowly",)),
        ("a/one film.mp4 wave", "a/one film.mp4", ("wave",)),
        ("a/one film.mp4 wave", "a/one film.avi", ("wave",)),
        ("my film 3", "my film.mp4", ("3",)),
        ("my film 3", "my film 3.mp4", ()),
        ("id7 brushing hair", "id7.webm", ("brushing hair",)),
        ("100218;Drumming Fingers", "100218.webm", ("Drumming Fingers",)),  # Jester
        ("v1.2 final.mp4,wave", "v1.2 final.mp4", ("wave",)),
        ("clip.mp4.avi wave", "clip.mp4.avi", ("wave",)),
        ("a.mp4 b.mp4 wave", "a.mp4 b.mp4", ("wave",)),
        ("v.mp4 3.5", "v.mp4", ("3.5",)),
        ("v.mp4 run, jump", "v.mp4", ("run, jump",)),
    ],
)
def test_a_line_is_read_so_that_its_name_is_a_file(
    line: str, file: str, labels: tuple[str, ...], tmp_path: Path
) -> None:
    listing = read_lists(write(tmp_path, train__txt=line + "\n"))
    assert matched(listing, file, "other.mp4") == [(file, labels, "train")]


def test_a_label_is_not_taken_for_a_part_of_a_missing_name(tmp_path: Path) -> None:
    """``clip one.mp4`` is not there: ``clip.mp4`` with the label ``one.mp4`` is another video."""
    folder = write(tmp_path, train__txt="clip one.mp4\n")
    with pytest.raises(UserError, match=r"1 of the 1 videos .* first clip one\.mp4"):
        matched(plain_lists([folder / "train.txt"]), "clip.mp4")


def test_what_a_line_says_where_no_file_is_there(tmp_path: Path) -> None:
    text = "v1.mp4 brushing hair\nHello, world.mp4,wave\nsome;where here\n7\tup\n"
    entries = read_lists(write(tmp_path, train__txt=text)).entries
    assert [(entry.name, entry.labels) for entry in entries] == [
        ("v1.mp4", ("brushing hair",)),
        ("Hello, world.mp4", ("wave",)),
        ("some", ("where here",)),
        ("7", ("up",)),
    ]


def test_quotation_marks_that_do_not_pair_up(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.txt, line 2: the quotation marks"):
        read_lists(write(tmp_path, train__txt='a.mp4\n"b.mp4,wave\n'))


@pytest.mark.parametrize("separator", [" ", ",", ", ", "  ", "\t", ";"])
def test_train_csv_of_path_and_label_as_slowfast_and_videomae_write_it(separator: str, tmp_path: Path) -> None:
    """Absolute paths of the machine where they were made, and a number for a class."""
    for part, names in (("train", "ab"), ("val", "c")):
        rows = [f"/data/k 400/{part}/{name}.mp4{separator}{number}" for number, name in enumerate(names)]
        write(tmp_path, **{f"{part}__csv": "\n".join(rows)})
    listing = find_lists(tmp_path)
    assert listing is not None
    expected = [("train/a.mp4", ("0",), "train"), ("train/b.mp4", ("1",), "train"), ("val/c.mp4", ("0",), "val")]
    assert matched(listing, "train/a.mp4", "train/b.mp4", "val/c.mp4") == expected
    assert matched(read_lists(tmp_path / "train.csv"), "a.mp4", "b.mp4") == [
        ("a.mp4", ("0",), "train"),
        ("b.mp4", ("1",), "train"),
    ]


def test_labels_of_a_text() -> None:
    texts = ["", "  ", "wave", "1", "1 2", "-1", '"wave"', "1 b"]
    assert [labels_of(text) for text in texts] == [(), (), ("wave",), ("1",), ("1", "2"), ("-1",), ("wave",), ("1 b",)]
