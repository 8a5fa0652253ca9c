"""Every file of made-up folders is accounted for, with the reason that was put there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from cacl.data.videos.catalog import MISSING, Catalog, Skipped, Video
from cacl.data.videos.scan import scan
from cacl.errors import UserError


def put(source: Path, *places: Path) -> None:
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place)


def count_files(root: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(root))


def test_every_file_of_a_mixed_folder_has_its_reason(media: Path, bad_media: Path, tmp_path: Path) -> None:
    for path in bad_media.iterdir():
        put(path, tmp_path / "bad" / path.name)
    put(media / "h264.mp4", tmp_path / "film without suffix", tmp_path / "wrong.txt", tmp_path / ".hidden.mp4")
    put(media / "one_frame.mp4", tmp_path / "Ünï çode" / "EIN BILD.MP4")
    (tmp_path / "README").write_text("words", encoding="utf-8")
    catalog = scan(tmp_path, deep=True)
    assert {v.path: v.frames for v in catalog.videos if v.path != "bad/breaks_late.mp4"} == {
        "film without suffix": 60,
        "wrong.txt": 60,
        "Ünï çode/EIN BILD.MP4": 1,
    }
    late = next(v for v in catalog.videos if v.path == "bad/breaks_late.mp4")
    assert late.frames < 60
    assert (
        late.note == f"breaks at frame {late.frames} of 60 (invalid data found when processing input), used up to there"
    )
    reasons = {s.path: s.reason for s in catalog.skipped}
    assert reasons.pop("bad/breaks_early.mp4").endswith("fewer than 31 frames are good")
    assert reasons.pop("bad/noise.mp4").startswith("cannot be opened as a video")
    assert reasons.pop("bad/no_index.mp4").startswith("cannot be opened as a video")
    assert reasons == {
        ".hidden.mp4": "hidden file",
        "README": "not a video (text file)",
        "bad/audio.wav": "no video stream found (audio only)",
        "bad/empty.mp4": "empty file",
        "bad/photo.jpg": "a still image, not a video",
        "bad/text.mp4": "not a video (text file)",
    }
    assert len(catalog.videos) + len(catalog.skipped) == count_files(tmp_path)
    assert catalog.summary() == "4 used, 9 skipped (of 13 files)"


def test_short_videos_are_used_and_noted(media: Path, tmp_path: Path) -> None:
    put(media / "one_frame.mp4", tmp_path / "1.mp4")
    put(media / "animated.gif", tmp_path / "20.gif")
    assert [v.note for v in scan(tmp_path).videos] == ["1 frame, looped to 16", "20 frames, too short for stride 2"]


@pytest.mark.parametrize("suffix", ["gif", "apng"])
def test_an_animation_of_one_picture_is_a_still_image(tmp_path: Path, suffix: str) -> None:
    pages = [Image.new("RGB", (32, 24), (20 * i, 0, 0)) for i in range(3)]
    form = {"gif": "GIF", "apng": "PNG"}[suffix]
    pages[0].save(tmp_path / f"one.{suffix}", form, save_all=True)
    pages[0].save(tmp_path / f"three.{suffix}", form, save_all=True, append_images=pages[1:])
    found = scan(tmp_path)
    assert [(v.path, v.frames) for v in found.videos] == [(f"three.{suffix}", 3)]
    assert [(s.path, s.reason) for s in found.skipped] == [(f"one.{suffix}", "a still image, not a video")]


@pytest.mark.parametrize("brand", ["avif", "heic", "heix", "mif1"])
def test_a_photo_in_an_iso_file_is_a_still_image_whatever_its_brand_and_name(tmp_path: Path, brand: str) -> None:
    pages = [Image.new("RGB", (32, 24), (20 * i, 0, 0)) for i in range(3)]
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, options in (("one.mp4", {}), ("exif.heic", {"exif": exif})):
        pages[0].save(tmp_path / name, "AVIF", **options)
        data = (tmp_path / name).read_bytes()
        assert data[4:12] == b"ftypavif"
        (tmp_path / name).write_bytes(data[:8] + brand.encode() + data[12:])
    shutil.copy(tmp_path / "one.mp4", tmp_path / "two.heif")
    found = scan(tmp_path, empty=True)
    assert found.videos == ()
    assert {s.reason for s in found.skipped} == {"a still image, not a video"}


def test_pages_without_a_rate_say_so(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (32, 24), (20 * i, 0, 0)) for i in range(12)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "timed.webp", save_all=True, append_images=pages[1:], duration=40)
    notes = {v.path: v.note for v in scan(tmp_path).videos}
    assert notes["stack.tif"].startswith("12 pages, frames a second not known")
    assert "not known" not in notes["timed.webp"]
    assert [v.fps for v in scan(tmp_path / "stack.tif", rate=10.0).videos] == [10.0]


def test_folders_give_labels_and_splits(media: Path, tmp_path: Path) -> None:
    clip = media / "one_frame.mp4"
    classes = tmp_path / "classes"
    put(clip, classes / "jump" / "a.mp4", classes / "wave" / "a.mp4", classes / "loose.mp4")
    catalog = scan(classes)
    assert [(v.id, v.label, v.split) for v in catalog.videos] == [
        ("jump/a", "jump", None),
        ("loose", None, None),
        ("wave/a", "wave", None),
    ]
    assert catalog.labels == ("jump", "wave")
    splits = tmp_path / "splits"
    put(clip, splits / "top" / "Train" / "jump" / "a.mp4", splits / "top" / "test" / "wave" / "a.mp4")
    catalog = scan(splits)
    assert [(v.label, v.split) for v in catalog.videos] == [("jump", "train"), ("wave", "test")]
    assert [v.label for v in catalog.only("test").videos] == ["wave"]
    dates = tmp_path / "dates"
    put(clip, dates / "2019" / "07" / "a.mp4", dates / "2019" / "08" / "b.mp4", dates / "2020" / "01" / "a.mp4")
    assert scan(dates).labels == ()


def test_several_labels_come_back_from_the_table(media: Path, tmp_path: Path) -> None:
    put(media / "one_frame.mp4", tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / "c.mp4")
    rows = 'a.mp4,run; jump;run,\nb.mp4,,wave\nc.mp4,"""odd; one"";two",\n'
    (tmp_path / "videos.csv").write_text("path,labels,label\n" + rows, encoding="utf-8")
    catalog = scan(tmp_path)
    assert [v.labels for v in catalog.videos] == [("run", "jump"), ("wave",), ("odd; one", "two")]
    assert [v.label for v in catalog.videos] == [None, "wave", None]
    assert catalog.labels == ("jump", "odd; one", "run", "two", "wave")
    catalog.write_csv(tmp_path / "kept.csv")
    assert Catalog.is_csv(tmp_path / "kept.csv")
    assert Catalog.read_csv(tmp_path / "kept.csv", root=tmp_path) == catalog


