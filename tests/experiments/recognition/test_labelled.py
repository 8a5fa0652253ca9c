"""What is wrong with labelled videos is named; draws of labels are nested, even, and the same every time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacl.data.videos.catalog import MISSING, Catalog, Skipped, Video
from cacl.errors import UserError
from cacl.experiments.recognition.labelled import (
    check_label_counts,
    draw_labels,
    held_out,
    labelled_split,
)


def video(path, label, split, *, first=0, frames=40):
    return Video(path, f"{path}@{first}", label, split, frames, 25.0, 64, 48, first)


def catalog(*videos):
    return Catalog(Path("videos"), tuple(videos))


FINE = (
    video("a/1.mp4", "a", "train"),
    video("a/2.mp4", "a", "train"),
    video("b/1.mp4", "b", "train"),
    video("a/3.mp4", "a", "test"),
    video("b/3.mp4", "b", "test"),
)


def test_parts_and_classes():
    split = labelled_split(catalog(*FINE, video("x.mp4", None, "train"), video("c/1.mp4", "c", "val")), 2)
    assert (len(split.train), len(split.test), split.test_part, split.number) == (3, 2, "test", 2)
    assert split.classes == ("a", "b")
    assert split.notes == ("Left out: 1 video without a label.", "One training video only: b.")


def test_classes_are_in_the_order_of_ucf101():
    names = ("Hammering", "HammerThrow", "HandstandPushups", "JumpingJack", "JumpRope")  # as in classInd.txt
    split = labelled_split(catalog(*(video(f"{n}/{p}.avi", n, p) for n in sorted(names) for p in ("train", "test"))), 1)
    assert split.classes == names


def test_videos_that_the_lists_name_but_are_not_there_are_counted():
    gone = (Skipped("a/7.mp4", MISSING), Skipped("b/9.mp4", MISSING), Skipped("c.mp4", "not a video"))
    split = labelled_split(Catalog(Path("videos"), FINE, gone), 1)
    assert split.notes[0] == "2 of the videos that the lists name are not there."


def test_val_tests_where_nothing_is_called_test():
    split = labelled_split(catalog(*FINE[:3], video("a/3.mp4", "a", "val")), 1)
    assert split.test_part == "val"
    assert split.notes[-1] == "No test video: b; the accuracy says nothing of these classes."


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        (FINE[:3], "needs labelled videos with a training and a test part .found 3 and 0"),
        ([video(v.path, None, v.split) for v in FINE], "found 0 and 0"),
        ([*FINE, video("bb/1.mp4", "B", "test")], "'B' .1 video. among the test videos, but no training video has"),
        ([*FINE, video("a/1.mp4", "a", "test")], r"a/1\.mp4 is in the training and in the test part of split 1"),
        ([FINE[0], FINE[1], FINE[3]], "all training videos are of one class .a."),
    ],
)
def test_what_makes_the_result_worthless_is_refused(videos, message):
    with pytest.raises(UserError, match=message):
        labelled_split(catalog(*videos), 1)


def test_parts_of_one_file_may_be_on_both_sides_unless_they_overlap():
    def sides(first):
        return catalog(*FINE, video("long.mp4", "a", "train", frames=100), video("long.mp4", "b", "test", first=first))

    assert len(labelled_split(sides(100), 1).test) == 3
    with pytest.raises(UserError, match=r"long\.mp4 is in the training and in the test part"):
        labelled_split(sides(99), 1)


def test_a_group_of_ucf101_on_both_sides_is_said():
    names = [("train", "v_Archery_g01_c01"), ("train", "v_Bowling_g02_c01"), ("test", "v_Archery_g01_c04"),
             ("test", "v_Bowling_g01_c01")]  # fmt: skip
    split = labelled_split(catalog(*(video(f"x/{n}.avi", n.split("_")[1], part) for part, n in names)), 1)
    (note,) = (note for note in split.notes if "both sides" in note)
    assert "(archery g01)" in note


def test_more_labels_than_there_are():
    split = labelled_split(catalog(*FINE), 1)
    check_label_counts(split, [1, None])
    with pytest.raises(UserError, match=r"asks for 3 training videos of each class, but a has 2, b has 1 .*1 or fewer"):
        check_label_counts(split, [1, 3])


@given(seed=st.integers(0, 99), sizes=st.lists(st.integers(3, 9), min_size=2, max_size=5))
def test_draws_are_nested_and_even(seed, sizes):
    videos = [video(f"{k}/{i}.mp4", f"c{k}", "train") for k, n in enumerate(sizes) for i in range(n)]
    one, two, three = (draw_labels(videos, n, seed=seed, draw=0, split=1) for n in (1, 2, 3))
    for n, drawn in ((1, one), (2, two), (3, three)):
        assert Counter(v.label for v in drawn) == {f"c{k}": n for k in range(len(sizes))}
        assert drawn == draw_labels(videos, n, seed=seed, draw=0, split=1)
    assert set(one) < set(two) < set(three)


def test_draws_differ_by_draw_and_split():
    videos = [video(f"{i}.mp4", "ab"[i % 2], "train") for i in range(40)]
    draws = {tuple(draw_labels(videos, 5, seed=0, draw=d, split=s)) for d in range(5) for s in (1, 2)}
    assert len(draws) == 10


@given(seed=st.integers(0, 99), count=st.integers(0, 30))
def test_holding_out_leaves_every_class_a_video(seed, count):
    videos = [video(f"{i}.mp4", "aaaabbc"[i % 7], "train") for i in range(21)] + [video("d.mp4", "d", "train")]
    kept, aside = held_out(videos, count, seed=seed, split=1)
    assert sorted(v.path for v in kept + aside) == sorted(v.path for v in videos)
    assert len(aside) == min(count, 18)
    assert {v.label for v in kept} == set("abcd")


def test_what_lacks_because_it_could_not_be_read_is_named():
    videos = [video("a/1.mp4", "a", "train"), video("a/2.mp4", "a", "test"), video("b/2.mp4", "b", "test")]
    for some, lacks in (
        (videos, "no training video has that label"),
        (videos[:1], "found 1 and 0"),
        (videos[:2], "of one"),
    ):
        found = replace(catalog(*some), skipped=(Skipped("b/1.mp4", "cannot be opened"), Skipped("notes.txt", "text")))
        with pytest.raises(
            UserError, match=rf"{lacks}.* 1 file could not be used \(first b/1\.mp4: cannot be opened\)\."
        ):
            labelled_split(found, 1)
