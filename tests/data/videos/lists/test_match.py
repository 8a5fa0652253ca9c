"""Which file an entry means: never another folder's, never a guess among several."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from list_files import matched

from cacl.data.videos.lists.entry import Entry, Listing
from cacl.data.videos.lists.match import match
from cacl.errors import UserError


def listing(*names: str, unique: bool = False) -> Listing:
    return Listing(tuple(map(Entry, names)), (Path("lists/train.txt"),), "absent", unique)


def files(*names: str, of: tuple[str, ...], root: str = "/videos", unique: bool = False) -> list[str | None]:
    """The file of each name, None where there is none."""
    pairs, missing = match(listing(*names, unique=unique), of, root=Path(root))
    found = dict(zip([n for n in names if n not in {e.name for e in missing}], [p for _, p in pairs], strict=True))
    return [found.get(name) for name in names]


def test_a_path_with_folders_means_only_that_path() -> None:
    there = ("S001/rgb/color.mp4", "S002/rgb/color.mp4")
    assert files("S001/rgb/color.mp4", "S003/rgb/color.mp4", "S002/rgb/color.mp4", of=there) == [
        there[0],
        None,
        there[1],
    ]
    assert files("a/x.mp4", "y.mp4", "z.mp4", of=("x.mp4", "b/y.mp4", "z.mp4")) == [None, "b/y.mp4", "z.mp4"]


def test_a_list_may_begin_above_or_below_the_folder_of_videos() -> None:
    there = ("a/x.mp4", "b/x.mp4")
    assert files("clips/a/x.mp4", "clips/b/x.mp4", of=there, root="/data/clips") == list(there)
    assert files("/data/clips/a/x.mp4", "/data/clips/b/x.avi", of=there, root="/data/clips") == list(there)
    assert files("a/x.mp4", of=("videos/a/x.mp4", "videos/b/x.mp4")) == ["videos/a/x.mp4"]
    assert files("./a/x.mp4", "..\\clips\\b\\x.mp4", of=there, root="/data/clips") == list(there)
    assert files("D:\\old\\a\\x.mp4", "D:\\old\\b\\x.mp4", of=there) == list(there)


def test_a_name_alone_is_found_where_there_is_one() -> None:
    assert files("x.mp4", "z", of=("a/x.mp4", "b/y.mp4", "c/z.mkv")) == ["a/x.mp4", "c/z.mkv"]
    assert files("x.mp4", of=("x.mp4", "a/x.mp4")) == ["x.mp4"]  # the very path
    assert files("x.mp4", of=("a/x.mp4", "b/x.avi")) == ["a/x.mp4"]
    with pytest.raises(UserError, match=r"'x\.mp4' may be a/x\.mp4 or b/x\.mp4; write the folder"):
        files("x.mp4", of=("b/x.mp4", "a/x.mp4"))
    with pytest.raises(UserError, match=r"'a/x\.mp4' may be a/x\.avi or a/x\.mov"):
        files("a/x.mp4", of=("a/x.avi", "a/x.mov"))
    with pytest.raises(UserError, match=r"'a/x\.mp4' may be v1/a/x\.mp4 or v2/a/x\.mp4"):
        files("a/x.mp4", of=("v1/a/x.mp4", "v2/a/x.mp4"))


def test_names_that_tell_all_videos_apart_need_no_folder() -> None:
    there = ("new/A/v_A_g01.mp4", "new/B/v_B_g01.mp4")
    assert files("A/v_A_g01.avi", "B/v_B_g01.avi", of=there, unique=True) == list(there)
    two = ("small/A/v_A_g01.avi", "large/A/v_A_g01.avi")
    with pytest.raises(UserError, match=r"may be large/A/v_A_g01\.avi or small/A/v_A_g01\.avi"):
        files("A/v_A_g01.avi", of=two, unique=True)


def test_capital_letters_decide_where_files_differ_in_them_alone() -> None:
    there = ("AbC_000001_000011.mp4", "aBc_000001_000011.mp4")
    assert files("aBc_000001_000011", "AbC_000001_000011", of=there, unique=True) == [there[1], there[0]]
    assert files("HandstandPushups/v_x.avi", of=("handstandPUSHUPS/V_X.AVI",)) == ["handstandPUSHUPS/V_X.AVI"]


def test_signs_put_together_in_another_way() -> None:
    composed, decomposed = (unicodedata.normalize(form, "Möwe é.mp4") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert files(composed, of=(decomposed,)) == [decomposed]
    assert files(decomposed, of=(composed,)) == [composed]


def test_a_video_beside_the_folder_of_its_frames() -> None:
    for unique in (True, False):
        assert files("v.avi", of=("v.mp4", "v"), unique=unique) == ["v.mp4"]
        assert files("v", of=("v.mp4", "v"), unique=unique) == ["v"]


def test_a_date_is_no_suffix() -> None:
    assert files("2019.07", "x.mp4", of=("2019.mp4", "x.mp4")) == [None, "x.mp4"]


def test_lists_of_other_videos_name_the_first() -> None:
    with pytest.raises(UserError, match=r"lists/train\.txt: 2 of the 3 videos .* first b\.mp4, c\.mp4"):
        match(listing("a.mp4", "b.mp4", "c.mp4"), ["a.mp4"], root=Path("/videos"))
    assert matched(listing("a.mp4"), "a.mp4") == [("a.mp4", (), None)]
