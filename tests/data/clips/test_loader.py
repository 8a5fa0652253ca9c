from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cacl.data.clips.batch import ClipBatch
from cacl.data.clips.loader import ClipLoader, Failure
from cacl.data.clips.sampling import ClipPlan, training_clip
from cacl.data.randomness import generator
from cacl.errors import UserError, VideoError


class FakeVideos:
    """Frames whose pixels say which video and frame they are; some videos fail; reading takes uneven time."""

    height, width = 2, 3

    def __init__(self, bad: Iterable[int] = (), *, slow: bool = False) -> None:
        self.bad, self.slow = set(bad), slow
        self.reads: list[int] = []
        self.threads: set[int] = set()

    def read(self, video: int, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        self.reads.append(video)
        self.threads.add(threading.get_ident())
        if self.slow:
            time.sleep(0.001 * (video % 5))
        if video in self.bad:
            raise VideoError(f"{video}.mp4", "breaks off after frame 3")
        frames = np.zeros((len(indices), 2, 3, 3), np.uint8)
        frames[..., 0], frames[..., 1] = video, indices[:, None, None]
        return frames


def plan(n_frames: int, rng: np.random.Generator) -> ClipPlan:
    frames = training_clip(n_frames, rng, moments=2)
    return ClipPlan(tuple(frames), {"permutation": rng.permutation(16), "degree": rng.integers(16, size=())[...]})


LENGTHS = [20 + 3 * i for i in range(23)]


def loader(source: FakeVideos | None = None, **settings: Any) -> ClipLoader:
    made: dict[str, Any] = {"seed": 0, "batch_size": 4, **settings}
    return ClipLoader(source or FakeVideos(), LENGTHS, plan, **made)


def same(a: ClipBatch, b: ClipBatch) -> bool:
    pairs = [(a.video, b.video), (a.sample, b.sample), *zip(a.clips, b.clips, strict=True)]
    pairs += [(a.targets[name], b.targets[name]) for name in b.targets]
    return (a.epoch, a.step) == (b.epoch, b.step) and all(torch.equal(x, y) for x, y in pairs)


def test_a_batch_holds_what_the_plan_of_its_sample_says() -> None:
    batches = list(loader().epoch(3))
    assert len(batches) == loader().steps_per_epoch == 5
    for batch in batches:
        assert [clip.shape for clip in batch.clips] == [(4, 16, 2, 3, 3)] * 2
        for b in range(4):
            sample, video = int(batch.sample[b]), int(batch.video[b])
            assert sample == video
            wanted = plan(LENGTHS[video], generator(0, "clip", 3, sample))
            for clip, indices in zip(batch.clips, wanted.clips, strict=True):
                assert (clip[b, ..., 0] == video).all()
                assert (clip[b, :, 0, 0, 1].numpy() == indices).all()
            assert (batch.targets["permutation"][b].numpy() == wanted.targets["permutation"]).all()
            assert batch.targets["degree"][b] == int(wanted.targets["degree"])


def test_an_epoch_visits_every_video_once_in_a_fresh_order() -> None:
    orders = [torch.cat([b.video for b in loader(drop_last=False).epoch(e)]).tolist() for e in (0, 1, 0)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(23))
    assert orders[0] == orders[2] != orders[1]
    assert [len(b) for b in loader(drop_last=False).epoch(0)] == [4, 4, 4, 4, 4, 3]


def test_several_samples_a_video_are_passes_of_their_own() -> None:
    long = loader(samples_per_video=3, batch_size=23)
    batches = list(long.epoch(0))
    assert len(batches) == long.steps_per_epoch == 3
    assert all(sorted(b.video.tolist()) == list(range(23)) for b in batches)
    assert sorted(torch.cat([b.sample for b in batches]).tolist()) == list(range(69))
    assert not torch.equal(batches[0].video, batches[1].video)
    starts = [{int(v): int(f) for v, f in zip(b.video, b.clips[0][:, 0, 0, 0, 1], strict=True)} for b in batches]
    assert starts[0] != starts[1], "each pass takes clips of its own"


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("ahead", [1, 3, 50])
def test_workers_change_nothing(workers: int, ahead: int) -> None:
    settings: dict[str, Any] = {"samples_per_video": 2}
    plain = list(loader(FakeVideos({7}), **settings).epoch(1))
    source = FakeVideos({7}, slow=True)
    threaded = list(loader(source, workers=workers, batches_ahead=ahead, **settings).epoch(1))
    assert len(plain) == len(threaded)
    assert all(same(a, b) for a, b in zip(plain, threaded, strict=True))
    assert threading.get_ident() not in source.threads
    assert len(source.threads) <= workers


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_can_be_entered_in_the_middle(workers: int) -> None:
    source = FakeVideos({3, 8})
    whole = list(loader(FakeVideos({3, 8})).epoch(2))
    rest = list(loader(source, workers=workers).epoch(2, start_step=3))
    assert len(rest) == 2
    assert all(same(a, b) for a, b in zip(whole[3:], rest, strict=True))
    assert len(source.reads) <= 2 * 4 + 2, "earlier batches are not read"


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_cut_the_global_batch(world: int) -> None:
    whole = list(loader(FakeVideos({5})).epoch(0))
    parts = [list(loader(FakeVideos({5}), rank=r, world=world).epoch(0)) for r in range(world)]
    for step, batch in enumerate(whole):
        mine = [part[step] for part in parts]
        assert all(len(m) == 4 // world for m in mine)
        assert torch.equal(torch.cat([m.clips[1] for m in mine]), batch.clips[1])
        assert torch.equal(torch.cat([m.sample for m in mine]), batch.sample)
        assert torch.equal(torch.cat([m.targets["permutation"] for m in mine]), batch.targets["permutation"])


def test_a_bad_video_is_replaced_and_left_out_from_the_next_epoch() -> None:
    source, told = FakeVideos({2, 9}), []
    it = loader(source, drop_last=False, on_failure=told.append)
    first = list(it.epoch(0))
    assert it.steps_per_epoch == len(first)
    assert {f.video for f in it.failures} == {2, 9} == {f.video for f in told}
    assert all(f.epoch == 0 and f.reason == "breaks off after frame 3" for f in it.failures)
    good = list(loader(drop_last=False).epoch(0))
    for with_bad, without in zip(first, good, strict=True):
        assert torch.equal(with_bad.sample, without.sample)
        for b, video in enumerate(without.video.tolist()):
            if video in (2, 9):
                assert int(with_bad.video[b]) not in (2, 9)
                assert (with_bad.clips[0][b, ..., 0] == with_bad.video[b]).all()
            else:
                assert torch.equal(with_bad.clips[0][b], without.clips[0][b])
    source.reads.clear()
    second = list(it.epoch(1))
    assert not {2, 9} & set(source.reads), "not opened again"
    fresh = list(loader(FakeVideos({2, 9}), drop_last=False).epoch(1))
    assert all(same(a, b) for a, b in zip(second, fresh, strict=True)), "knowing of it changes no sample"
    assert len(told) == 2


def test_replacements_differ_between_samples_and_epochs() -> None:
    bad = set(range(1, 23, 2))
    it = loader(FakeVideos(bad), drop_last=False)
    stood_in = [
        [int(b.video[i]) for b in it.epoch(e) for i in range(len(b)) if int(b.sample[i]) in bad] for e in (0, 1)
    ]
    assert stood_in[0] != stood_in[1]
    assert len(set(stood_in[0])) > 4


def test_failures_of_a_resumed_run_or_another_process_are_left_out() -> None:
    known = [Failure(4, 1, "no frames"), Failure(6, 3, "no frames")]
    source = FakeVideos()
    it = loader(source, drop_last=False, failures=known)
    list(it.epoch(2))
    assert 4 not in source.reads, "known since an earlier epoch"
    assert 6 in source.reads, "found later than this epoch"
    it.leave_out([Failure(6, 1, "seen elsewhere"), Failure(4, 9, "later")])
    assert it.failures == [Failure(4, 1, "no frames"), Failure(6, 1, "seen elsewhere")]


def test_failures_are_reported_with_their_batch_only() -> None:
    bad = [int(v) for v in loader().order(0)[[1, 5, 9]]]
    it = loader(FakeVideos(bad), workers=2, batches_ahead=4)
    batches = it.epoch(0)
    seen = []
    for _ in range(3):
        next(batches)
        seen.append(len(it.failures))
    batches.close()
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("workers", [0, 2])
def test_when_nothing_can_be_read_one_sentence_says_so(workers: int) -> None:
    with pytest.raises(UserError, match=r"23 videos in a row could not be read, .*breaks off after frame 3"):
        next(loader(FakeVideos(range(23)), workers=workers).epoch(0))
    many = ClipLoader(FakeVideos(range(500)), [40] * 500, plan, seed=0, batch_size=2)
    with pytest.raises(UserError, match="100 videos in a row"):
        next(many.epoch(0))


def test_other_errors_are_not_swallowed() -> None:
    class Broken(FakeVideos):
        def read(self, video: int, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
            raise MemoryError("a bug")

    with pytest.raises(MemoryError):
        next(loader(Broken(), workers=2).epoch(0))


def test_reading_ahead_is_bounded_and_stops_with_the_epoch() -> None:
    source = FakeVideos()
    batches = loader(source, workers=2, batches_ahead=1, samples_per_video=4).epoch(0)
    next(batches)
    time.sleep(0.05)
    assert len(source.reads) <= 8, "the batch in hand and one ahead"
    batches.close()
    patience = time.monotonic() + 20
    while [t for t in threading.enumerate() if t.name.startswith("cacl-read")]:
        assert time.monotonic() < patience, "threads outlive their epoch"
        time.sleep(0.01)
    assert len(source.reads) <= 8


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(UserError, match="23 samples an epoch do not fill one batch of 64: lower batch_size"):
        loader(batch_size=64)
    assert loader(batch_size=64, samples_per_video=3).steps_per_epoch == 1
    assert loader(batch_size=64, drop_last=False).steps_per_epoch == 1
    with pytest.raises(UserError, match="list of videos is empty"):
        ClipLoader(FakeVideos(), [], plan, seed=0, batch_size=2)
    with pytest.raises(ValueError, match="not a multiple of the 3 processes"):
        loader(world=3)
    with pytest.raises(ValueError, match="rank below world"):
        loader(rank=1)


def test_batch_checks_itself_and_prints_shapes() -> None:
    batch = next(loader().epoch(0))
    assert repr(batch) == (
        "ClipBatch(epoch 0, step 0, clips [4, 16, 2, 3, 3], [4, 16, 2, 3, 3] uint8, "
        "targets: permutation [4, 16], degree [4])"
    )
    assert same(batch.to("cpu"), batch)
    index = torch.arange(4)
    with pytest.raises(ValueError, match=r"a clip must be uint8 \[4, T, H, W, 3\]"):
        ClipBatch((batch.clips[0].float(),), {}, index, index, 0)
    with pytest.raises(ValueError, match="degree must be"):
        ClipBatch(batch.clips, {"degree": torch.zeros(3, dtype=torch.int64)}, index, index, 0)
    with pytest.raises(ValueError, match="video must be int64"):
        ClipBatch(batch.clips, {}, index.float(), index, 0)
