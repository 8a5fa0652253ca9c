"""The stage before a method that stands on a frozen image encoder: what that says of some moments of every video.

Shapes: V training videos, L moments, F features of a frame.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor

from cacl.data.videos.catalog import Skipped
from cacl.data.videos.dataset import Dataset
from cacl.distributed.processes import is_first, wait_for_first
from cacl.evaluation.choice.fuse import open_image_encoder, resized
from cacl.evaluation.embed import clips_through, evaluating
from cacl.files import write_whole
from cacl.models.frozen_frames import FrozenFrames
from cacl.run_folder import RunFolder
from cacl.training.progress import VideoProgress
from cacl.training.stop import StopRequest

TABLE = "frozen.safetensors"


def frozen_stage(run: RunFolder, data: Dataset, numbers: list[int], stop: StopRequest) -> FrozenFrames:
    """The table of a run, made once and kept in its folder; every process calls this.

    Args:
        run: with the image encoder's folder in its request (``--with-frozen``).
        data: its videos.
        numbers: those that it trains on, in the order in which the training numbers them.
        stop: ends it; it is made anew then.
    """
    settings, file = run.resolved.settings, run.path / TABLE
    if not file.exists():
        image = open_image_encoder(run.data["frozen"]).to(settings.run.device)
        span = (settings.data.frames - 1) * settings.data.stride  # of a clip, whose middle is looked at
        clip = replace(image.clip, frames=3, stride=max(1, span // 2), blank=settings.data.blank)
        clip = replace(clip, colours=data.rules.colours, levels=data.rules.levels, frame_rate=settings.data.frame_rate)
        found, skipped = dict[int, Tensor](), list[Skipped]()
        with VideoProgress(stop) as progress, evaluating(image):

            @torch.no_grad()
            def look(frames_NTHWC: NDArray[np.uint8]) -> Tensor:
                middle: Tensor = image(frames_NTHWC[:, 1:2])
                return middle.float()

            moments = settings.method.frozen_moments
            part = resized(data, clip).subset(numbers)
            watch = progress.of("videos looked at")
            for number, vectors_LF in clips_through(
                look, part, clip, clips=moments, skipped=skipped, progress=lambda n: watch(n, len(numbers))
            ):
                found[number] = vectors_LF
        mean_LF = torch.stack(list(found.values())).mean(dim=0)  # in place of a video that cannot be read
        table_VLF = torch.stack([found.get(number, mean_LF) for number in range(len(numbers))])
        if is_first():
            told = {"source": json.dumps(image.origin.source)}
            write_whole(file, save({"features": table_VLF.half().contiguous()}, told))
        wait_for_first()
    return FrozenFrames(load_file(file)["features"])
