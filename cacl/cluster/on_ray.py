"""The tasks of a Ray cluster, for whatever is to be done by many.

Ray sends work and says who died, and nothing else: what is done is what a task wrote on a disk that all see, or its
answer. Plain tasks, not Ray Data: its reader takes another decoder and makes a row of every frame, and its checkpoints
know no file of many rows.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from cacl import __version__
from cacl.cluster.batches import Batch, Job, batches_of, work_off
from cacl.errors import UserError
from cacl.extras import install_extra
from cacl.machine.load import usable_processors

What = TypeVar("What")
Answer = TypeVar("Answer")
Say = Callable[[str], None]


class Cluster:
    """A cluster that was reached, or one of this machine for as long as it is entered.

    Args:
        address: as Ray takes it (``auto``, ``HOST:6379``, ``ray://HOST:10001``); ``None``: one is started here.
        say: told what is unusual.

    Raises:
        UserError: no Ray; on entering no cluster, or one of another version.
    """

    def __init__(self, address: str | None, say: Say) -> None:
        try:
            import ray
        except ImportError as error:
            raise UserError(
                f"--engine ray needs Ray, which is not installed ({error}): {install_extra('ray')}."
            ) from None
        self._ray: Any = ray
        self._address, self._say = address, say

    def __enter__(self) -> Cluster:
        more: dict[str, Any] = {"address": self._address}
        if self._address is None:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
            cores = len(usable_processors())
            more = {"address": "local", "num_cpus": cores, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        try:
            self._ray.init(log_to_driver=False, logging_level="ERROR", **more)
        except Exception as error:  # Ray raises what it likes, a bare Exception where a start takes too long
            text = " ".join(str(error).split())
            where = self._address or "on this machine"
            if "ersion mismatch" in text:
                raise UserError(
                    f"The Ray cluster {where} has another version of Ray or Python ({text[:200]}): "
                    "install the same on both."
                ) from None
            raise UserError(
                f"The Ray cluster {where} cannot be reached or started ({text[:200]}): "
                "check --address, and that it runs."
            ) from None
        return self

    def __exit__(self, *ended: object) -> None:
        self._ray.shutdown()

    def do(
        self,
        task: Callable[[Sequence[What]], Answer],
        jobs: Sequence[Job[What]],
        *,
        sees: Sequence[Path],
        kept: Callable[[], Set[str]],
        take: Callable[[Answer], None] = lambda answer: None,
        gpu: bool = False,
        done: Callable[[Sequence[str]], None],
    ) -> list[Job[What]]:
        """Have jobs done, the most costly first, small ones together, each batch by one task.

        Args:
            task: called in a worker with what is to be done; pickled, as are its argument and its answer.
            jobs: what is to be done.
            sees: what must be there on every machine.
            kept: keys of what is done by now; asked after a death.
            take: called with what a task answered.
            gpu: a task takes a GPU, not a processor.
            done: called with the keys of jobs that are done.

        Returns:
            Those that were given up, see ``work_off``.

        Raises:
            UserError: of a worker: it does not see a folder, has another cacl, or raised it.
            OSError: of a worker, as it raised it.
        """
        tasks = _Tasks(self._ray, task, sees, gpu, take, self._say)
        self._say(f"On Ray with {tasks.places() // 2} tasks at once.")
        return work_off(batches_of(jobs, tasks.places() // 2), tasks, kept=kept, done=done)


@dataclass(frozen=True)
class _Told:
    """What a task says."""

    node: str
    version: str
    missing: str = ""
    error: str = ""
    system: tuple[Any, ...] = ()  # of an OSError
    answer: Any = None


class _Tasks:
    """See ``Workers``. Twice as many tasks are under way as there are places, so that no place waits for the next."""

    def __init__(
        self,
        ray: Any,
        task: Callable[..., Answer],
        sees: Sequence[Path],
        gpu: bool,
        take: Callable[[Answer], None],
        say: Say,
    ) -> None:
        self._ray, self._sees, self._take, self._say = ray, list(sees), take, say
        self._kind = "GPU" if gpu else "CPU"
        needs = {"num_gpus": 1} if gpu else {"num_cpus": 1}
        self._do, self._task = ray.remote(max_retries=0, **needs)(do_batch), ray.put(task)

    def places(self) -> int:
        """See ``Workers``; machines may come and go."""
        return 2 * max(int(self._ray.cluster_resources().get(self._kind, 0)), 1)

    def send(self, batch: Batch[Any]) -> Any:
        """See ``Workers``."""
        return self._do.remote(self._task, [job.what for job in batch], self._sees)

    def next(self, sent: Sequence[Any]) -> tuple[Any, bool]:
        """See ``Workers``."""
        from ray.exceptions import RayError, RayTaskError

        (one, *_), _ = self._ray.wait(list(sent), num_returns=1)
        try:
            told: _Told = self._ray.get(one)
        except RayTaskError as error:
            if "No module named" in str(error):
                raise UserError("A worker of the Ray cluster has no cacl: install the same version there.") from None
            raise
        except RayError as error:
            self._say(f"A worker died ({type(error).__name__}): what it had open is tried again.")
            return one, False
        if told.missing:
            raise UserError(
                f"The worker on {told.node} does not see {told.missing}: it must lie on a disk that all machines of "
                "the cluster have at the same place."
            )
        if told.version != __version__:
            raise UserError(
                f"The worker on {told.node} has cacl {told.version}, this is {__version__}: install the same."
            )
        if told.system:
            raise OSError(*told.system)
        if told.error:
            raise UserError(f"The worker on {told.node}: {told.error}")
        self._take(told.answer)
        return one, True


def do_batch(task: Callable[[Sequence[Any]], Any], whats: Sequence[Any], sees: Sequence[Path]) -> _Told:
    """What happens in a worker."""
    told = _Told(platform.node(), __version__)
    try:
        for place in sees:
            if not place.exists():
                return replace(told, missing=str(place))
        return replace(told, answer=task(whats))
    except UserError as error:
        return replace(told, error=str(error))
    except OSError as error:
        return replace(told, system=(error.errno, error.strerror or str(error), error.filename))