def test_same_names_with_other_suffixes_keep_apart(media: Path, tmp_path: Path) -> None:
    put(media / "one_frame.mp4", tmp_path / "a.mp4", tmp_path / "a.mov")
    assert [v.id for v in scan(tmp_path).videos] == ["a.mov", "a.mp4"]


def test_links_are_followed_but_not_in_circles(media: Path, tmp_path: Path) -> None:
    put(media / "one_frame.mp4", tmp_path / "elsewhere" / "x.mp4", tmp_path / "root" / "a" / "y.mp4")
    root = tmp_path / "root"
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "up").symlink_to(root)
    (root / "gone.mp4").symlink_to(tmp_path / "nothing.mp4")
    catalog = scan(root)
    assert [v.path for v in catalog.videos] == ["a/y.mp4", "linked/x.mp4"]
    assert catalog.skipped == (Skipped("a/up", "link to a folder above it"), Skipped("gone.mp4", "broken link"))


@pytest.fixture
def ucf(media: Path, tmp_path: Path) -> tuple[Path, Path]:
    videos, lists = tmp_path / "videos", tmp_path / "lists"
    for name in ("A/v_A_g01_c01", "A/v_A_g02_c01", "B/v_b_g01_c01", "B/v_B_g03_c01"):
        put(media / "one_frame.mp4", videos / f"{name}.mp4")
    lists.mkdir()
    (lists / "trainlist01.txt").write_text("A/v_A_g02_c01.avi 1\n", encoding="utf-8")
    (lists / "testlist01.txt").write_text("A/v_A_g01_c01.avi\nB/v_B_g01_c01.avi\nB/v_B_g09_c01.avi\n", encoding="utf-8")
    return videos, lists


