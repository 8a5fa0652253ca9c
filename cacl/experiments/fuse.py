"""``cacl fuse``: a run's encoder beside a frozen image encoder, as one encoder folder, weighed without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from cacl.errors import UserError
from cacl.evaluation.choice.fuse import Fused, Watch, fuse_parts, open_image_encoder, silent
from cacl.models.encoder import Encoder
from cacl.run_folder import RunFolder
from cacl.training.videos import open_run_data, training_numbers


def fuse(
    run: str | Path,
    image_encoder: str | Path,
    *,
    out: str | Path,
    weight: float | Literal["auto"] = "auto",
    progress: Watch = silent,
) -> Fused:
    """Put a finished run's encoder and a frozen image encoder into one encoder folder.

    Args:
        run: a finished run: its training videos give the means of both parts, and the weight.
        image_encoder: a folder of ``cacl import --image-encoder``.
        out: the encoder folder to make; a fused one that is there is replaced.
        weight: how often the own part counts, 0 or more; ``auto`` chooses it, centring and whitening by how well other
            moments of the same video are found among all, without labels.
        progress: called with what is done, how much of it and of how much.

    Raises:
        UserError: the run is not finished, ``image_encoder`` is none, or ``out`` cannot be written.
    """
    if weight != "auto" and not 0 <= weight < float("inf"):
        raise UserError(f"--weight is {weight}; it must be auto, or a number of 0 or more.")
    folder = RunFolder.open(Path(run))
    own, image = Encoder.load(folder.path), open_image_encoder(image_encoder)
    data = open_run_data(folder)
    numbers = training_numbers(folder.resolved.settings, data)
    made = fuse_parts(own, image, data, numbers, weight=weight, progress=progress)
    made.encoder.save(out)
    return made
