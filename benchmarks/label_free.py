"""Does the label-free choice between two encoders agree with the labelled one? Pairs of many encoders on one set.

    python benchmarks/label_free.py --videos ucf101-9/videos --lists ucf101-9/splits --encoder encoders/lite0 \
        --encoder runs/mine --cache vectors/

Without ``--videos`` it generates some. Encoders are descriptions without learning (random numbers among them), networks
with fresh weights, and the folders given; own ones are also fused with frozen ones. The labelled measure is R@1 of test
against training videos with a paired interval over source videos; a pair counts where that interval leaves out 0.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from cacl.data.synthetic.generate import make_videos
from cacl.data.videos.dataset import Dataset, open_videos
from cacl.data.videos.recordings import recording
from cacl.data.videos.resampled import resampled
from cacl.evaluation.baselines import colour_histogram, thumbnail
from cacl.evaluation.choice import label_free
from cacl.evaluation.choice.label_free import paired_interval
from cacl.evaluation.choice.moments import Moments, video_moments
from cacl.evaluation.retrieval import nearest
from cacl.models.clip_encoder import ClipEncoder, ClipSpec
from cacl.models.encoder import Encoder, pool_map
from cacl.models.image.encoder import ImageEncoder
from cacl.models.load import load_encoder

CLIP = ClipSpec(frames=16, stride=2, resize=(128, 171), size=112)
SMALL = ClipSpec(frames=16, stride=2, resize=(64, 86), size=56, layer="max")
FRESH = (  # architecture, width, standardise, layer, seed
    ("r3d10", 16, "motion", "max", 0),
    ("r3d10", 16, "motion", "mean", 1),
    ("r3d10", 16, "clip", "max", 0),
    ("r3d10", 16, "none", "max", 0),
    ("r2plus1d10", 8, "motion", "max", 0),
    ("c3d", 4, "clip", "mean", 0),
    ("c3d", 4, "motion", "max", 1),
)
Compute = Callable[[np.ndarray], torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--videos", type=Path, help="labelled videos with a train and a test part (default: made)")
    parser.add_argument("--lists", type=Path)
    parser.add_argument("--encoder", action="append", default=[], type=Path, help="a run or an encoder folder")
    parser.add_argument("--cache", type=Path, help="keep vectors here, and go on with what is there")
    parser.add_argument("--frame-rate", type=float, help="read the videos at so many frames a second (default: all)")
    parser.add_argument("--most", type=int, default=350, help="videos of each part")
    parser.add_argument("--moments", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the numbers of every encoder and pair")
    parser.add_argument("--quick", action="store_true", help="few videos and encoders: seconds, for the tests")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        videos = asked.videos or make_videos(
            Path(place) / "videos", videos_per_class=(2, 2) if asked.quick else (12, 8)
        )
        data = resampled(open_videos(videos, resize=CLIP.resize, lists=asked.lists), asked.frame_rate)
        parts = {part: thinned(data.numbers(part), 20 if asked.quick else asked.most) for part in ("train", "test")}
        compute = encoders(asked.encoder, frame_rate=asked.frame_rate, quick=asked.quick)
        found = vectors(data, parts, compute, asked.moments, asked.cache)
    report(found, data, parts, asked.json)


def thinned(numbers: list[int], most: int) -> list[int]:
    """At most so many, evenly spaced."""
    return numbers[:: -(-len(numbers) // most)] if numbers else []


def encoders(folders: list[Path], *, frame_rate: float | None, quick: bool) -> dict[str, Compute]:
    """Name -> clips to vectors."""
    rng = np.random.default_rng(0)
    found: dict[str, Compute] = {
        "random numbers": lambda clips: torch.from_numpy(rng.standard_normal((len(clips), 512), np.float32)),
        "colour histogram": lambda clips: torch.from_numpy(np.stack([colour_histogram(c) for c in clips])),
        "thumbnail": lambda clips: torch.from_numpy(np.stack([thumbnail(c) for c in clips])),
        "one colour": lambda clips: torch.from_numpy(clips.mean(axis=(1, 2, 3), dtype=np.float32)),
    }
    for name, width, standardise, layer, seed in FRESH[: 2 if quick else None]:
        torch.manual_seed(seed)
        clip = ClipSpec(16, 2, SMALL.resize, SMALL.size, None, None, standardise, layer)  # type: ignore[arg-type]
        made = Encoder(name, width=width, clip=clip).eval()  # type: ignore[arg-type]
        found[f"fresh {name} {standardise} {layer} {seed}"] = computed(made)
    for folder in folders:
        encoder = load_encoder(folder)
        if encoder.clip.frame_rate not in (None, frame_rate):
            raise SystemExit(f"{folder} takes {encoder.clip.frame_rate:g} frames a second: --frame-rate says it.")
        if isinstance(encoder, Encoder):
            found |= both_layers(str(folder), encoder)
        else:
            found[str(folder)] = computed(encoder)
    return found


def both_layers(name: str, encoder: Encoder) -> dict[str, Compute]:
    """The feature of its layer and that of the other, of one pass through the network."""
    other = "mean" if encoder.clip.layer == "max" else "max"
    last: list[tuple[np.ndarray, torch.Tensor]] = []

    @torch.inference_mode()
    def run(clips: np.ndarray, layer: str) -> torch.Tensor:
        if not last or last[0][0] is not clips:
            with torch.autocast("cpu", torch.bfloat16):
                x = encoder.clip.network_input(torch.from_numpy(clips))
                last[:] = [(clips, encoder.network.forward_features(x))]
        return pool_map(last[0][1], layer)  # type: ignore[arg-type]

    return {name: lambda clips: run(clips, encoder.clip.layer), f"{name} {other}": lambda clips: run(clips, other)}


def computed(encoder: ClipEncoder) -> Compute:
    """Own networks see the whole clip, frozen ones its middle frame."""

    @torch.inference_mode()
    def run(clips: np.ndarray) -> torch.Tensor:
        frames = encoder.clip.frames
        picked = clips[:, :frames] if frames > 1 else clips[:, CLIP.frames // 2][:, None]
        with torch.autocast("cpu", torch.bfloat16, enabled=isinstance(encoder, Encoder | ImageEncoder)):
            out: torch.Tensor = encoder(picked)
        return out

    return run


def vectors(
    data: Dataset, parts: dict[str, list[int]], compute: dict[str, Compute], moments: int, cache: Path | None
) -> dict[str, Moments]:
    """Moments of every video by every encoder: training videos first; from the cache where they are there."""
    numbers = [*parts["train"], *parts["test"]]
    found: dict[str, Moments] = {}
    for name in compute:
        file = None if cache is None else cache / (re.sub(r"\W+", "-", name).strip("-") + ".npz")
        if file is not None and file.exists():
            kept = np.load(file)
            found[name] = Moments(kept["plain"], kept["changed"], kept["kept"])
    missing = {name: made for name, made in compute.items() if name not in found}
    if missing:
        made = video_moments(missing, CLIP, data.subset(numbers), moments=moments)
        for name, each in made.items():
            found[name] = each
            if cache is not None:
                cache.mkdir(parents=True, exist_ok=True)
                file = cache / (re.sub(r"\W+", "-", name).strip("-") + ".npz")
                np.savez(file, plain=each.plain, changed=each.changed, kept=each.kept)
    return with_fused(found)


def with_fused(found: dict[str, Moments]) -> dict[str, Moments]:
    """Own and fresh networks beside frozen ones, each part centred and of length 1, at two weights."""
    frozen = [name for name in found if (Path(name) / "config.json").exists() and "kind" in config_of(name)]
    own = [name for name in found if name.startswith("fresh r3d10 motion") or (Path(name) / "finished.json").exists()]
    pairs = [(a, b, w) for a in own for b in frozen for w in (0.4, 1.0)]
    for a, b, weight in pairs:
        both = [(found[n].plain, found[n].changed, found[n].plain.mean(axis=(0, 1))) for n in (a, b)]
        plain, changed = (
            np.concatenate([unit(x[i] - x[2]) * w for x, w in zip(both, (weight, 1.0), strict=True)], axis=-1)
            for i in (0, 1)
        )
        found[f"{a} + {b} ({weight})"] = Moments(plain, changed, found[a].kept)
    return found


def config_of(folder: str) -> dict[str, object]:
    content: dict[str, object] = json.loads((Path(folder) / "config.json").read_text())
    return content


def unit(x: np.ndarray) -> np.ndarray:
    made: np.ndarray = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
    return made.astype(np.float32)


def report(found: dict[str, Moments], data: Dataset, parts: dict[str, list[int]], file: Path | None) -> None:
    """A row an encoder, and how many pairs were chosen as labels choose."""
    train = len(parts["train"])
    numbers = np.array([*parts["train"], *parts["test"]])[next(iter(found.values())).kept]
    entries = data.videos(numbers.tolist())
    labels = np.array([v.label for v in entries])
    groups = [recording(v) for v in entries]
    is_test = np.arange(len(numbers)) >= np.isin(next(iter(found.values())).kept, np.arange(train)).sum()
    hits: dict[str, np.ndarray] = {}
    measures: dict[str, dict[str, float]] = {}
    for name, each in found.items():
        video = each.plain.mean(axis=1)
        video = video - video[~is_test].mean(axis=0)
        near, _ = nearest(video[is_test], video[~is_test], 1)
        hits[name] = (labels[~is_test][near[:, 0]] == labels[is_test]).astype(float)
        measures[name] = candidates(each) | {"R@1": 100 * float(hits[name].mean())}
    names = list(next(iter(measures.values())))
    print(f"{len(entries)} videos, {int(is_test.sum())} of them ask\n")
    print("| encoder | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for name, row in sorted(measures.items(), key=lambda item: item[1]["R@1"]):
        print(f"| {name} | " + " | ".join(f"{row[key]:.1f}" for key in names) + " |")
    test_groups = [g for g, t in zip(groups, is_test, strict=True) if t]
    clear = []
    for a, b in itertools.combinations(found, 2):
        difference, low, high = paired_interval(hits[a], hits[b], test_groups)
        if low > 0 or high < 0:
            clear.append((a, b, difference))
    pairs = len(found) * (len(found) - 1) // 2
    print(f"\n{len(clear)} of {pairs} pairs are told apart by labels; chosen as labels choose:\n")
    agreement = {}
    for key in names[:-1]:
        right = [np.sign(measures[a][key] - measures[b][key]) == np.sign(d) for a, b, d in clear]
        agreement[key] = 100 * float(np.mean(right)) if right else float("nan")
        print(f"- {key}: {agreement[key]:.1f} %")
    noise = measures["random numbers"]
    wins = {key: sum(noise[key] > row[key] for row in measures.values()) for key in names[:-1]}
    print("\nRandom numbers win: " + ", ".join(f"{key} {count}" for key, count in wins.items()) + ".")
    if file is not None:
        file.write_text(json.dumps({"encoders": measures, "pairs": clear, "agreement": agreement}, indent=1))


def candidates(each: Moments) -> dict[str, float]:
    """Every measure that was tried."""
    found = label_free.measure(each)
    return {
        "choice": found.score,
        "other moments": found.other_moments,
        "changed": found.changed,
        "effective rank": found.rank,
    }


if __name__ == "__main__":
    main()
