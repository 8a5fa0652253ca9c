from __future__ import annotations

import numpy as np
import pytest
from array_videos import data_of

from cacl.errors import UserError
from cacl.evaluation.baselines import colour_histogram, thumbnail, video_baselines
from cacl.evaluation.retrieval import recall_at_k

rng = np.random.default_rng(0)


def test_histogram_counts_every_pixel_once():
    frames = rng.integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    expected = np.zeros((8, 8, 8))
    for r, g, b in frames.reshape(-1, 3).tolist():
        expected[r // 32, g // 32, b // 32] += 1
    np.testing.assert_allclose(colour_histogram(frames), np.sqrt(expected.ravel() / 60), rtol=1e-6)
    assert np.linalg.norm(colour_histogram(frames)) == pytest.approx(1)


def test_histogram_of_pure_colours_by_hand():
    frames = np.zeros((1, 1, 2, 3), np.uint8)
    frames[0, 0, 1] = (255, 0, 31)
    histogram = colour_histogram(frames)
    assert {i: round(float(v), 4) for i, v in enumerate(histogram) if v} == {0: 0.7071, 7 * 64: 0.7071}


@pytest.mark.parametrize(("height", "width"), [(8, 11), (64, 88), (128, 171), (9, 5)])
def test_thumbnail_is_area_averaging(height, width):
    frames = rng.integers(0, 256, (3, height, width, 3), dtype=np.uint8)
    mean = frames.astype(np.float64).mean(0) / 255
    fine = np.repeat(np.repeat(mean, 8, axis=0), 11, axis=1)  # every cell is then a whole number of pixels
    cells = fine.reshape(8, height, 11, width, 3).mean((1, 3))
    np.testing.assert_allclose(thumbnail(frames), (cells - cells.mean()).ravel(), atol=1e-6)


def test_baselines_of_videos_are_taken_from_ten_even_frames(make_videos):
    source, videos = make_videos(count=3, frames=19, broken=(1,))
    found = video_baselines(data_of(source, videos))
    frames = source.videos[2][::2]
    np.testing.assert_array_equal(found.histogram[1], colour_histogram(frames))
    np.testing.assert_array_equal(found.thumbnail[1], thumbnail(frames))
    assert found.kept.tolist() == [0, 2]
    assert found.skipped[0].reason == "broken in the middle"


def test_classes_that_differ_in_colour_are_told_by_the_histogram(make_videos):
    source, videos = make_videos(count=8)
    found = video_baselines(data_of(source, videos))
    labels = [video.label for video in videos]
    assert recall_at_k(found.histogram[:4], found.histogram[4:], labels[:4], labels[4:], ks=(1,)) == {"R@1": 100}


def test_no_readable_video_is_a_user_error(make_videos):
    source, videos = make_videos(count=2, broken=(0,))
    with pytest.raises(UserError):
        video_baselines(data_of(source, videos[:1]))
