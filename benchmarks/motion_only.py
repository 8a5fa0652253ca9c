"""Where looks say nothing: an own encoder beside a frozen image encoder, on motion that no single frame shows.

    python benchmarks/motion_only.py --image encoders/lite0 --work motion/ --epochs 60
    python benchmarks/motion_only.py --image encoders/lite0 --work motion/ --run runs/mine --videos ucf101-9/videos \\
        --lists ucf101-9/splits

The first makes videos of random dots (after Julesz 1971): objects move as the demo's do, but are covered with the same
dots as the background, so that a frame alone is even noise and only what moves together shows them. Dots live some
frames, contrast, tint and dot size are drawn for each video, and the camera drifts. It trains on them, then prints R@1
of both. The second asks a run on real videos for what differs in time alone: playback speed and direction, by linear
probes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cacl.data.media.encode import write_video
from cacl.data.randomness import generator
from cacl.data.synthetic.generate import CLASSES
from cacl.data.synthetic.motions import Motion
from cacl.data.videos.catalog import Skipped
from cacl.data.videos.dataset import Dataset, open_videos, thinned
from cacl.evaluation.temporal.clips import Task, TaskSamples, temporal_samples
from cacl.evaluation.temporal.probe import probe_time
from cacl.models.clip_encoder import ClipSpec
from cacl.models.encoder import Encoder
from cacl.models.image.encoder import ImageEncoder
from cacl.models.load import load_encoder

HEIGHT, WIDTH, FRAMES = 96, 128, (56, 88)
LIFE = 1 / 8  # share of the dots that are drawn anew from frame to frame
SPEEDS = (1, 2, 4)  # frames from one to the next
LOOKS = 3  # frames of a clip that the image encoder sees in the probes


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--image", type=Path, required=True, help="a frozen image encoder (cacl import --image-encoder)"
    )
    parser.add_argument("--work", type=Path, required=True, help="where videos and run go")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--method", default="cvrl")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--videos-per-class", type=int, nargs=2, default=(30, 12), metavar=("TRAIN", "TEST"))
    parser.add_argument("--run", type=Path, help="a run on real videos: the temporal probes of both encoders instead")
    parser.add_argument("--videos", type=Path, help="its videos")
    parser.add_argument("--lists", type=Path)
    parser.add_argument("--most", type=int, default=120, help="videos of each part that are probed")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.run is not None:
        probes(asked.run, asked.image, asked.videos, asked.lists, most=asked.most)
        return
    videos = asked.work / "videos"
    if not videos.exists():
        make(videos, tuple(asked.videos_per_class))
    run = asked.work / f"{asked.method}-{asked.seed}"
    if not (run / "finished.json").exists():
        command = ["pretrain", str(videos), "--out", str(run), "--method", asked.method, "--epochs", str(asked.epochs)]
        cacl(*command, "--seed", str(asked.seed), "--set", "run.threads=1")
    cacl("evaluate", str(run), "--beside", str(asked.image))
    for name, row in json.loads((run / "results.json").read_text())["retrieval"].items():
        print(f"{name:40} R@1 {row['R@1']:5.1f}  R@5 {row['R@5']:5.1f}")


def cacl(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "cacl", *words], check=True)


def make(folder: Path, counts: tuple[int, int]) -> None:
    """``folder/train/CLASS`` and ``folder/test/CLASS``."""
    for part, (split, count) in enumerate(zip(("train", "test"), counts, strict=True)):
        for number, (name, (_, motion)) in enumerate(CLASSES.items()):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                frames = dots(motion, generator(0, "dots", number, part, index))
                write_video(folder / split / name / f"{index:03d}.mp4", frames, options={"crf": "20", "g": "24"})


def dots(motion: Motion, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random-dot video, uint8 ``[T, H, W, 3]``."""
    count, cell = int(rng.integers(FRAMES[0], FRAMES[1] + 1)), int(rng.integers(2, 5))
    low = rng.uniform(20, 110)
    high = low + rng.uniform(60, 120)
    tint = rng.uniform(0.7, 1.0, 3)
    drift = np.cumsum(rng.normal(0, 0.1, (count, 2)), axis=0)
    objects = int(rng.integers(1, 3))
    radius, sign, period = rng.uniform(0.26, 0.34) * HEIGHT, float(rng.choice([-1, 1])), rng.uniform(24, 40)
    poses = [motion(np.arange(count) / period + rng.random(), sign) for _ in range(objects)]
    homes = [np.array([(n + 0.5) / objects * WIDTH, rng.uniform(0.4, 0.6) * HEIGHT]) for n in range(objects)]
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    side = 2 * WIDTH // cell
    textures = rng.random((objects + 1, side, side)) < 0.5
    frames = np.empty((count, HEIGHT, WIDTH, 3), np.uint8)
    for t in range(count):
        fresh = rng.random(textures.shape) < LIFE
        textures = np.where(fresh, rng.random(textures.shape) < 0.5, textures)
        shown = seen(textures[0], x - drift[t, 0], y - drift[t, 1], cell)
        for texture, pose, home in zip(textures[1:], poses, homes, strict=True):
            across, down = x - home[0] - radius * pose.x[t], y - home[1] - radius * pose.y[t]
            cos, sin = np.cos(pose.angle[t]), np.sin(pose.angle[t])
            u, v = cos * across + sin * down, cos * down - sin * across
            inside = (abs(u) < radius * pose.width[t]) & (abs(v) < radius * pose.height[t])
            shown = np.where(inside, seen(texture, u, v, cell), shown)
        grey = np.where(shown, high, low) + rng.normal(0, 4, shown.shape)
        frames[t] = np.clip(grey[..., None] * tint, 0, 255)
    return frames


