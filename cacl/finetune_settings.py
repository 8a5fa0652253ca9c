"""Settings of fine-tuning with their presets: ``paper``, ``released``, ``small``.

Clip length, stride and pixels are the encoder's and cannot be set. What the paper does not give takes the released
code's value. What ``small`` gives, and on which videos it was chosen: ``docs/results.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cacl import presets
from cacl.config import ResolvedOf, load_resolved_as, resolve_as
from cacl.errors import UserError, did_you_mean
from cacl.settings import Auto, ClipAugment, Optim, Positive, Rate, Run, Section, refuse


class FineTuneData(Section):
    """Where frames come from, and which videos are held out."""

    store: str  # "auto", "none" or a folder: where decoded frames are kept
    workers: Auto | Annotated[int, Field(ge=0)]
    hold_out: Auto | Annotated[int, Field(ge=0)]  # of all labels, so many videos are held out at random, for validation
    clips_per_video: Literal["one", "duration"] = "one"  # an epoch; older runs had neither this nor the next
    balance: bool = False  # every class is read as often in an epoch
    window: Literal["fitted", "padded"] = "fitted"  # of training and test clips; older runs had "fitted"


class FineTuneModel(Section):
    """What is put on top of the encoder."""

    norm: Literal["none", "batch"]  # of G's features, each to mean 0 and deviation 1
    dropout: Annotated[float, Field(ge=0, lt=1)]  # of G's features, before the linear layer


class FineTuneOptim(Optim):
    """Optimisation, with the released code's two groups of parameters."""

    late_lr: Rate | None  # constant rate of conv4, conv5 and the linear layer; None: the schedule's, as all others


class FineTuneTest(Section):
    """How videos are told."""

    clips: Positive  # a video, evenly spaced
    average: Literal["logits", "probabilities"]  # over the clips
    strength: Rate  # of the linear probe: the inverse of its regularisation


class FineTune(Section):
    """Everything that decides a fine-tuning."""

    preset: Literal["paper", "released", "small"]
    data: FineTuneData
    model: FineTuneModel
    augment: ClipAugment  # of a training clip; the size is the encoder's
    optim: FineTuneOptim
    test: FineTuneTest
    run: Run

    @model_validator(mode="after")
    def _ranges(self) -> FineTune:
        refuse([*self.augment.problems(), *self.optim.problems("optim")])
        return self


PAPER: dict[str, Any] = {
    "preset": "paper",
    "data": {
        "store": "none",
        "workers": 4,
        "hold_out": 0,  # validation: not given
        "clips_per_video": "one",
        "balance": False,
        "window": "fitted",
    },
    "model": {"norm": "none", "dropout": 0.0},  # not given, and none in the released code
    "augment": {  # not given: the released code's
        "crop": "fixed",
        "area": [1.0, 1.0],
        "flip": 0.5,
        "jitter": [0.4, 0.4, 0.4, 0.1],
        "jitter_p": 0.5,
        "hue": "hsv",
        "gray_p": 0.2,
        "blur_sigma": [0.1, 2.0],
        "blur_p": 0.0,
    },
    "optim": {  # section 4.1, supervised fine-tuning
        "optimizer": "sgd",
        "lr": 0.1,
        "weight_decay": 5e-4,  # not given: the released code's
        "schedule": "cosine",
        "schedule_per": "epoch",  # released code
        "milestones": [],
        "milestone_factor": 0.1,
        "first_epoch": 0,
        "warmup_epochs": 0.0,
        "clip_gradient": None,
        "batch_size": 128,
        "epochs": 150,
        "accumulate": 1,
        "late_lr": None,
    },
    "test": {"clips": 10, "average": "logits", "strength": 1.0},  # "average of the results": logits, as released
    "run": dict(presets.PAPER["run"]),  # as in pretraining
}


def _with(base: Mapping[str, Any], **sections: Any) -> dict[str, Any]:
    """A copy of a preset with some values of its sections replaced."""
    return {
        name: {**value, **sections.get(name, {})} if isinstance(value, dict) else sections.get(name, value)
        for name, value in base.items()
    }


RELEASED = _with(
    PAPER,
    preset="released",
    data={"hold_out": "auto", "window": "padded"},  # 800 of UCF101's, 400 of HMDB51's
    optim={"late_lr": 1e-3, "batch_size": 64, "first_epoch": 1},  # batch size: its README
)

SMALL = _with(
    PAPER,
    preset="small",
    data={"store": "auto", "workers": "auto"},
    model={"norm": "batch"},
    augment={"crop": "area", "area": [0.3, 1.0], "jitter_p": 0.8, "hue": "yiq"},
    optim={
        "optimizer": "adamw",
        "lr": 2e-3,
        "weight_decay": 0.05,
        "schedule_per": "step",
        "warmup_epochs": 2.0,
        "batch_size": 32,
        "epochs": "auto",
    },
    run={"precision": "auto", "channels_last": "auto"},
)

FINETUNE_PRESETS: dict[str, dict[str, Any]] = {"paper": PAPER, "released": RELEASED, "small": SMALL}


def resolve_finetune(
    *,
    preset: str = "small",
    config: str | Path | None = None,
    assignments: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> ResolvedOf[FineTune]:
    """Preset, file, assignments and flags as one checked tree. Raises UserError with all problems."""
    if preset not in FINETUNE_PRESETS:
        raise UserError(
            f"{preset} is not a preset; there are {', '.join(FINETUNE_PRESETS)}."
            f"{did_you_mean(preset, FINETUNE_PRESETS)}"
        )
    return resolve_as(
        FineTune,
        FINETUNE_PRESETS[preset],
        file=None if config is None else Path(config),
        assignments=tuple(assignments),
        flags=flags,
    )


def load_finetune(folder: Path) -> ResolvedOf[FineTune]:
    """The settings of a fine-tuning run, as last written."""
    return load_resolved_as(FineTune, folder / "config.yaml")
