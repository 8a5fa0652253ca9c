"""Work shared among processes: each gets every video's result, in order, as one process does, to the last bit."""

from __future__ import annotations

import pytest
import torch
from array_videos import clip_of, data_of
from torch import nn

from cacl.distributed.processes import rank
from cacl.errors import UserError
from cacl.evaluation.baselines import video_baselines
from cacl.evaluation.embed import video_features


class Network(nn.Module):
    """A convolution with BatchNorm in evaluation mode; counts the clips that it saw."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv3d(3, 5, 3, padding=1), nn.BatchNorm3d(5), nn.ReLU())
        self.clips = 0

    def forward_features(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        self.clips += len(x_BCTHW)
        out: torch.Tensor = self.layers(x_BCTHW)
        return out


@pytest.mark.parametrize("broken", [(), (1, 4, 5, 6, 7)])
def test_features_and_baselines_are_those_of_one_process(in_processes, make_videos, broken):
    source, videos = make_videos(count=11, broken=broken)

    def work():
        network = Network()
        found = video_features(network, data_of(source, videos), clip_of(14), clips=3, batch_size=4)
        base = video_baselines(data_of(source, videos))
        tensors = [found.features, found.kept, base.histogram, base.thumbnail, base.kept]
        skipped = [[s.path, s.reason] for s in (*found.skipped, *base.skipped)]
        return {"all": [torch.from_numpy(x) for x in tensors], "skipped": skipped, "clips": network.clips}

    (one,) = in_processes(1, work)
    assert one["all"][1].tolist() == [i for i in range(11) if i not in broken]
    assert one["clips"] == 3 * (11 - len(broken))
    for count in (2, 4):
        several = in_processes(count, work)
        assert sum(found["clips"] for found in several) == one["clips"]  # no video twice
        for found in several:
            assert found["skipped"] == one["skipped"]
            assert all(torch.equal(a, b) for a, b in zip(found["all"], one["all"], strict=True))


def test_more_processes_than_videos_and_none_that_can_be_read(in_processes, make_videos):
    source, videos = make_videos(count=3, broken=(0, 1))

    def work():
        with pytest.raises(UserError, match="None of 2 videos could be read"):
            video_features(Network(), data_of(source, videos[:2]), clip_of(14), clips=2)
        kept = video_features(Network(), data_of(source, videos).subset([2]), clip_of(14), clips=2).kept
        return [rank(), kept.tolist()]

    assert in_processes(3, work) == [[0, [0]], [1, [0]], [2, [0]]]


def test_progress_reaches_the_number_of_videos(in_processes, make_videos):
    source, videos = make_videos(count=7)

    def work():
        done: list[int] = []
        video_baselines(data_of(source, videos), progress=done.append)
        return done

    assert in_processes(1, work) == [[1, 2, 3, 4, 5, 6, 7]]
    shared = in_processes(2, work)[0]
    assert shared == sorted(shared)
    assert shared[-1] == 7
