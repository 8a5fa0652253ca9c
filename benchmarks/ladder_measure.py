"""One cell of the ladder: what its encoder finds, alone and beside a frozen image encoder.

Shapes: V videos, N clips of a video, D features, Q queries, G gallery.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cacl.data.videos.catalog import Skipped
from cacl.data.videos.dataset import Dataset, open_videos, thinned
from cacl.data.videos.recordings import recording
from cacl.evaluation.choice.fusion import choose_fusion
from cacl.evaluation.choice.label_free import measure as label_free
from cacl.evaluation.choice.moments import Moments, video_moments
from cacl.evaluation.embed import clips_through, evaluating
from cacl.evaluation.probes import fit_linear
from cacl.evaluation.retrieval import nearest
from cacl.experiments.recognition.labelled import draw_labels
from cacl.models.clip_encoder import ClipEncoder, ClipSpec
from cacl.models.encoder import Encoder
from cacl.models.fused import Mapped, fused_clip, looked_at
from cacl.models.image.encoder import ImageEncoder
from cacl.models.load import load_encoder
from cacl.run import Run
from cacl.settings import Settings

CLIPS, MOST, FEW, DRAWS = 10, 300, (1, 5, 20), 5
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Looked:
    """The videos, and what a frozen image encoder says of them.

    Attributes:
        data: training and test videos of a store.
        kept: numbers of the videos, training videos first.
        train: how many of them train.
        image: float32 ``[V, N, D]``; None without an image encoder.
        moments: of some training videos, the moments that a weight is chosen by.
        some: numbers of these.
        encoder: the image encoder.
    """

    data: Dataset
    kept: list[int]
    train: int
    image: Vectors | None
    moments: Moments | None
    some: list[int]
    encoder: ImageEncoder | None

    @property
    def labels(self) -> NDArray[np.str_]:
        return np.array([video.label for video in self.data.videos(self.kept)])

    @property
    def groups(self) -> list[str]:
        return [recording(video) for video in self.data.videos(self.kept)]


def look(store: Path, videos: Path, lists: Path | None, image: Path | None, cache: Path, *, quick: bool) -> Looked:
    """Open the store; frames by the image encoder once, from the files, which are larger, kept in ``cache``."""
    torch.set_num_threads(1)
    data = open_videos(store, resize=(64, 86))
    train, test = data.numbers("train"), data.numbers(data.test_part)
    some = thinned(train, 20 if quick else MOST)
    if image is None:
        return Looked(data, train + test, len(train), None, None, some, None)
    encoder = load_encoder(image)
    assert isinstance(encoder, ImageEncoder)
    cache.mkdir(parents=True, exist_ok=True)
    files = cache / "videos.npy", cache / "moments.npz"
    if not all(file.exists() for file in files):
        whole = open_videos(videos, resize=fused_clip(SPEC, encoder.clip).resize, lists=lists)
        place = {video.path: number for number, video in enumerate(whole.catalog.videos)}
        there = [place[video.path] for video in data.catalog.videos]
        np.save(files[0], clip_vectors(encoder, whole, [there[n] for n in train + test]).astype(np.float16))
        keep_moments(files[1], moments_of(encoder, whole, [there[n] for n in some]))
    vectors = np.load(files[0]).astype(np.float32)
    return Looked(data, train + test, len(train), vectors, kept_moments(files[1]), some, encoder)


SPEC = ClipSpec()  # 16 frames at stride 2: the moments of every cell


def computing(encoder: ClipEncoder) -> Callable[[NDArray[np.uint8]], torch.Tensor]:
    """Clips as read for ``SPEC`` to vectors: an image encoder sees the middle frame."""
    picked = list(looked_at(SPEC.frames, encoder.clip.frames)) if isinstance(encoder, ImageEncoder) else None

    @torch.inference_mode()
    def compute(clips: NDArray[np.uint8]) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            seen = clips if picked is None else clips[:, picked]
            step = 1 if picked is not None else SPEC.frames // encoder.clip.frames
            return encoder(seen[:, ::step]).float()

    return compute


def clip_vectors(encoder: ClipEncoder, data: Dataset, numbers: list[int]) -> Vectors:
    """``[V, N, D]`` of the clips that evaluation places in every video."""
    skipped: list[Skipped] = []
    spec = SPEC if isinstance(encoder, ImageEncoder) else encoder.clip

    @torch.inference_mode()
    def own(clips: NDArray[np.uint8]) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return encoder(clips).float()

    compute = computing(encoder) if isinstance(encoder, ImageEncoder) else own
    with evaluating(encoder):
        found = dict(clips_through(compute, data.subset(numbers), spec, clips=CLIPS, skipped=skipped))
    if skipped:
        raise SystemExit(f"{len(skipped)} videos cannot be read: {skipped[0]}")
    return np.stack([found[n].numpy() for n in range(len(numbers))])


def moments_of(encoder: ClipEncoder, data: Dataset, numbers: list[int]) -> Moments:
    with evaluating(encoder):
        return video_moments({"it": computing(encoder)}, SPEC, data.subset(numbers))["it"]


def keep_moments(file: Path, moments: Moments) -> None:
    np.savez(file, plain=moments.plain, changed=moments.changed, kept=moments.kept)


def kept_moments(file: Path) -> Moments:
    kept = np.load(file)
    return Moments(kept["plain"], kept["changed"], kept["kept"])


def measure(run: Path, looked: Looked) -> dict[str, object]:
    """All numbers of a finished run."""
    encoder = load_encoder(run)
    assert isinstance(encoder, Encoder)
    vectors, moments = run / "vectors.npy", run / "moments.npz"
    if not vectors.exists():
        np.save(vectors, clip_vectors(encoder, looked.data, looked.kept).astype(np.float16))
    own = np.load(vectors).astype(np.float32)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found: dict[str, object] = {
        **steps_and_frames(rows, Run(run).settings),
        "own": retrieval(own.mean(axis=1), looked),
    }
    if looked.image is None or looked.moments is None:
        return found
    if not moments.exists():
        keep_moments(moments, moments_of(encoder, looked.data, looked.some))
    of_run = kept_moments(moments)
    groups, labels = ([f(v) for v in looked.data.videos(looked.some)] for f in (recording, lambda v: str(v.label)))
    fusion = choose_fusion(of_run, looked.moments, groups=groups, labels=labels)
    frozen = mapped(fusion.mapped[1], looked.image)
    fused = np.concatenate([fusion.weight * mapped(fusion.mapped[0], own), frozen], axis=-1)
    found["frozen"] = retrieval(frozen.mean(axis=1), looked)
    found["fused"] = retrieval(fused.mean(axis=1), looked)
    found["weight"], found["ways"], found["labels would choose"] = fusion.weight, fusion.ways, fusion.by_labels
    found["label-free"] = round(label_free(of_run).score, 2)
    found["few labels"] = {
        name: few_labels(vectors.mean(axis=1), looked)
        for name, vectors in (("own", own), ("frozen", looked.image), ("fused", fused))
    }
    return found


def steps_and_frames(rows: list[dict[str, float | str]], settings: Settings) -> dict[str, object]:
    """Steps, and the share of the time that went into MoCo on frames."""
    seconds = {"train": 0.0, "frames": 0.0}
    batch = {"train": settings.optim.batch_size, "frames": settings.frames.optim.batch_size}
    for row in rows:
        kind, rate = str(row["kind"]), float(row.get("clips_per_second") or 0)
        if rate > 0:
            seconds[kind] += batch[kind] / rate
    train = [row for row in rows if row["kind"] == "train"]
    return {"steps": int(train[-1]["step"]), "share of frames": round(seconds["frames"] / sum(seconds.values()), 4)}


def mapped(how: Mapped, vectors: Vectors) -> Vectors:
    made: Vectors = how(torch.from_numpy(vectors.reshape(-1, vectors.shape[-1]))).numpy()
    return made.reshape(*vectors.shape[:2], -1)


def retrieval(vectors: Vectors, looked: Looked) -> dict[str, object]:
    """R@k of test against training videos, and which queries were right at once, as a string of 0 and 1."""
    train, labels = looked.train, looked.labels
    near, _ = nearest(vectors[train:], vectors[:train], 10)
    right = labels[:train][near] == labels[train:][:, None]
    recalls = {f"R@{k}": round(100 * float(right[:, :k].any(axis=1).mean()), 2) for k in (1, 5, 10)}
    return {**recalls, "right": "".join("01"[int(hit)] for hit in right[:, 0])}


def few_labels(vectors: Vectors, looked: Looked) -> dict[str, float]:
    """Top-1 of a linear probe by labels a class, mean over draws."""
    train, labels = looked.train, looked.labels
    names = sorted(set(labels.tolist()))
    videos = looked.data.videos(looked.kept[:train])
    place = {video.path: n for n, video in enumerate(videos)}
    found = {}
    for count in FEW:
        tops = []
        for draw in range(DRAWS):
            rows = [place[video.path] for video in draw_labels(videos, count, seed=0, draw=draw, split=1)]
            linear = fit_linear(
                vectors[rows], [[names.index(labels[r])] for r in rows], classes=len(names), strength=1.0
            )
            with torch.inference_mode():
                told = linear(torch.from_numpy(vectors[train:])).argmax(dim=1).numpy()
            tops.append(float((np.array(names)[told] == labels[train:]).mean()))
        found[str(count)] = round(100 * float(np.mean(tops)), 2)
    return found
