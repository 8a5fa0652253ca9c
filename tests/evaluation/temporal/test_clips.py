"""Videos whose pixels say which frame they are: every clip's frames, class and features can be told by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from array_videos import clip_of, data_of
from rapidfuzz.distance import Levenshtein

from cacl.data.clips.shuffle import degree_class
from cacl.data.videos.catalog import Video
from cacl.evaluation.temporal.clips import DIFFERENCES, TASKS, speeds_that_fit, temporal_samples
from cacl.methods.differences import pair_differences


class Frames(torch.nn.Module):
    """The "features" of a clip are the numbers of its frames."""

    def forward(self, x_BCTHW):
        return (x_BCTHW[:, 0, :, 0, 0] * 255).round()


class Numbered:
    """Frame t of every video has the value t everywhere."""

    height = width = 8

    def read(self, video, indices):
        return np.broadcast_to(indices[:, None, None, None], (len(indices), 8, 8, 3)).astype(np.uint8)


def numbered(lengths):
    return [Video(f"v{i}.mp4", f"v{i}", None, None, n, 25.0, 8, 8) for i, n in enumerate(lengths)]


def drawn(lengths, *, speeds=(1, 2, 4, 8), draws=3, purpose="test", seed=0, threads=2, networks=None):
    return temporal_samples(
        {"numbers": Frames()} if networks is None else networks,
        data_of(Numbered(), numbered(lengths)),
        clip_of(8),
        purpose=purpose,
        draws=draws,
        seed=seed,
        speeds=speeds,
        skipped=[],
        threads=threads,
    )


def test_degrees_are_the_edit_distances_of_the_twins():
    samples = drawn([200] * 10)["shuffle degree"]
    assert samples.classes.shape == (30,)
    for row, expected in zip(samples.features["numbers"], samples.classes, strict=True):
        clip, twin = row[:16], row[:16] + row[16:]  # G(x) and G(x~) - G(x)
        assert (np.diff(clip) == 2).all()
        assert degree_class(Levenshtein.distance(clip.tolist(), twin.tolist())) == expected
    assert len(set(samples.classes.tolist())) > 8


def test_speeds_are_the_steps_between_frames():
    samples = drawn([200] * 6)["playback speed"]
    assert samples.classes.tolist() == [0, 1, 2, 3] * 18
    steps = np.diff(samples.features["numbers"], axis=1)
    assert (steps == np.array([1, 2, 4, 8])[samples.classes][:, None]).all()
    assert samples.video.tolist() == np.repeat(np.arange(6), 12).tolist()
    assert len(set(samples.features["numbers"][:, 0].tolist())) > 20  # starts differ


def test_backwards_is_the_same_clip_backwards():
    samples = drawn([200] * 4)["arrow of time"]
    assert samples.classes.tolist() == [0, 1] * 12
    clips = samples.features["numbers"].reshape(12, 2, 16)
    np.testing.assert_array_equal(clips[:, 1], clips[:, 0, ::-1])
    assert (np.diff(clips[:, 0], axis=1) == 2).all()


def test_short_videos_tell_no_speed():
    found = drawn([121, 120, 300])
    assert set(found["playback speed"].video.tolist()) == {0, 2}
    assert set(found["arrow of time"].video.tolist()) == {0, 1, 2}
    assert "playback speed" not in drawn([120, 50])
    assert "playback speed" not in drawn([200], speeds=(1,))


@pytest.mark.parametrize(
    ("frames", "expected"),
    [([16, 16], (1,)), ([31, 15], (1, 2)), ([121, 61, 61], (1, 2, 4)), ([121, 121, 5], (1, 2, 4, 8)), ([3], ())],
)
def test_a_speed_needs_half_of_the_videos(frames, expected):
    assert speeds_that_fit(frames, clip=16) == expected


def test_frame_differences_are_those_of_the_same_clips():
    found = drawn([200] * 3)
    for task in TASKS:
        assert found[task].features[DIFFERENCES].shape[1] == (14 if task == "shuffle degree" else 7)
    speed = found["playback speed"]
    for row, numbers in zip(speed.features[DIFFERENCES], speed.features["numbers"], strict=True):
        clip = torch.from_numpy(numbers / 255).float().view(1, 16, 1, 1).expand(3, 16, 8, 8)
        np.testing.assert_allclose(row, pair_differences(clip, np.arange(16))[:7], atol=1e-4)
    pairs = found["arrow of time"].features[DIFFERENCES].reshape(-1, 2, 7)
    np.testing.assert_array_equal(pairs[:, 0], pairs[:, 1])  # they cannot know


def test_clips_depend_on_seed_and_purpose_alone():
    one = drawn([90, 200], threads=1)
    again = drawn([90, 200], threads=3)
    other = [drawn([90, 200], purpose="train"), drawn([90, 200], seed=1)]
    for task in one:
        np.testing.assert_array_equal(one[task].features["numbers"], again[task].features["numbers"])
        for different in other:
            assert (one[task].features["numbers"] != different[task].features["numbers"]).any()


def test_several_networks_see_the_same_clips():
    class Twice(Frames):
        def forward(self, x_BCTHW):
            return 2 * super().forward(x_BCTHW)

    found = drawn([90, 200], networks={"a": Frames(), "b": Twice()})
    for samples in found.values():
        np.testing.assert_array_equal(samples.features["b"], 2 * samples.features["a"])
