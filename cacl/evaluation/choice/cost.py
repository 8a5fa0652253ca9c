"""What a video costs: processor time of an encoder, without decoding."""

from __future__ import annotations

import time

import torch

from cacl.evaluation.embed import evaluating
from cacl.models.clip_encoder import ClipEncoder

ROUNDS = 3


@torch.no_grad()
def milliseconds_a_video(encoder: ClipEncoder, *, clips: int = 10) -> float:
    """Milliseconds of processor time for ``clips`` clips at once, on the device where it is: the least of three rounds.

    A busy machine hardly changes it; on a GPU it is the time of the processor that waits.
    """
    spec = encoder.clip
    pixels = torch.randint(0, 256, (clips, spec.frames, *spec.resize, 3), dtype=torch.uint8)
    rounds = []
    with evaluating(encoder):
        for _ in range(ROUNDS):
            began = time.process_time()
            encoder(pixels).cpu()
            rounds.append(time.process_time() - began)
    return 1000 * min(rounds)
