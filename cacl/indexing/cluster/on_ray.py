"""``cacl index --engine ray``: the same parts as of one process, made by the tasks of a Ray cluster.

Ray sends work and says who died, and nothing else: what is done is what lies in the parts, on a disk that all see, so
a result depends on Ray as little as resuming does. Plain tasks, not Ray Data: its reader takes another decoder and
makes a row of every frame, and its checkpoints know no file of many rows.
"""

from __future__ import annotations

import os
import platform
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cacl import __version__
from cacl.errors import UserError, counted
from cacl.indexing.changes import Entry
from cacl.indexing.cluster.batches import DIED, Batch, batches_of, work_off
from cacl.indexing.embedding_run import Progress, Speed, Work, embed_entries
from cacl.indexing.journal import read_parts, write_part
from cacl.indexing.known import Looked
from cacl.indexing.layout import ENCODER, POINTER, SHARDS
from cacl.lock import FolderLock
from cacl.machine.load import usable_processors
from cacl.models.clip_encoder import ClipEncoder

_own = uuid.uuid4().hex[:8]  # of this process: its parts lie in a folder of its own
_encoders: dict[str, ClipEncoder] = {}


def embed_on_ray(
    root: Path,
    entries: Sequence[Entry],
    work: Work,
    looked: Mapping[str, Looked],
    *,
    address: str | None,
    say: Callable[[str], None],
    progress: Progress,
) -> Speed:
    """As ``embed_entries``, by the tasks of a cluster.

    Args:
        address: of the cluster, as Ray takes it (``auto``, ``HOST:6379``, ``ray://HOST:10001``); ``None``: one is
            started on this machine, for the time of this call.

    Raises:
        UserError: no Ray, no cluster, one of another version, a worker that does not see the folders, or something that
            cannot be written.
    """
    began, index = time.monotonic(), work.index.absolute()
    with FolderLock(_folder(index)):  # what was looked at is kept, whatever comes
        write_part(_folder(index), request=work.request, made={}, failed={}, looked=looked)
    light = replace(work, index=index, parts=index, encoder=None)  # type: ignore[arg-type]  # each loads its own
    with _Cluster(address) as cluster:
        tasks = _Tasks(cluster.ray, root.absolute(), light, looked, str(work.encoder.device), say)

        def kept() -> set[str]:
            journal = read_parts((index / SHARDS).glob("*"), request=work.request)
            return {*journal.made, *journal.failed}

        say(f"On Ray with {tasks.places() // 2} tasks at once.")
        given_up = work_off(
            batches_of(entries, tasks.places() // 2),
            tasks,
            kept=kept,
            progress=lambda done: progress("videos embedded", done, len(entries)),
        )
    if given_up:
        with FolderLock(_folder(index)):
            failed = {entry.key: DIED for entry in given_up}
            write_part(_folder(index), request=work.request, made={}, failed=failed, looked={})
        say(f"{counted(len(given_up), 'video')} ended every process that read them (first {given_up[0].video.path}).")
    hours = sum(entry.video.frames / entry.video.fps for entry in entries if entry.video.fps > 0) / 3600
    return Speed(len(entries), hours, time.monotonic() - began)


class _Cluster:
    """A cluster that was reached, or one of this machine."""

    def __init__(self, address: str | None) -> None:
        try:
            import ray
        except ImportError as error:
            raise UserError(
                f"--engine ray needs Ray, which is not installed ({error}): pip install 'cacl[ray]'."
            ) from None
        self.ray: Any = ray
        self._address = address

    def __enter__(self) -> _Cluster:
        more: dict[str, Any] = {"address": self._address}
        if self._address is None:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
            cores = len(usable_processors())
            more = {"address": "local", "num_cpus": cores, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        try:
            self.ray.init(log_to_driver=False, logging_level="ERROR", **more)
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
        self.ray.shutdown()


@dataclass(frozen=True)
class _Told:
    """What a task says."""

    node: str
    missing: str = ""
    version: str = ""
    error: str = ""


class _Tasks:
    """See ``Workers``. Twice as many tasks are under way as there are places, so that no place waits for the next."""

    def __init__(
        self, ray: Any, root: Path, work: Work, looked: Mapping[str, Looked], device: str, say: Callable[[str], None]
    ) -> None:
        self._ray, self._root, self._work, self._looked, self._say = ray, root, work, looked, say
        self._kind = "GPU" if device.startswith("cuda") else "CPU"
        needs = {"num_gpus": 1} if self._kind == "GPU" else {"num_cpus": 1}
        self._device = "cuda" if self._kind == "GPU" else device
        self._task = ray.remote(max_retries=0, **needs)(embed_batch)

    def places(self) -> int:
        """See ``Workers``; machines may come and go."""
        return 2 * max(int(self._ray.cluster_resources().get(self._kind, 0)), 1)

    def send(self, batch: Batch) -> Any:
        """See ``Workers``."""
        looked = {entry.video.path: self._looked[entry.video.path] for entry in batch}
        return self._task.remote(self._root, batch, self._work, looked, self._device)

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
                f"The worker on {told.node} does not see {told.missing}: videos and index must lie on a disk that all "
                "machines of the cluster have at the same place."
            )
        if told.version != __version__:
            raise UserError(
                f"The worker on {told.node} has cacl {told.version}, this is {__version__}: install the same."
            )
        if told.error:
            raise UserError(f"The worker on {told.node}: {told.error}")
        return one, True


def embed_batch(root: Path, batch: Batch, work: Work, looked: Mapping[str, Looked], device: str) -> _Told:
    """What a task does: some videos, part by part, in a folder of the process's own."""
    told = _Told(platform.node(), version=__version__)
    for place in (root, work.index / POINTER):
        if not place.exists():
            return replace(told, missing=str(place))
    from cacl.models.load import load_encoder

    encoder = str(work.index / ENCODER)
    try:
        if encoder not in _encoders:
            _encoders.clear()
            _encoders[encoder] = load_encoder(encoder).to(device)
        parts = _folder(work.index)
        own = replace(work, parts=parts, encoder=_encoders[encoder])
        with FolderLock(parts):
            embed_entries(root, batch, own, looked, say=lambda text: None, progress=lambda what, done, total: None)
    except UserError as error:
        return replace(told, error=str(error))
    return told


def _folder(index: Path) -> Path:
    """Where this process keeps its parts."""
    folder = index / SHARDS / f"{platform.node()}-{os.getpid()}-{_own}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