def test_official_lists_choose_and_label(ucf: tuple[Path, Path]) -> None:
    videos, lists = ucf
    catalog = scan(videos, lists=lists, split=1)
    assert [(v.id, v.label, v.split) for v in catalog.videos] == [
        ("A/v_A_g01_c01", "A", "test"),
        ("A/v_A_g02_c01", "A", "train"),
        ("B/v_b_g01_c01", "B", "test"),
    ]
    assert catalog.skipped == (
        Skipped("B/v_B_g03_c01.mp4", "in neither list of split 1"),
        Skipped("B/v_B_g09_c01.avi", MISSING),
    )
    assert catalog.summary() == "3 used, 1 skipped (of 4 files); 1 named in a list but not there"
    assert catalog.reasons() == {"in neither list of split 1": 1, MISSING: 1}


def test_lists_beside_the_videos_label_without_leaving_any_out(ucf: tuple[Path, Path]) -> None:
    videos, lists = ucf
    shutil.move(lists, videos / "ucfTrainTestlist")
    catalog = scan(videos)
    assert [v.split for v in catalog.videos] == ["test", "train", None, "test"]
    assert [s.reason for s in catalog.skipped] == [MISSING, "list file", "list file"]
    assert len(catalog.videos) + len(catalog.skipped) - catalog.missing == count_files(videos)


@pytest.mark.parametrize("beside", [True, False])
def test_kinetics_videos_that_are_gone_are_reported_and_accepted(beside: bool, media: Path, tmp_path: Path) -> None:
    videos, lists = tmp_path / "k400", tmp_path / ("k400" if beside else "lists")
    names = ["aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc"]
    for part, file in (("train", "train.csv"), ("val", "validate.csv")):
        lists.mkdir(exist_ok=True)
        rows = [f'"air drumming",{part}{name},3,13,{part}' for name in names]
        (lists / file).write_text("\n".join(["label,youtube_id,time_start,time_end,split", *rows]), encoding="utf-8")
        for name in names[:2]:
            put(media / "one_frame.mp4", videos / part / f"{part}{name}_000003_000013.mp4")
    catalog = scan(videos, lists=None if beside else lists)
    assert [(v.label, v.split) for v in catalog.videos] == [
        ("air drumming", p) for p in ("train", "train", "val", "val")
    ]
    assert catalog.missing == 2
    assert [s.path for s in catalog.skipped if s.reason == MISSING] == [
        f"{p}ccccccccccc_000003_000013" for p in ("train", "val")
    ]
    assert catalog.summary().startswith("4 used")
    assert catalog.summary().endswith("; 2 named in a list but not there")


def test_lists_that_belong_to_other_videos(ucf: tuple[Path, Path], media: Path, tmp_path: Path) -> None:
    put(media / "one_frame.mp4", tmp_path / "mine" / "a.mp4")
    with pytest.raises(UserError, match="4 of the 4 videos named there"):
        scan(tmp_path / "mine", lists=ucf[1])
    shutil.copy(ucf[1] / "trainlist01.txt", tmp_path / "mine" / "train.txt")
    catalog = scan(tmp_path / "mine")  # nobody asked for it: said, not an error
    assert catalog.skipped == (Skipped("train.txt", "list file (names mostly other videos, not used)"),)


