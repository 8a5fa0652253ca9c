"""Which videos ask and answer in retrieval."""

from __future__ import annotations

from pathlib import Path

import pytest

from cacl.data.videos.catalog import Catalog, Video
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.store import DecodedVideos
from cacl.errors import UserError
from cacl.evaluation.evaluate import retrieval_parts


def data_of(*rows: tuple[str | None, str | None]) -> Dataset:
    """Videos of these (split, label)."""
    videos = tuple(Video(f"{n}.mp4", str(n), label, split, 40, 25.0, 8, 8) for n, (split, label) in enumerate(rows))
    catalog = Catalog(Path("videos"), videos)
    return Dataset(catalog, DecodedVideos(catalog, height=8, width=8))


def test_videos_without_a_label_are_left_out_and_counted() -> None:
    said: list[str] = []
    data = data_of(("train", "a"), ("train", None), ("test", "a"), ("test", None), ("test", "b"), (None, None))
    assert retrieval_parts(data, say=said.append) == ([0], [2, 4])
    assert said == ["Left out: 2 videos without a label.", "Retrieval: 2 test videos against 1 training video."]


def test_validation_serves_where_there_is_no_test() -> None:
    said: list[str] = []
    assert retrieval_parts(data_of(("train", "a"), ("val", "a")), say=said.append) == ([0], [1])
    assert said == ["Retrieval: 1 validation video (there is no part called test) against 1 training video."]
    assert retrieval_parts(data_of(("train", "a"), ("val", "a"), ("test", "b"))) == ([0], [2])


@pytest.mark.parametrize(
    "rows",
    [
        [("train", "a"), ("train", "b")],
        [("train", "a"), ("test", None)],
        [("train", None), ("test", "a")],
        [(None, "a"), (None, "b")],
        [("test", "a"), ("val", "b")],
    ],
)
def test_without_labels_on_both_sides_there_is_none(rows: list[tuple[str | None, str | None]]) -> None:
    with pytest.raises(UserError, match="retrieval needs labelled videos with a train and a test part"):
        retrieval_parts(data_of(*rows))
