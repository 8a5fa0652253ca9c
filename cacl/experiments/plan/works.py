"""Each kind of work, done on a sample by the functions that do it for all, for some seconds."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from cacl.config import Settings
from cacl.data.media.colours import PixelRules
from cacl.data.media.isolated import isolated, time_limit
from cacl.data.videos.catalog import Catalog, Video
from cacl.data.videos.store import FrameStore
from cacl.data.videos.store_parts import PartFacts, PartPlan, make_part
from cacl.errors import UserError, VideoError
from cacl.evaluation.embed import evaluating
from cacl.evaluation.video_vectors import WINDOWS, embedding_precision
from cacl.experiments.reproduce.step_time import StepTime, frames_step, pretrain_step, stand_in_frames
from cacl.indexing.changes import Entry
from cacl.indexing.embedding_run import Work, embed_entries
from cacl.indexing.generation import Spans
from cacl.indexing.known import Looked
from cacl.indexing.layout import PREVIEWS, Stamp, key_of, stamp_of
from cacl.indexing.searcher import Searcher
from cacl.models.encoder import Encoder
from cacl.models.segments import segment_windows
from cacl.search.neighbours import Neighbours
from cacl.search.score import measure_scale
from cacl.training.wiring import build_method, initial_network

_SECONDS = 8.0  # of decoding, and of embedding
_STEP_SECONDS = 20.0  # of training, about
_LONGEST = 600  # frames of a video that are decoded
_ROWS, _ROWS_BYTES = (20_000, 100_000), 2 * 10**8
_SEARCHES, _CLIPS = 9, 200


def short(videos: Sequence[Video]) -> list[Video]:
    """The videos, long ones up to their first frames."""
    return [replace(video, frames=min(video.frames, _LONGEST)) for video in videos]


def decoding(
    catalog: Catalog, settings: Settings, rules: PixelRules, folder: Path, processors: int
) -> tuple[float, float]:
    """Seconds and bytes of a frame, all processors decoding side by side as ``cacl prepare --workers`` has them."""
    endless, lock = itertools.cycle(short(catalog.videos)), threading.Lock()
    height, width = settings.data.resize

    def plans() -> Iterator[PartPlan]:
        for number in itertools.count():
            with lock:
                videos = tuple(next(endless) for _ in range(4))
            yield PartPlan(number, catalog.root, folder, videos, height, width, "jpeg", 90, rules)

    def work(worker: int) -> tuple[float, int, int]:
        own = folder / f"decoding-{worker}"
        own.mkdir()
        seconds, frames, size, until = 0.0, 0, 0, 0.0
        for turn, plan in enumerate(plans()):
            plan = replace(plan, folder=own)
            limit = sum(time_limit(plan.root / video.path) for video in plan.videos)
            began = time.perf_counter()
            with suppress(VideoError):  # a decoder that died: its time counts, its frames are none
                isolated(str(own), limit, make_part, plan)
                facts = PartFacts.read(plan.facts)
                plan.data.unlink()
                frames += sum(facts.frames) * (turn > 0)
                size += sum(facts.sizes) * (turn > 0)
            if turn == 0:  # in the first the process began
                all_began.wait()
                until = time.perf_counter() + _SECONDS
                continue
            seconds += time.perf_counter() - began
            if time.perf_counter() > until:
                break
        return seconds, frames, size

    all_began = threading.Barrier(processors)
    with ThreadPoolExecutor(processors) as pool:
        found = list(pool.map(work, range(processors)))
    if not (frames := sum(one[1] for one in found)):
        raise UserError(f"{catalog.root}: no video of the sample can be decoded; run `cacl check --deep` on it.")
    rate = sum(count / seconds for seconds, count, _ in found)
    return 1 / rate, sum(one[2] for one in found) / frames


def fetching(store: FrameStore, clip: int) -> float:
    """Seconds of a frame that is read back, as clips of so many frames are read."""
    rng = np.random.default_rng(0)
    videos = [(number, video.frames) for number, video in enumerate(store.catalog.videos)]
    began, count = time.perf_counter(), 0
    for turn in range(_CLIPS):
        number, frames = videos[turn % len(videos)]
        read = np.unique((int(rng.integers(frames)) + np.arange(clip)) % frames)
        store.read(number, read)
        count += len(read)
    return (time.perf_counter() - began) / count


def training(settings: Settings, device: str) -> tuple[float, float, int, float]:
    """Seconds of a step and of one on frames, frames of a sample, and bytes of a checkpoint."""
    batch = settings.optim.batch_size
    method = build_method(
        settings, network=initial_network(settings), frame_encoder=stand_in_frames(settings), videos=batch
    )
    clip = sum(len(one) for one in method.plan(200, np.random.default_rng(0)).clips)
    numbers = sum(p.numel() * p.element_size() for p in (*method.parameters(), *method.buffers()))
    learnt = sum(p.numel() * p.element_size() for p in method.parameters() if p.requires_grad)
    moments = 2 if settings.optim.optimizer == "adamw" else 1
    del method
    step = _stepping(lambda few: pretrain_step(settings, device, few=few), batch)
    frame_step = 0.0
    if settings.wants_frame_encoder and settings.model.frame_weights is None:
        frame_batch = settings.frames.optim.batch_size
        frame_step = _stepping(lambda few: frames_step(settings, device, few=few), frame_batch)
    return step, frame_step, clip, float(numbers + moments * learnt)


def _stepping(step: Callable[[int], StepTime], batch: int) -> float:
    """Seconds of a step: of the whole batch where that takes some seconds, else scaled from the largest that does."""
    began, few = time.perf_counter(), min(batch, 4)
    step(few)  # kernels are prepared
    found = step(few)
    while found.clips < batch and time.perf_counter() - began + 3 * found.seconds * found.clips / batch < _STEP_SECONDS:
        found = step(few := min(batch, 2 * few))
    seconds = [found.seconds]
    while len(seconds) < 3 and time.perf_counter() - began + found.seconds * found.clips / batch < _STEP_SECONDS:
        seconds.append(step(few).seconds)
    return statistics.median(seconds)


@torch.no_grad()
def computing(encoder: Encoder) -> float:
    """Seconds of a window through the network."""
    spec = encoder.clip
    clips = np.random.default_rng(0).integers(0, 256, (WINDOWS, spec.frames, *spec.resize, 3), dtype=np.uint8)
    seconds = []
    with evaluating(encoder):
        for _ in range(4):
            began = time.perf_counter()
            encoder(clips).cpu()
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:]) / WINDOWS


class _Enough(Exception):
    """Enough was measured."""


def embedding(encoder: Encoder, catalog: Catalog, folder: Path) -> tuple[float, float]:
    """Seconds of a frame, and bytes of the previews of a window, as ``cacl index`` does it."""
    videos = short(catalog.videos)
    stamps = {video.path: stamp_of(catalog.root / video.path) for video in videos}
    looked = {path: Looked(stamp, "", ()) for path, stamp in stamps.items() if stamp is not None}
    entries = [Entry(key_of(v, cast(Stamp, stamps[v.path])), v) for v in videos if v.path in looked]
    dtype, _ = embedding_precision("auto", encoder, str(encoder.device))
    frames, seconds = 0, 0.0
    for turn in itertools.count():
        index = folder / f"index-{turn}"
        work = Work(index, index / "parts", "plan", encoder, None, dtype, previews=True)
        began = last = time.perf_counter()
        done = 0

        def count(what: str, number: int, total: int) -> None:
            nonlocal done, last
            done, last = number, time.perf_counter()
            if last - began + seconds > _SECONDS:  # noqa: B023
                raise _Enough

        with suppress(_Enough):
            embed_entries(catalog.root, entries, work, looked, say=lambda text: None, progress=count)
        seconds += last - began
        frames += sum(entry.video.frames for entry in entries[:done])
        if seconds > _SECONDS or not done:
            break
    spec = encoder.clip
    known = [entry.video for entry in entries if any((folder / "index-0" / PREVIEWS).rglob(f"{entry.key}*"))]
    windows = sum(len(segment_windows(v.frames, frames=spec.frames, stride=spec.stride)[0]) for v in known)
    size = sum(file.stat().st_size for file in (folder / "index-0" / PREVIEWS).rglob("*.zip"))
    if not frames:
        raise UserError(f"{catalog.root}: no video of the sample can be decoded; run `cacl check --deep` on it.")
    return seconds / frames, size / max(1, windows)


def searching(width: int, windows: int) -> tuple[float, float]:
    """Seconds of a search in any open index, and more for each window in it; each video has so many.

    The vectors are drawn as an encoder gives them: much in common, and less spread from direction to direction.
    """
    rng = np.random.default_rng(0)
    largest = min(_ROWS[1], _ROWS_BYTES // (4 * width))
    vectors = (
        rng.standard_normal((largest, width), dtype=np.float32) * np.arange(1, width + 1, dtype=np.float32) ** -0.5
    )
    vectors += 4 * rng.standard_normal(width, dtype=np.float32)
    found = []
    for rows in (largest * _ROWS[0] // _ROWS[1], largest):
        searcher = _searcher(vectors[:rows], windows)
        probes = [searcher.space.direction(vectors[row])[None] for row in range(_SEARCHES + 1)]
        seconds = []
        for probe in probes:
            began = time.perf_counter()
            searcher.along(probe, 10, np.ones(rows, np.bool_))
            seconds.append(time.perf_counter() - began)
        found.append((rows, statistics.median(seconds[1:])))
    (few, short_s), (many, long_s) = found
    slope = max(0.0, (long_s - short_s) / (many - few))
    return max(0.0, short_s - slope * few), slope


def _searcher(vectors: NDArray[np.float32], windows: int) -> Searcher:
    """An index of vectors that lies in memory."""
    rows = np.arange(len(vectors))
    frames = np.stack([rows % windows, rows % windows + 1], axis=1)
    spans = Spans(rows // windows, frames, frames.astype(np.float64))
    near = Neighbours(vectors)
    scale = measure_scale(vectors, near.space, spans.video)
    videos = [Video("", "", None, None, windows, 1.0, 1, 1)] * (int(spans.video[-1]) + 1)

    def nearest(
        probes: NDArray[np.float64], k: int, mask: NDArray[np.bool_]
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        return [(one.rows, one.scores) for one in near.along(probes, k, within=mask)]

    return Searcher(near.rows, spans, videos, near.space, scale, nearest)
