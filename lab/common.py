"""Laboratory: videos of a raw store in memory, evaluation of vectors, a log of results. Not product code."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import numpy as np
import torch

from cacl.data.clips import evaluation_clips
from cacl.data.sources import FrameStore
from cacl.evaluation.retrieval import nearest
from cacl.models.encoder import pool_map

LAB = Path("/tmp/lab")


class Videos:
    """The store's videos, their classes, source videos and split."""

    def __init__(self, store: str = "/tmp/lab/raw.store") -> None:
        self.store = FrameStore(store)
        v = self.store.catalog.videos
        self.frames = np.array([x.frames for x in v])
        classes = sorted({x.label for x in v})
        self.label = np.array([classes.index(x.label) for x in v])
        groups = [re.search(r"v_(.+?)_g(\d+)_c", x.path).groups() for x in v]
        names = sorted(set(groups))
        self.group = np.array([names.index(g) for g in groups])
        self.train = np.flatnonzero([x.split == "train" for x in v])
        self.test = np.flatnonzero([x.split == "test" for x in v])
        self.path = [str(self.store.catalog.root / x.path) for x in v]
        self.bytes = np.memmap(self.store.path / "frames.bin", np.uint8, mode="r").reshape(
            -1, self.store.height, self.store.width, 3
        )
        self.first = self.store._first

    def read(self, video: int, index: np.ndarray) -> np.ndarray:
        return self.bytes[self.first[video] + index]


@torch.no_grad()
def embed(net, videos: Videos, prep, *, clips: int = 5, size: int = 56, frames: int = 16, stride: int = 2, which=None):
    """Vectors per video and layer: dict layer -> [V, D]; prep maps [B,3,T,S,S] in [0,1] to what net sees."""
    net.eval()
    out: dict[str, list] = {"max": [], "mean": []}
    h, w = videos.store.height, videos.store.width
    top, left = round((h - size) / 2), round((w - size) / 2)
    for i in range(len(videos.frames)) if which is None else which:
        plan = evaluation_clips(int(videos.frames[i]), frames=frames, stride=stride, clips=clips)
        x = np.stack([videos.read(i, p) for p in plan])[:, :, top : top + size, left : left + size]
        x = torch.from_numpy(x).permute(0, 4, 1, 2, 3).float().div_(255)
        x = prep(x).contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast("cpu", torch.bfloat16):
            m = net.forward_features(x)
        for layer in out:
            out[layer].append(pool_map(m, layer).mean(0).numpy())
    net.train()
    return {k: np.stack(v) for k, v in out.items()}


def unit(x, centre=None):
    x = x - (x.mean(0) if centre is None else centre)
    return x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-9)


def whiten(train, x, *, keep: int = 64, shrink: float = 0.1):
    """PCA whitening by the training videos' statistics: no labels."""
    mu = train.mean(0)
    _, s, v = np.linalg.svd(train - mu, full_matrices=False)
    var = s**2 / len(train)
    k = min(keep, len(s))
    return ((x - mu) @ v[:k].T) / np.sqrt(var[:k] + shrink * var[:k].mean())


def hits(videos: Videos, x, ks=(1, 5, 10)):
    """Hits of the test videos against the training videos, [Q, len(ks)]."""
    idx, _ = nearest(x[videos.test].astype(np.float32), x[videos.train].astype(np.float32), max(ks))
    right = videos.label[videos.train][idx] == videos.label[videos.test][:, None]
    return np.stack([right[:, :k].any(1) for k in ks], 1)


def r1_other_groups(videos: Videos, x):
    """R@1 of all videos against all videos of other source videos: less noise, for screening."""
    x = unit(x, 0 * x.mean(0))
    s = x @ x.T
    s[videos.group[:, None] == videos.group[None]] = -9
    return 100 * (videos.label[s.argmax(1)] == videos.label).mean()


def paired(videos: Videos, a, b, n=4000, seed=0):
    """Mean difference of R@1 hits in points with a 95 % interval, resampling source videos."""
    d = 100 * (a[:, 0].astype(float) - b[:, 0].astype(float))
    g = videos.group[videos.test]
    ids, inv = np.unique(g, return_inverse=True)
    sums, counts = np.bincount(inv, d), np.bincount(inv)
    rng = np.random.default_rng(seed)
    pick = rng.integers(len(ids), size=(n, len(ids)))
    means = sums[pick].sum(1) / counts[pick].sum(1)
    return d.mean(), *np.percentile(means, [2.5, 97.5])


def own_variants(videos: Videos, f: dict):
    """Label-free ways to use the features of a network."""
    out = {}
    for layer, x in f.items():
        t = x[videos.train]
        out[layer] = x
        out[layer + "+c"] = unit(x, t.mean(0))
        sd = t.std(0) + 1e-3 * t.std(0).mean()
        out[layer + "+z"] = unit((x - t.mean(0)) / sd, 0 * sd)
        out[layer + "+w"] = unit(whiten(t, x), 0)
    return out


def fused(videos: Videos, own, frozen, weight):
    t = videos.train
    return np.concatenate([unit(frozen, frozen[t].mean(0)), weight * unit(own, own[t].mean(0))], 1)


def report(name, videos: Videos, f: dict, extra: dict, frozen=None):
    """Print and append one row."""
    row = {"name": name, **extra}
    v = own_variants(videos, f)
    for key, x in v.items():
        row[key] = [round(float(100 * r), 1) for r in hits(videos, x).mean(0)] + [round(float(r1_other_groups(videos, x)), 1)]
    if frozen is not None:
        for layer in ("max", "mean"):
            for w in (0.5, 0.7, 1.0):
                x = fused(videos, f[layer], frozen, w)
                row[f"fused {layer} {w}"] = [round(float(100 * r), 1) for r in hits(videos, x).mean(0)] + [
                    round(float(r1_other_groups(videos, x)), 1)
                ]
    np.savez_compressed(LAB / "vec" / f"{name}.npz", **f)
    with open(LAB / "results.jsonl", "a") as file:
        file.write(json.dumps(row) + "\n")
    keys = ["max", "max+c", "mean+c", "mean+z", "mean+w", "fused mean 0.7", "fused max 0.7"]
    print(name, json.dumps(extra), *(f"\n   {k}: {row[k]}" for k in keys if k in row), flush=True)
    return row


def paired_all(videos: Videos, a, b, n=4000, seed=0):
    """As ``paired``, of all videos against those of other source videos (see ``r1_other_groups``)."""

    def hit(x):
        x = unit(x, 0 * x.mean(0))
        s = x @ x.T
        s[videos.group[:, None] == videos.group[None]] = -9
        return 100.0 * (videos.label[s.argmax(1)] == videos.label)

    d = hit(a) - hit(b)
    ids, inv = np.unique(videos.group, return_inverse=True)
    sums, counts = np.bincount(inv, d), np.bincount(inv)
    pick = np.random.default_rng(seed).integers(len(ids), size=(n, len(ids)))
    means = sums[pick].sum(1) / counts[pick].sum(1)
    return d.mean(), *np.percentile(means, [2.5, 97.5])
