"""A run's encoder beside a frozen image encoder, as one, weighed without labels; and the verdict which to use.

``cacl fuse`` writes it, and ``cacl pretrain --with-frozen`` ends with it, in ``RUN/fused``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cacl.data.videos.dataset import Dataset, thinned
from cacl.data.videos.recordings import recording
from cacl.data.videos.resampled import ResampledFrames, as_files, resampled
from cacl.data.videos.store import DecodedVideos, FrameStore
from cacl.errors import UserError
from cacl.evaluation.choice.cost import milliseconds_a_video
from cacl.evaluation.choice.fusion import WEIGHT, Fusion, choose_fusion, fit_map
from cacl.evaluation.choice.moments import Moments, video_moments
from cacl.evaluation.choice.verdict import Verdict, Which, by_labels, by_moments
from cacl.evaluation.embed import evaluating
from cacl.models.clip_encoder import ClipSpec
from cacl.models.encoder import Encoder
from cacl.models.fused import FusedEncoder, Mapped
from cacl.models.image.encoder import ImageEncoder
from cacl.models.load import load_encoder

MOST_VIDEOS = 300  # that weight, means and verdict come from; their moments are compared each with each
FUSED = "fused"  # the folder in a run
Watch = Callable[[str, int, int], None]


def silent(what: str, done: int, total: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True, eq=False)
class Fused:
    """A fused encoder that was made.

    Attributes:
        encoder: the encoder.
        fusion: what was chosen; ``None`` where the weight was given.
        own, image: moments of the training videos that means and weight come from, by each part.
        numbers: of these videos.
    """

    encoder: FusedEncoder
    fusion: Fusion | None
    own: Moments
    image: Moments
    numbers: list[int]


def open_image_encoder(path: str | Path) -> ImageEncoder:
    """The frozen image encoder in a folder. Raises UserError where it holds something else."""
    encoder = load_encoder(path)
    if not isinstance(encoder, ImageEncoder):
        raise UserError(
            f"{path} holds no image encoder but {encoder!r}; make one: cacl import --image-encoder SOURCE --out DIR"
        )
    return encoder


def kept_fused(run: Path, own: Encoder, *, say: Callable[[str], None]) -> FusedEncoder | None:
    """The fused encoder in a run; ``None`` where there is none, or the run has learned more since.

    One that cannot be read, damaged or of an earlier version, is left out, and ``say`` is told.
    """
    if not (run / FUSED / "config.json").is_file():
        return None
    try:
        fused = load_encoder(run / FUSED)
    except UserError as error:
        say(f"Both beside each other are left out: {error}")
        return None
    if not isinstance(fused, FusedEncoder):
        return None
    now, then = own.tensors(), fused.own.tensors()
    return fused if now.keys() == then.keys() and all(torch.equal(now[key], then[key]) for key in now) else None


def fuse_parts(
    own: Encoder,
    image: ImageEncoder,
    data: Dataset,
    numbers: list[int],
    *,
    weight: float | Literal["auto"] = "auto",
    progress: Watch = silent,
) -> Fused:
    """The fused encoder of two parts.

    Args:
        own, image: the parts.
        data: the run's videos, with frames of any size.
        numbers: of those that it was trained on.
        weight: how often the own part counts; ``auto`` chooses it, centring and whitening without labels.
        progress: called with what is done, how much of it and of how much.
    """
    blank = (Mapped(torch.zeros(own.num_features)), Mapped(torch.zeros(image.num_features)))
    both = FusedEncoder(own, image, mapped=blank, weight=WEIGHT)
    some = thinned(numbers, MOST_VIDEOS)
    own_moments, image_moments = part_moments(both, data, some, progress=progress)
    kept = [some[position] for position in own_moments.kept.tolist()]
    if weight != "auto":
        mapped = fit_map(own_moments.plain, "centred"), fit_map(image_moments.plain, "centred")
        chosen = {"how": "the weight was given", "own": "centred", "image": "centred"}
        made = FusedEncoder(own, image, mapped=mapped, weight=weight, chosen=chosen)
        return Fused(made.eval(), None, own_moments, image_moments, kept)
    entries = data.videos(kept)
    labels = [video.label or "" for video in entries]
    groups = [recording(video) for video in entries]
    fusion = choose_fusion(own_moments, image_moments, groups=groups, labels=labels if all(labels) else None)
    made = FusedEncoder(own, image, mapped=fusion.mapped, weight=fusion.weight, chosen=fusion.numbers)
    return Fused(made.eval(), fusion, own_moments, image_moments, kept)


def part_moments(
    both: FusedEncoder, data: Dataset, numbers: list[int], *, progress: Watch = silent
) -> tuple[Moments, Moments]:
    """Moments of videos by the own part and by the frozen one; every video is decoded once."""
    sizes = [both.own.num_features]

    @torch.no_grad()
    def compute(clips_NTHWC: NDArray[np.uint8]) -> Tensor:
        return torch.cat(both.parts(clips_NTHWC), dim=1)

    def watch(done: int) -> None:
        progress("videos looked at", done, len(numbers))

    part = resized(data, both.clip).subset(numbers)
    with evaluating(both):
        found = video_moments({"both": compute}, both.clip, part, progress=watch)["both"]
    plain, changed = np.split(found.plain, sizes, axis=2), np.split(found.changed, sizes, axis=2)
    own, image = (Moments(p, c, found.kept, found.skipped) for p, c in zip(plain, changed, strict=True))
    return own, image


def verdict_of(made: Fused, data: Dataset, *, progress: Watch = silent) -> Verdict:
    """Own, frozen or fused: by labels where every video has one, else by other moments; on unseen videos if possible.

    Args:
        made: from ``fuse_parts``.
        data: the run's videos.
        progress: called with what is done, how much of it and of how much.
    """
    fused = made.encoder
    numbers, own, image = made.numbers, made.own, made.image
    if data.has_test:
        numbers = thinned(data.numbers(data.test_part), MOST_VIDEOS)
        own, image = part_moments(fused, data, numbers, progress=progress)
        numbers = [numbers[position] for position in own.kept.tolist()]
    asked, there = data.videos(numbers), data.videos(made.numbers)
    groups = [recording(video) for video in asked]
    cost: dict[Which, float] = {
        "own": milliseconds_a_video(fused.own),
        "frozen": milliseconds_a_video(fused.image),
        "fused": milliseconds_a_video(fused),
    }
    if not all(video.label for video in (*asked, *there)):
        return by_moments(fused, own, image, groups, cost=cost)
    return by_labels(
        fused,
        (own, image),
        (made.own, made.image),
        [str(video.label) for video in asked],
        [str(video.label) for video in there],
        (groups, [recording(video) for video in there]),
        cost=cost,
    )


def resized(data: Dataset, clip: ClipSpec) -> Dataset:
    """The same videos with frames at ``clip.resize``, from the files; of a store without its videos, as stored."""
    if (data.source.height, data.source.width) == clip.resize:
        return data
    files, (height, width) = as_files(data), clip.resize
    root = files.catalog.root
    if isinstance(files.source, FrameStore) and not any((root / v.path).is_file() for v in files.catalog.videos):
        return data
    source = DecodedVideos(files.catalog, height=height, width=width, rules=data.rules)
    rate = data.source.rate if isinstance(data.source, ResampledFrames) else None
    return resampled(Dataset(files.catalog, source, data.rules), rate)
