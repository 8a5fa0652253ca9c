"""One minute of each kind of work, done here on a sample by the functions that do it for all."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cacl.config import Resolved
from cacl.data.videos.pixel_rules import choose_rules
from cacl.data.videos.store import build_store
from cacl.experiments.plan.archive import Archive
from cacl.experiments.plan.steps import settled
from cacl.experiments.plan.works import computing, decoding, embedding, fetching, searching, short, training
from cacl.machine.hardware import disk_speed
from cacl.machine.load import usable_processors
from cacl.machine.meter import peak_bytes
from cacl.models.segments import segment_windows
from cacl.training.wiring import clip_counts, initial_network, run_encoder


@dataclass(frozen=True)
class Measured:
    """What was measured here; seconds and bytes.

    Attributes:
        device: that computes.
        processors: of this machine.
        memory: bytes of it; 0 where it cannot be told.
        process: bytes that this process had at most when a step had been measured.
        free: bytes on the disk of the folder where things would be written.
        videos, frames, bytes: how many videos, frames of one and bytes of its file, on average.
        row: memory of a video in a catalog, bytes.
        read, write: bytes a second of the disk.
        look: to look at a video's file.
        decode: of a frame, scaled and packed for a store, with a process on every processor.
        packed: bytes of a frame in a store.
        fetch: to read a frame back from a store, in one thread.
        batch: samples of a step.
        clip: frames of a sample.
        per_video: samples of a video in an epoch.
        step: a step of the whole batch.
        frames_step: of MoCo on frames, where the method stands on it; else 0.
        state: bytes of a checkpoint.
        windows: of a video in an index.
        embed: a frame of an archive that is embedded: decoded, computed, kept with previews.
        compute: of that, a window through the network alone.
        width: numbers of a vector.
        preview: bytes of the previews of a window.
        search, search_row: a search in an open index: in any, and more for each window in it.
    """

    device: str
    processors: int
    memory: int
    process: int
    free: int
    videos: int
    frames: float
    bytes: float
    row: float
    read: float
    write: float
    look: float
    decode: float
    packed: float
    fetch: float
    batch: int
    clip: int
    per_video: float
    step: float
    frames_step: float
    state: float
    windows: float
    embed: float
    compute: float
    width: int
    preview: float
    search: float
    search_row: float


def measure(
    archive: Archive, resolved: Resolved, place: Path, *, say: Callable[[str], None] = lambda text: None
) -> Measured:
    """Measure everything.

    Args:
        archive: what to decode.
        resolved: of the training; ``auto`` is worked out for this machine.
        place: a folder on the disk that stores and indexes would lie on; what is written there is removed.
        say: told what is measured.

    Raises:
        UserError: no such device, a disk that cannot be written, or no video that can be decoded.
    """
    settings = settled(resolved, archive.videos)
    device, processors = settings.run.device, len(usable_processors())
    with tempfile.TemporaryDirectory(dir=place, prefix=".cacl-plan-") as name:
        folder = Path(name)
        say("Measuring the disk …")
        free, write, read = disk_speed(folder)
        say(f"Decoding with {processors} processes …")
        rules = choose_rules(archive.sample, colours=settings.data.colours, levels=settings.data.levels, say=say)
        decode, packed = decoding(archive.sample, settings, rules, folder, processors)
        store = build_store(
            replace(archive.sample, videos=tuple(short(archive.sample.videos)[:8])),
            folder / "store",
            height=settings.data.resize[0],
            width=settings.data.resize[1],
            rules=rules,
        )
        say(f"Training on {device} …")
        step, frame_step, clip, state = training(settings, device)
        process = peak_bytes()
        fetch = fetching(store, clip)
        encoder = run_encoder(settings, initial_network(settings), rules).to(device)
        say(f"Embedding on {device} …")
        compute = computing(encoder)
        embed, preview = embedding(encoder, archive.sample, folder)
    counts = clip_counts(settings.data.clips_per_video, archive.sample.videos)
    length, stride = settings.data.frames, settings.data.stride
    windows = [len(segment_windows(v.frames, frames=length, stride=stride)[0]) for v in archive.sample.videos]
    say("Searching …")
    search, search_row = searching(encoder.num_features, max(1, round(statistics.mean(windows))))
    return Measured(
        device=device,
        processors=processors,
        memory=_memory(),
        process=process,
        free=free,
        videos=archive.videos,
        frames=archive.frames,
        bytes=archive.bytes,
        row=archive.row,
        read=read,
        write=write,
        look=archive.look,
        decode=decode,
        packed=packed,
        fetch=fetch,
        batch=settings.optim.batch_size,
        clip=clip,
        per_video=1.0 if counts is None else sum(counts) / len(counts),
        step=step,
        frames_step=frame_step,
        state=state,
        windows=statistics.mean(windows),
        embed=embed,
        compute=compute,
        width=encoder.num_features,
        preview=preview,
        search=search,
        search_row=search_row,
    )


def _memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0
