"""An encoder with a linear layer on top: what fine-tuning leaves, in a folder like the encoder's own.

Shapes: B batch, C=3 colours, T frames, H W pixels, D features of a clip, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cacl.errors import UserError
from cacl.models.cnn3d import build_cnn3d
from cacl.models.encoder import Encoder, clip_from_config
from cacl.models.encoder_card import encoder_card
from cacl.models.encoder_folder import read_encoder_folder, write_encoder_folder
from cacl.run_folder import how_to_mend

Average = Literal["logits", "probabilities"]


class Classifier(nn.Module):
    """Clips in, logits of named classes out.

    Args:
        encoder: the 3D CNN with the clips it knows; ``encoder.clip.layer`` is the feature that the layer stands on.
        classes: names of the K classes, all different.
        linear: ``[D, K]``; ``None`` makes a fresh one.
        clips: how many clips of a video are told, evenly spaced.
        average: what of them is averaged.
        several: a video may have several classes: each logit is one class's own, for a sigmoid; else for a softmax.

    Raises:
        ValueError: names that are not distinct, a layer of another size, or no clip.
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: Sequence[str],
        *,
        linear: nn.Linear | None = None,
        clips: int = 10,
        average: Average = "logits",
        several: bool = False,
    ) -> None:
        super().__init__()
        if not classes or len(set(classes)) != len(classes):
            raise ValueError(f"class names must be distinct, and one at least (found {list(classes)})")
        if type(clips) is not int or clips < 1 or average not in get_args(Average) or type(several) is not bool:
            raise ValueError(f"clips must be 1 or more, average logits or probabilities (found {clips!r}, {average!r})")
        self.encoder, self.classes = encoder, tuple(classes)
        self.clips, self.average, self.several = clips, average, several
        self.linear = nn.Linear(encoder.num_features, len(classes)) if linear is None else linear
        if self.linear.weight.shape != (len(classes), encoder.num_features):
            raise ValueError(
                f"the linear layer is {list(self.linear.weight.shape)} for {len(classes)} classes "
                f"of {encoder.num_features} features"
            )

    def forward(self, clips: Tensor | NDArray[np.uint8]) -> Tensor:
        """Logits ``[B, K]``, float32, of clips as ``Encoder.forward`` takes them (uint8 frames, or pixels)."""
        features_BD = self.encoder(clips)
        with torch.autocast(features_BD.device.type, enabled=False):
            logits_BK: Tensor = self.linear(features_BD.float())
        return logits_BK

    def save(self, folder: str | Path, *, trained_on: str = "", measured: str = "") -> None:
        """Write ``config.json`` (the encoder's, and the classes), ``model.safetensors`` and ``README.md``, atomically.

        Args:
            folder: where; made when missing. A classifier that is there stays until the new one is complete.
            trained_on: for the card, Markdown.
            measured: for the card, Markdown.

        Raises:
            UserError: the folder holds something else, or cannot be written.
        """
        state = self.encoder.network.state_dict() | {f"linear.{k}": v for k, v in self.linear.state_dict().items()}
        card = classifier_card(self.config, trained_on=trained_on, measured=measured)
        write_encoder_folder(folder, self.config, state, card, kind="classifier")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The classifier in a classifier folder or in a run folder, on the CPU, in eval mode. Runs no code from it.

        Raises:
            UserError: no classifier there, a damaged file, or a version that is not known.
        """
        folder, config, state = read_encoder_folder(path, kind="classifier")
        linear = {name.removeprefix("linear."): value for name, value in state.items() if name.startswith("linear.")}
        try:
            network, clip, classes = {"width": 64, **config["network"]}, clip_from_config(config), config["classes"]
            if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
                raise TypeError("classes must be a list of names")
            with torch.device("meta"):  # before memory is asked for: a damaged width may be any number
                blueprint = build_cnn3d(**network).state_dict()
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise UserError(_no_description(folder, error)) from error
        cnn = {name: value for name, value in state.items() if not name.startswith("linear.")}
        if {k: v.shape for k, v in cnn.items()} != {k: v.shape for k, v in blueprint.items()}:
            raise UserError(
                f"{folder / 'model.safetensors'} does not fit its config.json, which says {network['name']} of width "
                f"{network['width']}: {how_to_mend(folder)}."
            )
        try:
            classifier = cls(Encoder(**network, clip=clip), classes, **config["video"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(_no_description(folder, error)) from error
        found = linear["weight"].shape[0] if "weight" in linear and linear["weight"].ndim else 0
        try:
            classifier.linear.load_state_dict(linear)
        except RuntimeError as error:
            raise UserError(
                f"{folder / 'model.safetensors'} tells {found} classes, but config.json names {len(classes)} "
                f"({', '.join(classes[:5])} …): {how_to_mend(folder)}."
            ) from error
        classifier.encoder.network.load_state_dict(cnn)
        return classifier.eval()

    @property
    def config(self) -> dict[str, Any]:
        """What ``config.json`` holds: the encoder's, the class names, and how a video is told from its clips."""
        video: dict[str, Any] = {"clips": self.clips, "average": self.average}
        if self.several:
            video["several"] = True
        return {**self.encoder.config, "classes": list(self.classes), "video": video}

    def __repr__(self) -> str:
        return f"Classifier({len(self.classes)} classes on {self.encoder!r})"


def _no_description(folder: Path, error: Exception) -> str:
    reason = (str(error).splitlines() or [""])[0][:200]
    return (
        f"{folder / 'config.json'} does not describe a classifier ({type(error).__name__}: {reason}): "
        f"{how_to_mend(folder)}."
    )


_USE = """\
```python
from cacl.models.classifier import Classifier

classifier = Classifier.load("PATH/OF/THIS/FOLDER")
logits = classifier(clips)          # uint8 [B, {frames}, H, W, 3] -> float32 [B, {classes}]
best = [classifier.classes[k] for k in logits.argmax(dim=1)]
```

A folder of videos: `cacl classify PATH/OF/THIS/FOLDER VIDEOS --out table.csv`"""


def classifier_card(config: Mapping[str, Any], *, trained_on: str = "", measured: str = "") -> str:
    """Text of ``README.md`` in a classifier folder: the encoder's card with the classes and their use."""
    classes, clip = config["classes"], config["clip"]
    head, _, rest = encoder_card(config, trained_on=trained_on, measured=measured).partition("## Input")
    network = config["network"]
    header = head.split("# ", 1)[0].replace("feature-extraction", "video-classification")
    names = ", ".join(f"`{name}`" for name in classes)
    return (
        f"{header.replace('- self-supervised', '- action-recognition')}"
        f"# {network['name']} (width {network['width']}), {len(classes)} classes\n\n"
        f"A 3D CNN with a linear layer that tells {len(classes)} classes: {names}. A video is told by the mean of the "
        f"{config['video']['average']} of {config['video']['clips']} clips, evenly spaced.\n\n"
        f"## Use\n\n{_USE.format(frames=clip['frames'], classes=len(classes))}\n\n## Input{rest}"
    )
