"""Sharing work out, with workers that are made up: the longest first, nothing lost, and who kills is found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cacl.cluster.batches import TRIES, Batch, Job, batches_of, work_off


def jobs(costs: Sequence[int]) -> list[Job[None]]:
    return [Job(f"{number:04}", cost, None) for number, cost in enumerate(costs)]


class Made:
    """One worker that does what is sent first, and dies as it is told."""

    def __init__(self, killers: set[str], by_chance: Sequence[bool] = ()) -> None:
        self.killers, self.by_chance = killers, list(by_chance)
        self.kept: set[str] = set()
        self.tried: dict[str, int] = {}
        self.sent: list[Batch[None]] = []

    def places(self) -> int:
        return 3

    def send(self, batch: Batch[None]) -> int:
        self.sent.append(batch)
        return len(self.sent) - 1

    def next(self, sent: Sequence[int]) -> tuple[int, bool]:
        assert 1 <= len(sent) <= self.places()
        batch = self.sent[sent[0]]
        unlucky = bool(self.by_chance) and self.by_chance.pop()
        for number, job in enumerate(batch):
            self.tried[job.key] = self.tried.get(job.key, 0) + 1
            if job.key in self.killers or (unlucky and number == len(batch) // 2):
                return sent[0], False
            self.kept.add(job.key)
        return sent[0], True


@given(st.lists(st.integers(0, 10_000), max_size=60), st.integers(1, 9))
def test_every_job_once_the_most_costly_first(costs: list[int], workers: int):
    all_of_them = jobs(costs)
    found = batches_of(all_of_them, workers)
    assert sorted(job.key for batch in found for job in batch) == [job.key for job in all_of_them]
    in_turn = [max(job.cost, 1) for batch in found for job in batch]
    assert in_turn == sorted(in_turn, reverse=True)
    whole = sum(max(cost, 1) for cost in costs)
    for batch in found:
        assert len(batch) == 1 or sum(max(job.cost, 1) for job in batch) <= whole / (16 * workers)


@given(
    st.lists(st.integers(1, 100), min_size=1, max_size=30),
    st.sets(st.integers(0, 29), max_size=3),
    st.lists(st.booleans(), max_size=2),
)
def test_nothing_is_lost_and_only_who_kills_is_given_up(costs: list[int], killers: set[int], chance: list[bool]):
    all_of_them = jobs(costs)
    bad = {job.key for number, job in enumerate(all_of_them) if number in killers}
    workers, done = Made(bad, chance), list[str]()
    given_up = work_off(batches_of(all_of_them, 2), workers, kept=lambda: workers.kept, done=done.extend)
    assert {job.key for job in given_up} == bad
    assert workers.kept == {job.key for job in all_of_them} - bad
    assert sorted(done) == sorted(workers.kept), "each once"
    for key in bad:
        assert TRIES <= workers.tried[key] <= TRIES + 3


def test_what_a_dead_worker_kept_is_not_done_again():
    all_of_them = jobs([1] * 5)
    workers = Made(set(), [True])
    work_off([tuple(all_of_them)], workers, kept=lambda: workers.kept, done=lambda keys: None)
    assert workers.tried == {"0000": 1, "0001": 1, "0002": 2, "0003": 1, "0004": 1}


def test_a_long_tail_ends_together():
    """Lengths drawn log-normal over eight workers: the end is within a tenth of the even share."""
    lengths = np.random.default_rng(0).lognormal(5, 1, 2000).astype(int).tolist()
    ends = np.zeros(8)
    for batch in batches_of(jobs(lengths), 8):
        ends[ends.argmin()] += sum(job.cost for job in batch)
    assert ends.max() <= 1.1 * ends.mean()