def test_parts_of_one_file(media: Path, tmp_path: Path) -> None:
    put(media / "h264.mp4", tmp_path / "day.mp4", tmp_path / "other.mp4")
    rows = "day.mp4,first,train,0,0.8\nday.mp4,second,test,0.8,2\nday.mp4,late,test,9,\n"
    (tmp_path / "videos.csv").write_text("path,label,split,start,end\n" + rows, encoding="utf-8")
    catalog = scan(tmp_path)
    assert [(v.id, v.label, v.split, v.first_frame, v.frames) for v in catalog.videos] == [
        ("day.mp4@0-20", "first", "train", 0, 20),
        ("day.mp4@20-50", "second", "test", 20, 30),
    ]
    assert catalog.skipped == (
        Skipped("day.mp4", "no frame between 9 s and the end"),
        Skipped("other.mp4", "not in videos.csv"),
        Skipped("videos.csv", "list file"),
    )


def test_a_catalog_comes_back_from_its_file(media: Path, bad_media: Path, tmp_path: Path) -> None:
    for source in (media, bad_media):
        catalog = scan(source)
        catalog.write_csv(tmp_path / "videos.csv")
        assert Catalog.read_csv(tmp_path / "videos.csv", root=source) == catalog
    with pytest.raises(UserError, match="not a catalog"):
        Catalog.read_csv(bad_media / "text.mp4", root=bad_media)


def test_one_file_is_a_folder_of_one(media: Path) -> None:
    catalog = scan(media / "h264.mp4")
    assert [v.path for v in catalog.videos] == ["h264.mp4"]
    assert catalog.root == media


def test_a_list_file_stands_for_its_folder(media: Path, tmp_path: Path) -> None:
    put(media / "one_frame.mp4", tmp_path / "a.mp4", tmp_path / "b" / "c.mp4")
    (tmp_path / "some.txt").write_text("b/c.avi wave\n", encoding="utf-8")
    catalog = scan(tmp_path / "some.txt")
    assert [(v.path, v.label) for v in catalog.videos] == [("b/c.mp4", "wave")]
    assert catalog.skipped == (Skipped("a.mp4", "not in some.txt"), Skipped("some.txt", "list file"))


def test_a_table_in_a_folder_below_is_not_taken_for_the_list(media: Path, tmp_path: Path) -> None:
    put(media / "one_frame.mp4", tmp_path / "a.mp4")
    (tmp_path / "run").mkdir()
    scan(tmp_path).write_csv(tmp_path / "run" / "videos.csv")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "trainlist01.txt").write_text("nonsense\n", encoding="utf-8")
    assert [v.path for v in scan(tmp_path).videos] == ["a.mp4"]


def test_nothing_to_use_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        scan(tmp_path / "absent")
    with pytest.raises(UserError, match="no video found among 0 files"):
        scan(tmp_path)
    (tmp_path / "a.mp4").write_text("words", encoding="utf-8")
    with pytest.raises(UserError, match=r"no video found among 1 file \(most often: not a video \(text file\)\)"):
        scan(tmp_path)


def test_summary_counts_in_thousands() -> None:
    video = Video("a", "a", None, None, 40, 25.0, 8, 8)
    videos = tuple(Video(f"{i}", f"{i}", None, None, 40, 25.0, 8, 8) for i in range(1204))
    skipped = tuple(Skipped(f"s{i}", "empty file") for i in range(3))
    assert Catalog(Path("x"), videos, skipped).summary() == "1 204 used, 3 skipped (of 1 207 files)"
    assert Catalog(Path("x"), (video, video)).summary() == "2 parts of 1 file used, 0 skipped (of 1 file)"


def test_progress_reaches_the_end(media: Path) -> None:
    seen: list[tuple[int, int]] = []
    scan(media, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == len(seen)
