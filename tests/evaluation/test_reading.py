from __future__ import annotations

import threading

import numpy as np
import pytest
from array_videos import data_of

from cacl.errors import UserError, VideoError
from cacl.evaluation.reading import read_ahead, read_clips, read_videos


@pytest.mark.parametrize("threads", [1, 4])
def test_order_is_kept(make_videos, threads):
    source, _ = make_videos(count=2)
    pairs = list(read_ahead(source, range(50), lambda own, i: i * i, threads=threads))
    assert pairs == [(i, i * i) for i in range(50)]


def test_a_video_error_is_handed_over_and_any_other_is_raised(make_videos):
    source, _ = make_videos(count=2, broken=(1,))
    results = list(read_ahead(source, [0, 1], lambda own, i: own.read(i, np.array([0]))))
    assert isinstance(results[1][1], VideoError)
    with pytest.raises(ZeroDivisionError):
        list(read_ahead(source, [0], lambda own, i: 1 // 0))


def test_no_two_threads_share_a_source(make_videos):
    source, _ = make_videos(count=1)
    seen: dict[int, set[int]] = {}
    barrier = threading.Barrier(3, timeout=20)

    def read(own, i):
        barrier.wait()
        seen.setdefault(id(own), set()).add(threading.get_ident())

    list(read_ahead(source, range(9), read, threads=3))
    assert all(len(users) == 1 for users in seen.values())
    assert id(source) not in seen


def test_stopping_early_ends_the_threads(make_videos):
    source, _ = make_videos(count=1)
    before = set(threading.enumerate())
    iterator = read_ahead(source, range(100), lambda own, i: i)
    assert next(iterator) == (0, 0)
    iterator.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()


def test_clips_are_gathered_from_frames_read_once(make_videos):
    source, _ = make_videos(count=1)
    asked = []
    original = source.read
    source.read = lambda video, indices: asked.append(indices) or original(video, indices)
    plan = np.array([[0, 2, 4], [4, 2, 9]], np.int64)
    np.testing.assert_array_equal(read_clips(source, 0, plan), source.videos[0][plan])
    assert [a.tolist() for a in asked] == [[0, 2, 4, 9]]


def test_failures_are_collected_with_the_paths(make_videos):
    source, videos = make_videos(count=3, broken=(0, 2))
    skipped, done = [], []
    read = read_videos(
        data_of(source, videos), lambda own, n: own.read(n, np.array([0])), skipped=skipped, progress=done.append
    )
    assert [position for position, _ in read] == [1]
    assert [s.path for s in skipped] == ["v0.mp4", "v2.mp4"]
    assert done == [1, 2, 3]


def test_no_videos_at_all_are_a_user_error(make_videos):
    source, _ = make_videos(count=1)
    with pytest.raises(UserError, match="None of 0"):
        list(read_videos(data_of(source, []), lambda own, n: 0, skipped=[]))