def seen(texture: NDArray[np.bool_], u: NDArray[np.float64], v: NDArray[np.float64], cell: int) -> NDArray[np.bool_]:
    """The dots at some places; the texture has no edge."""
    rows, columns = (np.floor(place / cell).astype(np.int64) % len(texture) for place in (v, u))
    return texture[rows, columns]


class _Frozen(nn.Module):
    """Some frames of a clip through an image encoder: their mean."""

    def __init__(self, encoder: ImageEncoder, frames: int) -> None:
        super().__init__()
        self.encoder, self.picked = encoder, [(2 * i + 1) * frames // (2 * LOOKS) for i in range(LOOKS)]

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return torch.stack([self.encoder(x_BCTHW[:, :, [t]]).float() for t in self.picked]).mean(dim=0)


class _Own(nn.Module):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.network = encoder.network

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        found: Tensor = self.network(x_BCTHW)
        return found


def probes(run: Path, image: Path, videos: Path, lists: Path | None, *, most: int) -> None:
    """Playback speed and direction by linear probes of both."""
    own, frozen = load_encoder(run), load_encoder(image)
    assert isinstance(own, Encoder)
    assert isinstance(frozen, ImageEncoder)
    clip = own.clip
    plain = ClipSpec(clip.frames, clip.stride, frozen.clip.resize, frozen.clip.size)
    for name, network, spec in (("own", _Own(own), clip), ("frozen", _Frozen(frozen, clip.frames), plain)):
        data = open_videos(videos, resize=spec.resize, lists=lists)
        network.eval()
        train, test = (samples(name, network, data, spec, part, most) for part in ("train", data.test_part))
        for task, result in probe_time(train, test, frames=clip.frames, speeds=SPEEDS).items():
            row, chance = result["rows"][name], result["chance"]
            print(
                f"{name:8} {task:16} {row['accuracy']:5.1f} ± {1.96 * row['standard error']:.1f} (chance {chance:.1f})"
            )


def samples(
    name: str, network: nn.Module, data: Dataset, clip: ClipSpec, part: str, most: int
) -> dict[Task, TaskSamples]:
    numbers = data.numbers(part)
    some = data.subset(thinned(numbers, most))
    skipped: list[Skipped] = []
    drawn = temporal_samples(
        {name: network},
        some,
        clip,
        purpose="train" if part == "train" else "test",
        draws=2,
        seed=0,
        speeds=SPEEDS,
        skipped=skipped,
    )
    if skipped:
        raise SystemExit(f"{len(skipped)} videos cannot be read: {skipped[0]}")
    return drawn


if __name__ == "__main__":
    main()
