"""Every setting with its type and its bounds; ``config.py`` merges, reads and writes them.

Groups are frozen, refuse unknown keys and values of another type, and check what must fit together. Names are those of
the arguments that the settings become.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Auto = Literal["auto"]
Pair = Literal["gq_gk", "gq_tq", "gq_tk", "tq_tk"]
Unit = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


FromList = BeforeValidator(_as_tuple)  # YAML has lists, frozen settings have tuples
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
    store: str  # "auto", "none" or a folder: where decoded frames are kept
    workers: Auto | Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _window(self) -> Data:
        window = (self.frames - 1) * self.stride + 1
        if self.start_window is not None and self.start_window < window:
            _refuse([f"data.start_window {self.start_window} is shorter than the {window} frames that a clip spans"])
        return self


class Augment(Section):
    """How a clip is changed for one view; the same draw for all of its frames."""

    size: Annotated[int, Field(ge=16)]  # pixels
    crop: Literal["fixed", "area"]
    area: Range  # share of the frame that an area crop covers
    flip: Unit
    jitter: Annotated[tuple[NotNegative, NotNegative, NotNegative, Annotated[float, Field(ge=0, le=0.5)]], FromList]
    jitter_p: Unit
    hue: Literal["hsv", "yiq"]
    gray_p: Unit
    blur_sigma: Range  # pixels
    blur_p: Unit
    mean: Mean | None
    std: Std | None

    @model_validator(mode="after")
    def _ranges(self) -> Augment:
        problems = _area_problems("augment.area", self.area)
        if self.blur_sigma[0] > self.blur_sigma[1]:
            problems.append(f"augment.blur_sigma must go from low to high (found {list(self.blur_sigma)})")
        if (self.mean is None) != (self.std is None):
            problems.append("augment.mean and augment.std are given together or not at all")
        _refuse(problems)
        return self


class Model(Section):
    """The networks."""

    network: Literal["c3d", "r3d10", "r3d18", "r3d34", "r2plus1d10", "r2plus1d18"]
    width: Annotated[int, Field(ge=4)]
    standardise: Literal["none", "clip", "motion"]  # of G's pixels: see normalise_ in data/augment.py
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
        _refuse(problems)
        return self


class Method(Section):
    """CACL and its ablations (paper section 3, Tables 1 and 2)."""

    one_pass: bool  # clip and twin go through G together and share BatchNorm statistics
    twin: bool  # the shuffled twin goes through G too, and features are concat[G(x), G(x~)]
    pairs: Annotated[tuple[Pair, ...], FromList]
    loss: Literal["inside", "outside"]  # Eq. 4: sum of positives inside the log; released: mean of logs
    degree_weight: NotNegative  # lambda
    degree_sampling: Literal["uniform", "permutation", "subset"]
    temperature: Rate
    momentum: Unit
    momentum_schedule: Literal["constant", "cosine"]
    queue_size: Auto | Positive
    key_order: Literal["same", "swapped"]  # order of clip and twin in view k
    mask_own_keys: bool  # keys of the query's own video are no negatives
    batch_negatives: bool  # Gk, Tq and Tk of the other videos in the batch are negatives too
    # the pair (Tq,Tk) is weighed against the negatives of Tq, not of Gq; older runs had Gq's
    tq_negatives: bool = False
    symmetric: bool  # both directions of the loss
    two_way: bool = False  # no copies and no queue: both views teach, each against the batch's other videos
    # over the batch of all processes, or over each one's share with keys shuffled (MoCo v1); older runs had one process
    batchnorm: Literal["global", "process"] = "global"

    @model_validator(mode="after")
    def _consistent(self) -> Method:
        problems = []
        if len(set(self.pairs)) != len(self.pairs):
            problems.append(f"method.pairs names a pair twice (found {list(self.pairs)})")
        if not self.pairs and self.degree_weight == 0:
            problems.append("nothing is learnt: method.pairs is empty and method.degree_weight is 0")
        if not self.twin and self.degree_weight > 0:
            problems.append("the degree loss needs the twin; set method.twin: true or method.degree_weight: 0")
        _refuse(problems)
        return self


class Optim(Section):
    """One stage's optimisation."""

    optimizer: Literal["sgd", "adamw"]
    lr: Rate
    weight_decay: NotNegative
    schedule: Literal["cosine", "step"]
    schedule_per: Literal["step", "epoch"]
    milestones: Annotated[tuple[Positive, ...], FromList]  # epochs, for schedule "step"
    warmup_epochs: NotNegative
    clip_gradient: Rate | None
    batch_size: Annotated[int, Field(ge=2)]  # BatchNorm has nothing to average over one clip
    epochs: Auto | Positive
    accumulate: Positive = 1  # parts that a batch goes through the networks in; older runs had one

    def parts_problems(self, key: str) -> list[str]:
        """Why the batch cannot be cut so, in a sentence that calls this group ``key``."""
        size, parts = self.batch_size, self.accumulate
        if size % parts == 0 and size >= 2 * parts:
            return []
        return [f"{key}.accumulate {parts} must cut {key}.batch_size {size} into equal parts of two or more"]


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
        _refuse(_area_problems("frames.area", self.area))
        return self


class Run(Section):
    """Where and how it runs."""

    seed: Annotated[int, Field(ge=0, lt=2**63)]
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    channels_last: Auto | bool
    compile: bool  # each network by itself
    deterministic: bool
    threads: Auto | Positive  # of PyTorch on the CPU
    log_every: Positive  # steps
    save_minutes: Rate
    # older runs had neither
    checkpoint_activations: bool = False  # compute the 3D CNN's activations again in the backward pass: less memory
    tf32: Auto | bool = "auto"  # on NVIDIA GPUs, float32 products with 10 bits of mantissa

    @model_validator(mode="after")
    def _either(self) -> Run:
        if self.compile and self.checkpoint_activations:
            _refuse(["run.compile and run.checkpoint_activations do not go together: set one of them to false"])
        return self


class Settings(Section):
    """Everything that decides a run."""

    preset: Literal["paper", "released", "small"]
    data: Data
    augment: Augment
    model: Model
    method: Method
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
        problems += self.optim.parts_problems("optim") + self.frames.optim.parts_problems("frames.optim")
        if self.model.network == "c3d" and self.data.frames < 8:
            problems.append(f"model.network c3d needs data.frames of 8 or more (found {self.data.frames})")
        _refuse(problems)
        return self

    @property
    def uses_transformer(self) -> bool:
        """Whether any pair needs T."""
        return any("t" in pair for pair in self.method.pairs)


def _area_problems(key: str, area: tuple[float, float]) -> list[str]:
    if area[0] <= area[1] <= 1:
        return []
    return [f"{key} must be shares of the frame, 0 < low <= high <= 1 (found {list(area)})"]


def _refuse(problems: list[str]) -> None:
    """One error for all of a group's problems, a line each."""
    if problems:
        raise ValueError("\n".join(problems))
