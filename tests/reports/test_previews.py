from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from array_videos import data_of
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cacl.evaluation.evaluate import Neighbours
from cacl.reports.neighbours import neighbour_rows, preview_frames
from cacl.reports.previews import preview_rows, rows_from_json, rows_to_json
from cacl.reports.tiles import Tile, TileRow, webp_uri


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


@given(st.integers(1, 5000), st.sampled_from([0.0, 1.0, 6.0, 12.5, 25.0, 29.97, 60.0, 240.0]))
def test_a_preview_is_evenly_spaced_in_the_video_with_its_middle_and_lasts_two_seconds_at_most(frames, fps):
    indices, milliseconds = preview_frames(frames, fps)
    assert 1 <= len(indices) <= 12
    assert indices[0] >= 0
    assert indices[-1] < frames
    assert frames // 2 in indices
    steps = set(np.diff(indices).tolist())
    assert len(steps) <= 1
    step = steps.pop() if steps else 1
    assert milliseconds == round(1000 * step / (fps or 25.0))  # the speed of the video
    if fps >= 6:
        assert len(indices) * milliseconds <= 3000
    if frames >= 12:
        assert len(indices) >= 11


def test_hand_worked_previews():
    indices, milliseconds = preview_frames(131, 25.0)  # 2 s of 25 frames a second in 12 steps: every fourth
    assert indices.tolist() == [41, 45, 49, 53, 57, 61, 65, 69, 73, 77, 81, 85]
    assert milliseconds == 160
    assert preview_frames(1, 25.0)[0].tolist() == [0]
    assert preview_frames(3, 0.0) == (pytest.approx([0, 1, 2]), 40)


def test_an_animation_plays_its_frames_at_its_speed_without_end():
    frames = np.stack([np.full((12, 16, 3), 40 * t, np.uint8) for t in range(5)])
    image = decoded(webp_uri(frames, milliseconds=80))
    assert image.format == "WEBP"
    assert (image.n_frames, image.size, image.info["loop"]) == (5, (16, 12), 0)
    for t in range(5):
        image.seek(t)
        image.load()
        assert image.info["duration"] == 80
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - 40 * t).max() <= 12


def test_neighbours_move_around_the_frame_that_stands_for_the_video(make_videos):
    source, videos = make_videos(count=3, frames=40)
    (row,) = neighbour_rows(data_of(source, videos), [Neighbours(0, (1, 2), (1.0, 1.0))])
    tile = row.tiles[0]
    indices, milliseconds = preview_frames(40, 25.0)
    np.testing.assert_array_equal(tile.frames, source.videos[1][indices])
    np.testing.assert_array_equal(tile.image, source.videos[1][20])
    assert tile.milliseconds == milliseconds == 120


def rows() -> list[TileRow]:
    frames = np.random.default_rng(0).integers(0, 255, (3, 10, 14, 3)).astype(np.uint8)
    return [
        TileRow((Tile(frames[0], "b", "0.9", False, "b.mp4", frames, 40),), lead=Tile(frames[1], "a")),
        TileRow(()),
    ]


def test_previews_survive_json():
    previews = preview_rows(rows())
    again = rows_from_json(json.loads(json.dumps(rows_to_json(previews))))
    assert again == previews
    assert again[0].lead is not None
    assert again[0].lead.moving is None
    assert decoded(again[0].tiles[0].moving or "").n_frames == 3
    assert decoded(again[0].tiles[0].still).size == (14, 10)


@pytest.mark.parametrize(("key", "value"), [("still", "https://example.org/a.png"), ("moving", "a.webp"), ("more", 1)])
def test_pictures_that_are_elsewhere_are_refused(key, value):
    content = rows_to_json(preview_rows(rows()))
    content[0]["lead"][key] = value
    with pytest.raises((ValueError, TypeError)):
        rows_from_json(content)
