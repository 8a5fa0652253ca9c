"""``cacl index --engine ray``: the same parts as of one process, made by the tasks of a Ray cluster.

What is done is what lies in the parts, on a disk that all see, so a result depends on Ray as little as resuming does.
"""

from __future__ import annotations

import os
import platform
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from cacl.cluster.batches import TRIES, Job
from cacl.cluster.on_ray import Cluster
from cacl.errors import counted
from cacl.indexing.changes import Entry
from cacl.indexing.cluster.ranges import forget_previews, joined_ranges, may_be_read, ranges_of
from cacl.indexing.embedding_run import Progress, Speed, Work, embed_entries
from cacl.indexing.journal import Journal, read_parts, write_part
from cacl.indexing.known import Looked
from cacl.indexing.layout import ENCODER, POINTER, SHARDS
from cacl.lock import FolderLock
from cacl.models.clip_encoder import ClipEncoder

DIED = f"the process that decoded it died {TRIES} times"  # as of LOST: another run tries again
_own = uuid.uuid4().hex[:8]  # of this worker: its parts lie in a folder of its own
_encoders: dict[str, ClipEncoder] = {}
What = tuple[Entry, Looked]


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
    """As ``embed_entries``, by the tasks of a cluster, which share long videos.

    Args:
        address: of the cluster, see ``Cluster``.

    Raises:
        UserError: no Ray, no cluster, one of another version, a worker that does not see the folders, or something that
            cannot be written.
    """
    began, index = time.monotonic(), work.index.absolute()
    parts = _folder(index, uuid.uuid4().hex[:8])
    with FolderLock(parts):  # what was looked at is kept, whatever comes
        write_part(parts, request=work.request, made={}, failed={}, looked=looked)
    cut = {entry.key: ranges for entry in entries if (ranges := ranges_of(entry, work.encoder.clip, work.step))}
    owner = {one.key: entry.key for entry in entries for one in cut.get(entry.key, [entry])}
    left, ready = Counter(owner.values()), 0
    light = replace(work, index=index, parts=index, encoder=None)  # type: ignore[arg-type]  # each loads its own

    def done(keys: Sequence[str]) -> None:
        nonlocal ready
        for video in (owner[key] for key in keys if key in owner):
            left[video] -= 1
            ready += left[video] == 0
        progress("videos embedded", ready, len(entries))

    with Cluster(address, say) as cluster:
        gpu = work.encoder.device.type == "cuda"
        task = partial(embed_batch, root.absolute(), light, "cuda" if gpu else str(work.encoder.device))

        def given_up(some: Sequence[Entry]) -> set[str]:
            jobs = [Job(entry.key, _cost(entry), (entry, looked[entry.video.path])) for entry in some]
            sees, kept = [root.absolute(), index / POINTER], partial(_kept, index, work.request)
            lost = cluster.do(task, jobs, sees=sees, kept=kept, gpu=gpu, done=done) if jobs else []
            return {job.key for job in lost}

        before = _kept(index, work.request)  # of a run that was stopped
        ranges = [one for some in cut.values() for one in some]
        done([one.key for one in ranges if one.key in before])
        ranges = [one for one in ranges if one.key not in before]
        lost = {owner[key] for key in given_up([*(entry for entry in entries if entry.key not in cut), *ranges])}
        whole = _join(parts, index, work, [entry for entry in entries if entry.key in cut.keys() - lost], cut)
        if whole:
            say(f"{counted(len(whole), 'long video')} cannot be cut into ranges (first {whole[0].video.path}).")
        lost |= given_up(whole)
    if lost:
        with FolderLock(parts):
            write_part(parts, request=work.request, made={}, failed=dict.fromkeys(lost, DIED), looked={})
        first = next(entry.video.path for entry in entries if entry.key in lost)
        say(f"{counted(len(lost), 'video')} ended every process that read them (first {first}).")
    found = _journal(index, work.request)
    bad = {entry.key: found.failed.get(entry.key, DIED) for entry in entries if entry.key not in found.made}
    return Speed.of(entries, bad, seconds=time.monotonic() - began)


def _join(
    parts: Path, index: Path, work: Work, entries: Sequence[Entry], cut: Mapping[str, Sequence[Entry]]
) -> list[Entry]:
    """Make videos of their ranges, as parts; those of which that is not possible."""
    if not entries:
        return []
    made, whole = _journal(index, work.request).made, list[Entry]()
    for entry in entries:
        piece = joined_ranges(index, entry, cut[entry.key], made, previews=work.previews)
        if piece is None:
            whole.append(entry)
        else:
            with FolderLock(parts):
                write_part(parts, request=work.request, made={entry.key: piece}, failed={}, looked={})
        forget_previews(index, cut[entry.key])
    return whole


def embed_batch(root: Path, work: Work, device: str, whats: Sequence[What]) -> None:
    """What a task does: some videos and ranges, part by part, in a folder of the process's own."""
    from cacl.models.load import load_encoder

    encoder = str(work.index / ENCODER)
    if encoder not in _encoders:
        _encoders.clear()
        _encoders[encoder] = load_encoder(encoder).to(device)
    parts = _folder(work.index, _own)
    own = replace(work, parts=parts, encoder=_encoders[encoder])
    entries = [entry for entry, _ in whats if may_be_read(root, entry)]
    looked = {entry.video.path: one for entry, one in whats}
    with FolderLock(parts):
        embed_entries(root, entries, own, looked, say=lambda text: None, progress=lambda what, done, total: None)


def _cost(entry: Entry) -> int:
    return entry.video.frames * entry.video.width * entry.video.height


def _journal(index: Path, request: str) -> Journal:
    return read_parts((index / SHARDS).glob("*"), request=request)


def _kept(index: Path, request: str) -> set[str]:
    journal = _journal(index, request)
    return {*journal.made, *journal.failed}


def _folder(index: Path, own: str) -> Path:
    """Where this process keeps its parts."""
    folder = index / SHARDS / f"{platform.node()}-{os.getpid()}-{own}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
