"""What vectors depend on beside the videos: the encoder's weights and files, and the precision."""

from __future__ import annotations

import hashlib

import torch

from cacl.errors import UserError
from cacl.evaluation.video_vectors import WINDOWS
from cacl.machine.precision import PrecisionName, choose_precision
from cacl.models.clip_encoder import ClipEncoder
from cacl.models.encoder import Encoder


def weights_digest(encoder: ClipEncoder) -> str:
    """SHA-256 of all that is in an encoder's folder beside its description, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, value in sorted(encoder.tensors().items()):
        digest.update(name.encode())
        digest.update(value.cpu().numpy().tobytes())
    for name, content in sorted(encoder.files().items()):
        digest.update(name.encode())
        digest.update(content)
    return digest.hexdigest()


def embedding_precision(precision: PrecisionName, encoder: ClipEncoder, device: str) -> tuple[torch.dtype | None, str]:
    """What to compute in, ``None`` for float32, and why. Raises UserError: frozen image encoders know float32 alone."""
    if isinstance(encoder, Encoder):
        clip = encoder.clip
        shape = (WINDOWS, 3, clip.frames, clip.size, clip.size)
        return choose_precision(precision, [(encoder.network, shape)], device=device)
    if precision not in ("auto", "float32"):
        raise UserError(f"--precision is {precision}; frozen image encoders are computed in float32.")
    return None, "a frozen image encoder is in it"
