"""Batches of clips, each a function of (seed, epoch, step) alone, read ahead by threads.

Neither the number of workers nor that of processes changes a sample: the order of an epoch, what is read of a video,
and what takes the place of a video that fails are drawn from counters. Threads are enough, because decoding releases
Python's lock; they need no pickling and share one memory.

Shapes: B samples of a batch, T frames of a clip, H, W height and width.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cacl.data.clips.batch import ClipBatch
from cacl.data.clips.sampling import ClipPlan, TooShort
from cacl.data.randomness import generator
from cacl.data.videos.sources import FrameSource
from cacl.errors import UserError, VideoError

_MOST_FAILURES = 100  # so many failures for one sample mean that the disk is gone, not that some videos are bad


@dataclass(frozen=True, slots=True)
class Failure:
    """A video that failed while training: found in ``epoch``, not opened again from the next epoch on."""

    video: int
    epoch: int
    reason: str


class ClipLoader:
    """Epochs of batches over a list of videos.

    An epoch has ``samples_per_video`` passes, each a fresh permutation of all videos; sample ``pass * V + video`` is
    planned by ``plan(frames, generator(seed, "clip", epoch, sample))``. Where a video fails, its sample keeps its index
    and is read from the next of a permutation of the videos that depends on (seed, epoch, sample) alone. From the next
    epoch on the failed video is not opened and its samples go to their replacements at once, so that the number of
    steps and all other samples stay as they were.

    Attributes:
        failures: what failed in the batches handed out so far, each video once. To make a resumed run or another
            process leave out the same videos, save it or gather it at the end of an epoch, and pass it as ``failures``
            or to ``leave_out``.
    """

    def __init__(
        self,
        source: FrameSource,
        frames_per_video: Sequence[int],
        plan: Callable[[int, np.random.Generator], ClipPlan],
        *,
        seed: int,
        batch_size: int,
        workers: int = 0,
        batches_ahead: int = 2,
        drop_last: bool = True,
        samples_per_video: int = 1,
        rank: int = 0,
        world: int = 1,
        pin_memory: bool = False,
        failures: Sequence[Failure] = (),
        on_failure: Callable[[Failure], None] | None = None,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            source: where frames come from; ``video`` 0 … V-1 is a place in ``frames_per_video``.
            frames_per_video: usable frames of each video, V of them.
            plan: which frames and which targets, from the number of frames of a video and a generator; pure, and of
                the same shapes for every video. Raises TooShort where it wants another video.
            seed: of the run.
            batch_size: clips of the global batch, over all processes; a multiple of ``world``.
            workers: threads that read; 0 reads when the batch is asked for.
            batches_ahead: batches being read while one is used, with ``workers`` above 0. Each holds
                ``batch_size / world`` samples of ``T·H·W·3`` bytes a clip.
            drop_last: leave out the last, smaller batch of an epoch.
            samples_per_video: samples of each video an epoch.
            rank: of this process, which gets rows ``rank·b … (rank+1)·b`` of the global batch, b = batch_size / world.
            world: number of processes.
            pin_memory: read into page-locked memory, for faster copies to a GPU.
            failures: found before this run was resumed.
            on_failure: told of each failure when its batch is handed out.

        Raises:
            UserError: the videos do not fill one batch.
            ValueError: a number is out of range.
        """
        if batch_size < 1 or workers < 0 or batches_ahead < 1 or samples_per_video < 1 or not 0 <= rank < world:
            raise ValueError(
                f"found {batch_size=}, {workers=}, {batches_ahead=}, {samples_per_video=}, {rank=}, {world=}: "
                "wanted 1 or more (workers: 0 or more) and rank below world"
            )
        if batch_size % world:
            raise ValueError(f"batch_size={batch_size} is not a multiple of the {world} processes")
        if not frames_per_video:
            raise UserError("there is no video to read: the list of videos is empty")
        self.source, self.plan, self.seed = source, plan, seed
        self.frames_per_video = [int(n) for n in frames_per_video]
        self.batch_size, self.drop_last, self.samples_per_video = batch_size, drop_last, samples_per_video
        self.workers, self.batches_ahead, self.pin_memory = workers, batches_ahead, pin_memory
        self.rank, self.world, self.on_failure = rank, world, on_failure
        self.failures: list[Failure] = []
        self.leave_out(failures)
        if self.steps_per_epoch == 0:
            raise UserError(
                f"{self.samples_per_epoch} samples an epoch do not fill one batch of {batch_size}: "
                "lower batch_size or raise samples_per_video"
            )

    @property
    def samples_per_epoch(self) -> int:
        """Samples of all passes, before the last batch is dropped."""
        return len(self.frames_per_video) * self.samples_per_video

    @property
    def steps_per_epoch(self) -> int:
        """Batches an epoch."""
        full, rest = divmod(self.samples_per_epoch, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def leave_out(self, failures: Sequence[Failure]) -> None:
        """Add failures found elsewhere; a video that is known keeps its earliest epoch."""
        merged = {failure.video: failure for failure in self.failures}
        for failure in failures:
            if failure.video not in merged or failure.epoch < merged[failure.video].epoch:
                merged[failure.video] = failure
        self.failures = sorted(merged.values(), key=lambda failure: (failure.epoch, failure.video))

    def order(self, epoch: int) -> NDArray[np.int64]:
        """The samples of an epoch in the order they are used: int64 ``[samples_per_epoch]``."""
        rng, videos = generator(self.seed, "order", epoch), len(self.frames_per_video)
        return np.concatenate([n * videos + rng.permutation(videos) for n in range(self.samples_per_video)])

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[ClipBatch]:
        """The batches of an epoch, from ``start_step`` on.

        Raises:
            UserError: for one sample, a hundred videos in a row (or all of them) could not be read.
        """
        order, absent = self.order(epoch), frozenset(f.video for f in self.failures if f.epoch < epoch)
        lengths = self._clip_lengths()
        pool = ThreadPoolExecutor(self.workers, "cacl-read") if self.workers else None
        pending: deque[_Pending] = deque()
        try:
            for step in range(start_step, self.steps_per_epoch):
                batch = order[step * self.batch_size : (step + 1) * self.batch_size]
                samples = np.array_split(batch, self.world)[self.rank]
                pending.append(self._begin(epoch, step, samples, lengths, absent, pool))
                if pool is None or len(pending) > self.batches_ahead:
                    yield self._finish(pending.popleft())
            while pending:
                yield self._finish(pending.popleft())
        finally:
            if pool:
                pool.shutdown(wait=False, cancel_futures=True)

    def _clip_lengths(self) -> tuple[int, ...]:
        """Frames of each clip of a sample, from the first video that is long enough.

        Raises:
            UserError: none is.
        """
        for frames in self.frames_per_video:
            try:
                return tuple(len(clip) for clip in self.plan(frames, generator(self.seed, "shape")).clips)
            except TooShort:
                continue
        raise UserError(f"no video is long enough: the longest has {max(self.frames_per_video)} frames")

    def _begin(
        self,
        epoch: int,
        step: int,
        samples: NDArray[np.int64],
        lengths: tuple[int, ...],
        absent: frozenset[int],
        pool: ThreadPoolExecutor | None,
    ) -> _Pending:
        """Start reading a batch, each sample into its own rows, or put off reading until it is asked for."""
        size = (self.source.height, self.source.width, 3)
        clips = tuple(
            torch.empty((len(samples), length, *size), dtype=torch.uint8, pin_memory=self.pin_memory)
            for length in lengths
        )
        rows = zip(*(clip.numpy() for clip in clips), strict=True)
        reads = [
            partial(self._read, epoch, sample, absent, own) for sample, own in zip(samples.tolist(), rows, strict=True)
        ]
        results = [pool.submit(read).result for read in reads] if pool else reads
        return _Pending(epoch, step, samples, clips, results)

    def _read(self, epoch: int, sample: int, absent: frozenset[int], rows: Sequence[NDArray[np.uint8]]) -> _Read:
        """Read one sample into its rows of the batch, from the first of its videos that can be read."""
        failures: list[Failure] = []
        for video in self._candidates(epoch, sample):
            if video in absent or any(failure.video == video for failure in failures):
                continue
            try:
                plan = self.plan(self.frames_per_video[video], generator(self.seed, "clip", epoch, sample))
                self._read_clips(video, plan, rows)
            except TooShort:
                continue
            except VideoError as error:
                failures.append(Failure(video, epoch, error.reason))
                if len(failures) == _MOST_FAILURES:
                    break
            else:
                return _Read(video, plan.targets, failures)
        if not failures and not absent:
            raise UserError("no video is long enough for what was drawn: take shorter clips, or longer videos")
        last = f", the last one because: {failures[-1].reason}" if failures else ""
        raise UserError(
            f"{len(failures) or len(absent)} videos in a row could not be read{last}; "
            "check that the videos are still there and whole"
        )

    def _read_clips(self, video: int, plan: ClipPlan, rows: Sequence[NDArray[np.uint8]]) -> None:
        """Read the plan's frames, each once, into one row a clip."""
        wanted = np.concatenate(plan.clips)
        frames, place = np.unique(wanted, return_inverse=True)
        once = len(frames) == len(wanted)
        read = self.source.read(video, wanted if once else frames)
        start = 0
        for row, clip in zip(rows, plan.clips, strict=True):
            own = slice(start, start + len(clip))
            row[:] = read[own] if once else read[place[own]]
            start = own.stop

    def _candidates(self, epoch: int, sample: int) -> Iterator[int]:
        """The sample's own video, then its replacements."""
        yield sample % len(self.frames_per_video)
        yield from generator(self.seed, "replacement", epoch, sample).permutation(len(self.frames_per_video)).tolist()

    def _finish(self, pending: _Pending) -> ClipBatch:
        """Wait for a batch, and take note of what failed in it, in the order of its samples."""
        reads = [result() for result in pending.results]
        known = {failure.video for failure in self.failures}
        for failure in (failure for read in reads for failure in read.failures):
            if failure.video not in known:
                known.add(failure.video)
                self.leave_out([failure])
                if self.on_failure:
                    self.on_failure(failure)
        targets = {
            name: torch.from_numpy(np.stack([read.targets[name] for read in reads])) for name in reads[0].targets
        }
        video = torch.tensor([read.video for read in reads])
        sample = torch.from_numpy(pending.samples.copy())
        return ClipBatch(pending.clips, targets, video, sample, pending.epoch, pending.step)


@dataclass(frozen=True, slots=True)
class _Read:
    """What came of reading one sample."""

    video: int
    targets: Mapping[str, NDArray[Any]]
    failures: list[Failure]


@dataclass(frozen=True, slots=True)
class _Pending:
    """A batch that is being read."""

    epoch: int
    step: int
    samples: NDArray[np.int64]
    clips: tuple[Tensor, ...]
    results: Sequence[Callable[[], _Read]]
