"""What CACL asks to be read for a sample: frames, a permutation, and the class of its degree."""

from __future__ import annotations

import numpy as np
import pytest

from cacl.data.clips.shuffle import degree_class, shuffle_degree
from cacl.data.randomness import generator


@pytest.mark.parametrize(("sampling", "degrees"), [("uniform", 16), ("permutation", 4), ("subset", 8)])
def test_plan(sampling, degrees, make_method):
    """Frames in the video, a permutation, and the class of its own degree."""
    method, seen = make_method(pairs=(), degree_sampling=sampling), set()
    for i in range(120):
        plan = method.plan(50, generator(0, "test", i))
        permutation = plan.targets["permutation"]
        degree = int(plan.targets["degree"])
        assert degree == degree_class(shuffle_degree(permutation))
        assert np.all(np.diff(plan.clips[0]) == 2)
        assert plan.clips[0].max() < 50
        seen.add(degree)
    assert len(seen) >= degrees
    same = [method.plan(50, generator(0, "test", 7)).targets["permutation"].tolist() for _ in range(2)]
    assert same[0] == same[1]


def test_plan_of_two_moments_and_of_no_twin(make_method):
    plan = make_method(moments=2).plan(200, generator(0, "test", 1))
    assert [len(clip) for clip in plan.clips] == [16, 16]
    assert plan.clips[0][0] != plan.clips[1][0]
    assert make_method(twin=False, pairs=("gq_gk",), degree_weight=0).plan(40, generator(0, "test", 1)).targets == {}


def test_start_window_leaves_out_late_starts(make_method):
    method = make_method(pairs=(), twin=False, start_window=46)
    starts = {int(method.plan(48, generator(0, "test", i)).clips[0][0]) for i in range(40)}
    assert starts == {0, 1, 2}
