"""Whole videos in batches: the vectors of one window at a time, whatever the batches, the pieces and the breaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from array_videos import data_of
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cacl.data.videos.catalog import Video
from cacl.errors import VideoError
from cacl.evaluation.video_vectors import WINDOWS, video_vectors
from cacl.models.encoder import ClipSpec, Encoder

CLIP = ClipSpec(frames=4, stride=2, resize=(34, 36), size=32)
SPAN = 8


class Counted:
    """Frame i of video v is all of one colour that depends on both; a video breaks at frame ``breaks[v]``."""

    height, width = CLIP.resize

    def __init__(self, breaks: list[int]) -> None:
        self.breaks = breaks

    def read(self, video: int, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        if indices.max() >= self.breaks[video]:
            raise VideoError(f"v{video}", f"an error at {self.breaks[video]}")
        colours = (37 * video + 11 * indices) % 251
        return np.broadcast_to(colours[:, None, None, None], (len(indices), *CLIP.resize, 3)).astype(np.uint8)


def catalog(lengths: list[int]) -> list[Video]:
    return [Video(f"v{i}", f"v{i}", None, None, n, 25.0, 36, 34) for i, n in enumerate(lengths)]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    encoder = Encoder("r3d10", width=4, clip=CLIP).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():  # so that flat pictures of different colours differ
            parameter.add_(0.05 * torch.randn_like(parameter))
    return encoder


def one_by_one(encoder: Encoder, source: Counted, video: int, frames: int, step: int) -> list[tuple[int, int, Any]]:
    """Start, stop and vector of each window up to the first that cannot be read; windows as a person would lay them."""
    assert frames >= SPAN - 1
    starts = list(range(0, frames - SPAN + 2, step))
    if starts[-1] + SPAN < frames and starts[-1] + SPAN - 1 < frames:
        starts.append(frames - SPAN + 1)
    rows = []
    for start in dict.fromkeys(starts):
        try:
            clip = source.read(video, np.arange(start, start + SPAN - 1, 2))
        except VideoError:
            break
        with torch.no_grad():
            rows.append((start, min(start + SPAN, frames), encoder(clip[None])[0].numpy()))
    return rows


@given(
    st.lists(st.tuples(st.integers(SPAN, 40), st.integers(0, 60)), min_size=1, max_size=4),
    st.sampled_from([None, 5]),
)
def test_the_vectors_are_those_of_one_window_at_a_time(encoder, drawn, step):
    lengths, breaks = [n for n, _ in drawn], [at for _, at in drawn]
    source, skipped, seen = Counted(breaks), dict[int, str](), list[int]()
    found = {
        made.number: (made.segments, made.problem)
        for made in video_vectors(
            encoder,
            data_of(source, catalog(lengths)),
            skipped=skipped,
            step=step,
            progress=seen.append,
        )
    }
    assert list(found) == sorted(found)
    assert set(found) | set(skipped) == set(range(len(lengths)))
    assert not set(found) & set(skipped)
    assert seen == sorted(seen)
    assert seen[-1] == len(lengths)
    for video, (frames, at) in enumerate(drawn):
        expected = one_by_one(encoder, source, video, frames, step or SPAN)
        if not expected:
            assert skipped[video] == f"an error at {at}"
            continue
        one, problem = found[video]
        assert [(row.first_frame, row.first_frame + row.frames) for row in one] == [
            (start, stop) for start, stop, _ in expected
        ]
        np.testing.assert_allclose(one.vector, np.stack([vector for *_, vector in expected]), atol=1e-5)
        last = expected[-1][1]
        assert problem == ("" if last == frames else f"an error at {at}")


def test_a_long_video_is_read_in_pieces(encoder):
    """At most ``WINDOWS`` windows are asked for at once, and one that fails once only is asked for again."""
    asked: list[int] = []

    class Once(Counted):
        failed = False

        def read(self, video: int, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
            asked.append(len(indices))
            if len(indices) == 4 * WINDOWS and not Once.failed:
                Once.failed = True
                raise VideoError("v0", "once")
            return super().read(video, indices)

    frames = 5 * WINDOWS * SPAN
    (made,) = video_vectors(encoder, data_of(Once([frames]), catalog([frames])), skipped={}, threads=1)
    assert len(made.segments.vector) == 5 * WINDOWS
    assert made.problem == ""
    assert max(asked) == 4 * WINDOWS
    assert asked.count(4) == WINDOWS


@given(st.permutations(range(4)))
def test_neighbours_change_no_bit_and_looks_belong_to_their_windows(encoder, order):
    lengths = [7, 5 * SPAN, 3 * SPAN + 1, (WINDOWS + 1) * SPAN]

    def look(video: int, clips_NTHWC: NDArray[np.uint8]) -> list[bytes]:
        return [clip.tobytes() for clip in clips_NTHWC]

    def vectors(numbers: list[int]) -> dict[int, tuple[bytes, tuple[bytes, ...]]]:
        data = data_of(Counted([10_000] * 4), catalog(lengths)).subset(numbers)
        found = list(video_vectors(encoder, data, skipped={}, look=look))
        assert all(len(made.looks) == len(made.segments) for made in found)
        return {numbers[made.number]: (made.segments.vector.tobytes(), made.looks) for made in found}

    together = vectors(list(order))
    assert together == {number: vectors([number])[number] for number in range(4)}


def test_the_encoder_stays_in_its_mode(encoder):
    encoder.train()
    list(video_vectors(encoder, data_of(Counted([99]), catalog([20])), skipped={}))
    assert encoder.training
    encoder.eval()
