"""Clips of a folder's videos in a PyTorch ``DataLoader``, and a linear layer trained on the features of an encoder.

    python examples/torch_dataset.py runs/mine videos/

``videos/`` has a folder a class. ``Clips`` is a plain map-style data set: shuffle it, split it, give it to several
workers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import cacl
from cacl.data.media.any_video import open_video
from cacl.data.videos.scan import scan
from cacl.models.segments import segment_windows


class Clips(Dataset[tuple[torch.Tensor, int]]):
    """Every window of every video: uint8 ``[T, H, W, 3]`` and the number of its class."""

    def __init__(self, folder: Path, clip: cacl.ClipSpec) -> None:
        catalog = scan(folder)  # files that are no videos are in catalog.skipped, each with the reason
        self.clip = clip
        self.classes = sorted({video.labels[0] for video in catalog.videos if video.labels})
        self.items = [
            (str(catalog.file(video)), frames_T, self.classes.index(video.labels[0]))
            for video in catalog.videos
            if video.labels
            for frames_T in segment_windows(video.frames, frames=clip.frames, stride=clip.stride)[0]
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, frames_T, label = self.items[index]
        height, width = self.clip.resize
        with open_video(path, rules=self.clip.rules) as video:  # decodes these frames alone
            return torch.from_numpy(np.asarray(video.read(frames_T, height=height, width=width))), label


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run folder or an encoder folder")
    parser.add_argument("videos", type=Path, help="a folder of class folders")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0)
    arguments = parser.parse_args()

    encoder = cacl.load(arguments.run)  # in eval mode
    clips = Clips(arguments.videos, encoder.clip)
    loader = DataLoader(clips, batch_size=8, shuffle=True, num_workers=arguments.workers)
    head = nn.Sequential(nn.BatchNorm1d(encoder.num_features), nn.Linear(encoder.num_features, len(clips.classes)))
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
    for epoch in range(arguments.epochs):
        right = 0
        for frames_BTHWC, label_B in loader:
            with torch.no_grad():
                features_BD = encoder(frames_BTHWC)  # crops and scales the pixels as in its training
            scores_BK = head(features_BD)
            loss = nn.functional.cross_entropy(scores_BK, label_B)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            right += int((scores_BK.argmax(1) == label_B).sum())
        print(f"epoch {epoch + 1}: {right} of {len(clips)} clips told right, {len(clips.classes)} classes")


if __name__ == "__main__":
    main()
