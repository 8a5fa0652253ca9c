"""Sharing work out, with workers that are made up: the longest first, nothing lost, and who kills is found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cacl.data.videos.catalog import Video
from cacl.indexing.changes import Entry
from cacl.indexing.cluster.batches import TRIES, Batch, batches_of, work_off


def entries(lengths: Sequence[int]) -> list[Entry]:
    return [
        Entry(f"{number:04}", Video(f"v{number}.mp4", f"v{number}", None, None, length, 25.0, 10, 10))
        for number, length in enumerate(lengths)
    ]


class Made:
    """One worker that does what is sent first, and dies as it is told."""

    def __init__(self, killers: set[str], by_chance: Sequence[bool] = ()) -> None:
        self.killers, self.by_chance = killers, list(by_chance)
        self.kept: set[str] = set()
        self.tried: dict[str, int] = {}
        self.sent: list[Batch] = []

    def places(self) -> int:
        return 3

    def send(self, batch: Batch) -> int:
        self.sent.append(batch)
        return len(self.sent) - 1

    def next(self, sent: Sequence[int]) -> tuple[int, bool]:
        assert 1 <= len(sent) <= self.places()
        batch = self.sent[sent[0]]
        unlucky = bool(self.by_chance) and self.by_chance.pop()
        for number, entry in enumerate(batch):
            self.tried[entry.key] = self.tried.get(entry.key, 0) + 1
            if entry.key in self.killers or (unlucky and number == len(batch) // 2):
                return sent[0], False
            self.kept.add(entry.key)
        return sent[0], True


@given(st.lists(st.integers(0, 10_000), max_size=60), st.integers(1, 9))
def test_every_video_once_the_most_costly_first(lengths: list[int], workers: int):
    all_of_them = entries(lengths)
    found = batches_of(all_of_them, workers)
    assert sorted(entry.key for batch in found for entry in batch) == [entry.key for entry in all_of_them]
    costs = [entry.video.frames for batch in found for entry in batch]
    assert costs == sorted(costs, reverse=True)
    whole = max(sum(max(100 * length, 1) for length in lengths), 1)
    for batch in found:
        cost = sum(max(100 * entry.video.frames, 1) for entry in batch)
        assert len(batch) == 1 or cost <= whole / (16 * workers)


@given(
    st.lists(st.integers(1, 100), min_size=1, max_size=30),
    st.sets(st.integers(0, 29), max_size=3),
    st.lists(st.booleans(), max_size=2),
)
def test_nothing_is_lost_and_only_who_kills_is_given_up(lengths: list[int], killers: set[int], chance: list[bool]):
    all_of_them = entries(lengths)
    bad = {entry.key for number, entry in enumerate(all_of_them) if number in killers}
    workers, done = Made(bad, chance), list[int]()
    given_up = work_off(batches_of(all_of_them, 2), workers, kept=lambda: workers.kept, progress=done.append)
    assert {entry.key for entry in given_up} == bad
    assert workers.kept == {entry.key for entry in all_of_them} - bad
    assert done == sorted(done)
    assert done[-1] == len(all_of_them)
    for key in bad:
        assert TRIES <= workers.tried[key] <= TRIES + 3


def test_what_a_dead_worker_kept_is_not_done_again():
    all_of_them = entries([1] * 5)
    workers = Made(set(), [True])
    work_off([tuple(all_of_them)], workers, kept=lambda: workers.kept, progress=lambda done: None)
    assert workers.tried == {"0000": 1, "0001": 1, "0002": 2, "0003": 1, "0004": 1}


def test_a_long_tail_ends_together():
    """Lengths drawn log-normal over eight workers: the end is within a tenth of the even share."""
    lengths = np.random.default_rng(0).lognormal(5, 1, 2000).astype(int).tolist()
    ends = np.zeros(8)
    for batch in batches_of(entries(lengths), 8):
        ends[ends.argmin()] += sum(entry.video.frames for entry in batch)
    assert ends.max() <= 1.1 * ends.mean()
