"""Every setting with its type and its bounds; ``config.py`` merges, reads and writes them.

Groups are frozen, refuse unknown keys and values of another type, and check what must fit together. Names are those of
the arguments that the settings become.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator

if TYPE_CHECKING:
    from torch import nn

    from cacl.methods.contract import Method
    from cacl.methods.curves import Curve
    from cacl.models.cnn3d import CNN3D
    from cacl.models.frame_encoder import ResNet

Auto = Literal["auto"]
VCOPName = Literal["c3d", "r3d10", "r3d18", "r3d34", "r2plus1d10", "r2plus1d18"]  # the networks as VCOP has them
CNN3DName = Literal[VCOPName, "r3d10-tclr", "r3d18-tclr", "r2plus1d18-torchvision"]
Unit = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


FromList = BeforeValidator(_as_tuple)  # YAML has lists, frozen settings have tuples
FromLists = BeforeValidator(lambda value: tuple(map(_as_tuple, value)) if isinstance(value, list) else value)
Box = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)], Positive, Positive]
Range = Annotated[tuple[Rate, Rate], FromList]
Mean = Annotated[tuple[float, float, float], FromList]
Std = Annotated[tuple[Rate, Rate, Rate], FromList]


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys and values of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Data(Section):
    """Which frames are read."""

    frames: Annotated[int, Field(ge=2, le=32)]  # 32: the longest clip whose shuffle degrees can be drawn
    stride: Positive
    resize: Annotated[tuple[Positive, Positive], FromList]  # height, width in pixels
    start_window: Positive | None  # draw training starts as if the window were this long, leave out shorter videos
    moments: Annotated[int, Field(ge=1, le=2)]  # 2: view k shows another moment of the same video
    frame_rate: Rate | None = None  # frames a second at which every video is read; None: each at its own
    clips_per_video: Literal["one", "duration"] = "one"  # an epoch; duration: more of those longer than the median
    window: Literal["fitted", "padded"] = "fitted"  # of evaluation clips: released counts the gap after the last frame
    hold_out: Auto | Annotated[int, Field(ge=0)] = 0  # so many training videos, drawn at random, are not trained on
    store: str  # "auto", "none" or a folder: where decoded frames are kept
    workers: Auto | Annotated[int, Field(ge=0)]
    # from here on the defaults are what runs had before there was a choice
    colours: Literal["shown", "coded"] = "coded"
    levels: Literal["auto", "full", "percentiles"] = "full"
    blank: Annotated[tuple[Box, ...], FromLists] = ()  # boxes painted black in every frame: x, y, width, height, pixels
    picture_rate: Rate | None = None  # frames a second of folders of pictures, where no list says it

    @model_validator(mode="after")
    def _window(self) -> Data:
        window = (self.frames - 1) * self.stride + 1
        if self.start_window is not None and self.start_window < window:
            refuse([f"data.start_window {self.start_window} is shorter than the {window} frames that a clip spans"])
        return self


class ClipAugment(Section):
    """How a clip is changed; the same draw for all of its frames."""

    crop: Literal["fixed", "area"]
    area: Range  # share of the frame that an area crop covers
    flip: Unit
    jitter: Annotated[tuple[NotNegative, NotNegative, NotNegative, Annotated[float, Field(ge=0, le=0.5)]], FromList]
    jitter_p: Unit
    hue: Literal["hsv", "yiq"]
    gray_p: Unit
    blur_sigma: Range  # pixels
    blur_p: Unit

    def problems(self) -> list[str]:
        """What does not fit together, in sentences."""
        found = _area_problems("augment.area", self.area)
        if self.blur_sigma[0] > self.blur_sigma[1]:
            found.append(f"augment.blur_sigma must go from low to high (found {list(self.blur_sigma)})")
        return found


class Augment(ClipAugment):
    """How a clip is changed for one view, and into what."""

    size: Annotated[int, Field(ge=16)]  # pixels
    mean: Mean | None
    std: Std | None

    @model_validator(mode="after")
    def _ranges(self) -> Augment:
        problems = self.problems()
        if (self.mean is None) != (self.std is None):
            problems.append("augment.mean and augment.std are given together or not at all")
        refuse(problems)
        return self


class Model(Section):
    """The networks."""

    network: CNN3DName
    width: Annotated[int, Field(ge=4)]
    standardise: Literal["none", "clip", "motion"]  # of G's pixels: see normalise_ in data/clips/normalise.py
    frame_encoder: Literal["resnet18", "resnet50"]
    frame_width: Annotated[int, Field(ge=4)]
    frame_weights: str | None  # a file; None trains the frame encoder first
    frame_mean: Mean | None  # what its weights expect
    frame_std: Std | None
    token_width: Positive
    depth: Positive
    heads: Positive
    projection: Literal["linear", "mlp"]  # contrast heads: the paper's linear layer, or two layers with BatchNorm
    degree_hidden: Positive
    degree_dropout: Annotated[float, Field(ge=0, lt=1)]
    degree_input: Literal["pair", "ratio"]  # ratio: the degree head sees the standardised log G(x~) - log G(x)

    @model_validator(mode="after")
    def _together(self) -> Model:
        problems = []
        if self.token_width % self.heads:
            problems.append(f"model.token_width {self.token_width} must be a multiple of model.heads {self.heads}")
        if (self.frame_mean is None) != (self.frame_std is None):
            problems.append("model.frame_mean and model.frame_std are given together or not at all")
        refuse(problems)
        return self


METHODS: dict[str, str] = {
    "assisted": "cacl.methods.assisted:AssistedSettings",
    "cacl": "cacl.methods.cacl_settings:CACLSettings",
    "cvrl": "cacl.methods.cvrl_settings:CVRLSettings",
    "dsm": "cacl.methods.rivals.dsm:DSMSettings",
    "iic": "cacl.methods.rivals.iic:IICSettings",
    "lejepa": "cacl.methods.rivals.lejepa:LeJEPASettings",
    "moco+be": "cacl.methods.rivals.moco_be:MoCoBESettings",
    "opn": "cacl.methods.rivals.opn:OPNSettings",
    "pace": "cacl.methods.rivals.pace:PaceSettings",
    "pace+context": "cacl.methods.rivals.pace:PaceContextSettings",
    "prp": "cacl.methods.rivals.prp:PRPSettings",
    "rspnet": "cacl.methods.rivals.rspnet:RSPNetSettings",
    "shuffle-learn": "cacl.methods.rivals.shuffle_learn:ShuffleLearnSettings",
    "speednet": "cacl.methods.rivals.speednet:SpeedNetSettings",
    "st-puzzle": "cacl.methods.rivals.st_puzzle:STPuzzleSettings",
    "tclr": "cacl.methods.rivals.tclr:TCLRSettings",
    "vcop": "cacl.methods.vcop:VCOPSettings",
    "vcp": "cacl.methods.rivals.vcp:VCPSettings",
    "videomoco": "cacl.methods.rivals.videomoco:VideoMoCoSettings",
}
"""Name of a method -> where its settings are, ``module:class``; they know how to build it."""


class MethodSettings(Section):
    """What decides the loss: each method has a subclass of its own, with how to build it.

    Defaults are those of every preset; ``presets`` has what a preset changes. ``published`` has what its authors ran:
    dotted keys of the whole tree, over the preset ``paper``; None where the paper and the code of this project's own
    method stand for that, or where nobody has told it.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    published: ClassVar[Mapping[str, Any] | None] = None
    name: str

    @property
    def wants_frame_encoder(self) -> bool:
        """Whether a frame encoder is trained first, and frozen."""
        return False

    @property
    def frozen_moments(self) -> int:
        """So many frames of each video are looked at by a frozen image encoder before the training; 0: none."""
        return 0

    @property
    def own_batchnorm(self) -> bool:
        """Whether each process normalises its own share of a batch."""
        return False

    def label(self, origins: Mapping[str, str]) -> str | None:
        """What the method is called in tables; None for settings that have no name."""
        return self.name

    def auto_values(self, *, videos: int) -> dict[str, tuple[Any, str]]:
        """Values of its ``auto`` settings from the number of training videos: dotted key -> (value, reason)."""
        return {}

    def curves(self, frames: int) -> Sequence[Curve]:
        """What it logs, of clips of ``frames`` frames, beside what every training logs."""
        return ()

    def warnings(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Sentences for what looks wrong in its rows of ``metrics.jsonl``, that not every training can have."""
        return []

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> Method:
        """The method; no ``auto`` is left in the settings.

        Args:
            network: the encoder with the run's initial weights.
            frame_encoder: trained, where one is wanted; or what a frozen one said of the videos (``FrozenFrames``).
            videos: how many there are to train on.
        """
        raise NotImplementedError

    def build_frames(self, settings: Settings, *, frame_encoder: ResNet) -> Method:
        """What trains the frame encoder, where one is wanted."""
        raise NotImplementedError


def method_settings(name: str) -> type[MethodSettings]:
    """The settings class of a method. Raises KeyError where there is none of that name."""
    module, _, cls = METHODS[name].partition(":")
    found: type[MethodSettings] = getattr(importlib.import_module(module), cls)
    return found


class Optim(Section):
    """One stage's optimisation."""

    optimizer: Literal["sgd", "adamw"]
    lr: Rate
    weight_decay: NotNegative
    schedule: Literal["cosine", "step"]
    schedule_per: Literal["step", "epoch"]
    milestones: Annotated[tuple[Positive, ...], FromList]  # epochs, for schedule "step"
    milestone_factor: Annotated[float, Field(gt=0, le=1)] = 0.1  # of the rate at each; older runs had no choice
    first_epoch: Literal[0, 1] = 0  # the schedule's number for it; older runs counted from 0
    warmup_epochs: NotNegative
    clip_gradient: Rate | None
    batch_size: Annotated[int, Field(ge=2)]  # BatchNorm has nothing to average over one clip
    epochs: Auto | Positive
    accumulate: Positive = 1  # parts that a batch goes through the networks in; older runs had one

    def problems(self, key: str) -> list[str]:
        """What does not fit together, in sentences that call this group ``key``."""
        found, size, parts = [], self.batch_size, self.accumulate
        if size % parts or size < 2 * parts:
            found.append(f"{key}.accumulate {parts} must cut {key}.batch_size {size} into equal parts of two or more")
        if self.first_epoch == 1 and (self.schedule, self.schedule_per) == ("cosine", "step"):
            found.append(f"{key}.first_epoch 1 is for {key}.schedule_per epoch; a cosine by the step has no epochs")
        return found


class Frames(Section):
    """MoCo on frames, the stage before CACL (paper section 4.1)."""

    every: Positive  # each how-manieth frame
    crop: Literal["fixed", "area"]
    area: Range
    queue_size: Auto | Positive
    temperature: Rate
    momentum: Unit
    optim: Optim

    @model_validator(mode="after")
    def _ranges(self) -> Frames:
        refuse(_area_problems("frames.area", self.area))
        return self


class Run(Section):
    """Where and how it runs. Older runs have none of those that have a value here."""

    seed: Annotated[int, Field(ge=0, lt=2**63)]
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    channels_last: Auto | bool
    compile: bool  # each network by itself
    deterministic: bool
    threads: Auto | Positive  # of PyTorch on the CPU
    log_every: Positive  # steps
    save_minutes: Rate
    checkpoint_activations: bool = False  # compute the 3D CNN's activations again in the backward pass: less memory
    tf32: Auto | bool = "auto"  # on NVIDIA GPUs, float32 products with 10 bits of mantissa
    tensorboard: bool = False  # the metrics as event files, too

    @model_validator(mode="after")
    def _either(self) -> Run:
        if self.compile and self.checkpoint_activations:
            refuse(["run.compile and run.checkpoint_activations do not go together: set one of them to false"])
        return self


class Settings(Section):
    """Everything that decides a run."""

    preset: Literal["paper", "released", "small", "published"]
    data: Data
    augment: Augment
    model: Model
    method: MethodSettings
    optim: Optim
    frames: Frames
    run: Run

    @model_validator(mode="after")
    def _fits(self) -> Settings:
        problems, resize = [], list(self.data.resize)
        crops = {"augment.crop": self.augment.crop, "frames.crop": self.frames.crop}
        fixed = [key for key, crop in crops.items() if crop == "fixed"]
        if self.augment.size > min(resize):
            why = f"with {fixed[0]} fixed" if fixed else "(evaluation cuts it out of the centre)"
            problems.append(f"augment.size {self.augment.size} does not fit in data.resize {resize} {why}")
        problems += self.optim.problems("optim") + self.frames.optim.problems("frames.optim")
        if self.model.network == "c3d" and self.data.frames < 8:
            problems.append(f"model.network c3d needs data.frames of 8 or more (found {self.data.frames})")
        refuse(problems)
        return self

    @property
    def wants_frame_encoder(self) -> bool:
        """Whether the method stands on a frame encoder."""
        return self.method.wants_frame_encoder


@cache
def settings_of(method: str) -> type[Settings]:
    """``Settings`` whose ``method`` is read by the class of that method. Raises KeyError where there is none."""
    kind: type[Settings] = create_model("Settings", __base__=Settings, method=(method_settings(method), ...))
    return kind


def _area_problems(key: str, area: tuple[float, float]) -> list[str]:
    if area[0] <= area[1] <= 1:
        return []
    return [f"{key} must be shares of the frame, 0 < low <= high <= 1 (found {list(area)})"]


def refuse(problems: list[str]) -> None:
    """One error for all of a group's problems, a line each."""
    if problems:
        raise ValueError("\n".join(problems))
