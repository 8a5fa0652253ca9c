"""The table of labels, as people write it by hand."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cacl.errors import UserError
from cacl.exploring.labels import Labels, Stretch


def read(tmp_path: Path, text: str) -> dict[Stretch, str]:
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    return Labels(tmp_path / "labels.csv").read()


def test_without_times_a_label_is_one_of_the_whole_video(tmp_path: Path) -> None:
    whole = {Stretch("a, b.mp4"): "run", Stretch("c.mp4"): "walk"}
    assert read(tmp_path, 'path,label\n"a, b.mp4",run\nc.mp4,walk\n') == whole
    assert read(tmp_path, 'path,label,start,end\n"a, b.mp4",run,,\nc.mp4,walk,,\n') == whole
    assert read(tmp_path, "path,label,start,end\nc.mp4,walk,1.5,3\n") == {Stretch("c.mp4", 1.5, 3.0): "walk"}
    assert read(tmp_path, "\ufeffpath,label\nc.mp4,walk\n") == {Stretch("c.mp4"): "walk"}  # as spreadsheets write it
    assert read(tmp_path, "path,label\nc.mp4,walk \nc.mp4, walk\n") == {Stretch("c.mp4"): "walk"}
    assert read(tmp_path, "") == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("label,path\nrun,a.mp4\n", "is no table of labels"),
        ("path,label,start\na.mp4,run,1\n", "is no table of labels"),
        ("path,label,start,end\na.mp4,run,soon,3\n", "line 2 is no label of a stretch"),
        ("path,label,start,end\na.mp4,run,1,inf\n", "line 2 is no label of a stretch"),
        ("path,label,start,end\na.mp4,run,3,2\n", "line 2 is no label of a stretch"),
        ("path,label,start,end\nb.mp4,run,,\n\na.mp4\n", "line 4 is no label of a stretch"),
        ("path,label,start,end\na.mp4,run,-1,2\n", "line 2 is no label of a stretch"),
        ("path,label\na.mp4,\n", "line 2 is no label of a stretch"),
        ("path,label\na.mp4, \n", "line 2 is no label of a stretch"),
        ("path,label\na.mp4,run\nb.mp4,run\na.mp4,walk\n", "line 4 calls 'walk' what a line above it calls 'run'"),
        ("path,label\n,run\n", "line 2 is no label of a stretch"),
        ('path,label\n"' + "a" * 140_000, "line 2 is no label of a stretch"),  # a quotation mark that is never closed
    ],
)
def test_what_is_none_is_named_with_its_line(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        read(tmp_path, text)


def test_what_is_changed_is_written_with_times(tmp_path: Path) -> None:
    read(tmp_path, "path,label\na.mp4,run\n")
    labels = Labels(tmp_path / "labels.csv")
    assert labels.change([Stretch("a.mp4"), Stretch("b.mp4", 0.0, 2.5)], "jump") == {
        Stretch("a.mp4"): "run",
        Stretch("b.mp4", 0.0, 2.5): None,
    }
    assert labels.read() == {Stretch("a.mp4"): "jump", Stretch("b.mp4", 0.0, 2.5): "jump"}
    assert labels.file.read_text().startswith("path,label,start,end\n")


def test_of_two_who_change_one_file_nobody_loses_a_name(tmp_path: Path) -> None:
    """As the pages of two indexes in one folder do, one of which was given the file by a link."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "mine" / "labels.csv")

    def give(file: Path, label: str) -> None:
        labels = Labels(file)
        for number in range(20):
            labels.change([Stretch(f"{label}{number}.mp4")], label)

    files = {"walk": tmp_path / "mine" / "labels.csv", "run": tmp_path / "link.csv"}
    with ThreadPoolExecutor() as both:
        list(both.map(give, files.values(), files))
    assert len(Labels(tmp_path / "mine" / "labels.csv").read()) == 40
    assert (tmp_path / "link.csv").is_symlink()
