"""A cluster that is none: what is sent is pickled and done here, in turn, and workers die as they are told."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import Any

from cacl.cluster.batches import Batch, Job, batches_of, work_off
from cacl.cluster.on_ray import do_batch


class Pretend:
    """In the place of ``Cluster``.

    Args:
        deaths: how many workers die, each when it has done half of its batch.
        killers: keys of jobs that end every worker.
    """

    def __init__(self, *, deaths: int = 0, killers: Sequence[str] = ()) -> None:
        self.deaths, self.killers = deaths, killers
        self.done: list[str] = []

    def __enter__(self) -> Pretend:
        return self

    def __exit__(self, *ended: object) -> None:
        pass

    def do(
        self,
        task: Callable[[Sequence[Any]], Any],
        jobs: Sequence[Job[Any]],
        *,
        sees: Sequence[Path],
        kept: Callable[[], Set[str]],
        take: Callable[[Any], None] = lambda answer: None,
        gpu: bool = False,
        done: Callable[[Sequence[str]], None],
    ) -> list[Job[Any]]:
        """See ``Cluster``."""
        self._task, self._sees, self._take = task, sees, take
        self._sent: list[Batch[Any]] = []
        return work_off(batches_of(jobs, 2), self, kept=kept, done=done)

    def places(self) -> int:
        return 4

    def send(self, batch: Batch[Any]) -> int:
        self._sent.append(pickle.loads(pickle.dumps(batch)))
        return len(self._sent) - 1

    def next(self, sent: Sequence[int]) -> tuple[int, bool]:
        batch, dies = self._sent[sent[0]], self.deaths > 0
        self.deaths -= dies
        if any(job.key in self.killers for job in batch):
            return sent[0], False
        some = batch[: len(batch) // 2] if dies else batch
        told = do_batch(pickle.loads(pickle.dumps(self._task)), [job.what for job in some], self._sees)
        assert (told.missing, told.error, told.system) == ("", "", ())
        self.done += [job.key for job in some]
        if not dies:
            self._take(pickle.loads(pickle.dumps(told.answer)))
        return sent[0], not dies
