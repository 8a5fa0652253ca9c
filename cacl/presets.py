"""The presets ``paper``, ``released``, ``small`` and ``published``, and the rows of Tables 1 and 2 as settings.

``paper`` follows the paper; what the paper does not give is the released code's or MoCo's value. ``released`` follows
the authors' code wherever it differs (``docs/fidelity.md``). ``small`` is for laptops and folders of some hundred
videos; its values were chosen by the experiments in ``docs/recipes.md``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from cacl.errors import UserError
from cacl.settings import METHODS, method_settings

ALL_PAIRS = ["gq_gk", "gq_tq", "gq_tk", "tq_tk"]

PAPER: dict[str, Any] = {
    "preset": "paper",
    "data": {
        "frames": 16,
        "frame_rate": None,
        "stride": 2,
        "resize": [128, 171],  # section 4.1
        "start_window": None,
        "moments": 1,
        "clips_per_video": "one",
        "window": "fitted",
        "hold_out": 0,  # not mentioned
        "store": "none",
        "workers": 4,
        "colours": "shown",  # the paper says nothing
        "levels": "full",
        "blank": [],
        "picture_rate": None,
    },
    "augment": {
        "size": 112,
        "crop": "fixed",
        "area": [1.0, 1.0],
        "flip": 0.5,
        "jitter": [0.4, 0.4, 0.4, 0.1],  # strengths and probabilities: released code, as MoCo
        "jitter_p": 0.8,
        "hue": "hsv",
        "gray_p": 0.0,  # not mentioned in the paper
        "blur_sigma": [0.1, 2.0],
        "blur_p": 0.5,
        "mean": None,
        "std": None,
    },
    "model": {
        "network": "c3d",
        "width": 64,
        "standardise": "none",
        "frame_encoder": "resnet50",
        "frame_width": 64,
        "frame_weights": None,
        "frame_mean": None,
        "frame_std": None,
        "token_width": 768,  # section 3.1
        "depth": 6,
        "heads": 6,
        "projection": "linear",
        "degree_hidden": 512,
        "degree_dropout": 0.5,
        "degree_input": "pair",
    },
    "method": {
        "name": "cacl",
        "twin": True,
        "one_pass": False,  # the authors' code makes two passes
        "pairs": ALL_PAIRS,  # Eq. 3
        "loss": "inside",  # Eq. 4, literally
        "degree_weight": 1.0,  # not given
        "degree_sampling": "uniform",  # section 3.3
        "temperature": 0.07,  # released code
        "momentum": 0.999,
        "momentum_schedule": "constant",
        "queue_size": 6400,
        "key_order": "same",
        "validation_momentum": False,
        "mask_own_keys": False,
        "batch_negatives": False,
        "tq_negatives": False,
        "batchnorm": "global",
    },
    "optim": {
        "optimizer": "sgd",
        "lr": 1e-3,
        "weight_decay": 5e-4,
        "schedule": "cosine",
        "schedule_per": "epoch",
        "milestones": [],
        "milestone_factor": 0.1,
        "first_epoch": 0,
        "warmup_epochs": 0.0,
        "clip_gradient": None,
        "batch_size": 64,
        "epochs": 300,
        "accumulate": 1,
    },
    "frames": {
        "every": 10,  # section 4.1
        "crop": "area",  # MoCo v1
        "area": [0.2, 1.0],
        "queue_size": 65536,
        "temperature": 0.07,
        "momentum": 0.999,
        "optim": {
            "optimizer": "sgd",
            "lr": 0.03,
            "weight_decay": 1e-4,
            "schedule": "step",
            "schedule_per": "epoch",
            "milestones": [120, 160],
            "milestone_factor": 0.1,
            "first_epoch": 0,
            "warmup_epochs": 0.0,
            "clip_gradient": None,
            "batch_size": 256,
            "epochs": 200,
            "accumulate": 1,
        },
    },
    "run": {
        "seed": 0,
        "device": "auto",
        "precision": "float32",
        "channels_last": False,
        "compile": False,
        "deterministic": False,
        "threads": "auto",
        "log_every": 20,
        "save_minutes": 5.0,
        "checkpoint_activations": False,
        "tf32": "auto",
        "tensorboard": False,
    },
}


def _with(base: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy of a preset with dotted keys (``__`` for the dot) replaced."""
    tree = copy.deepcopy(dict(base))
    for key, value in changes.items():
        *path, last = key.split("__")
        node = tree
        for name in path:
            node = node[name]
        if last not in node:
            raise KeyError(key)
        node[last] = value
    return tree


RELEASED = _with(
    PAPER,
    preset="released",
    data__colours="coded",  # decoding libraries give them so
    data__start_window=46,
    data__window="padded",
    data__hold_out="auto",  # 800 of UCF101's training videos
    augment__blur_p=0.0,
    augment__gray_p=0.2,
    method__loss="outside",
    method__degree_weight=0.0,  # the joint script's weight: the head runs, nothing is learnt from it
    method__degree_sampling="subset",
    method__key_order="swapped",
    method__validation_momentum=True,
    method__batchnorm="process",
    optim__lr=1e-2,
    optim__weight_decay=1e-4,
    optim__first_epoch=1,
)

SMALL = _with(
    PAPER,
    preset="small",
    data__frames=8,  # with stride 4 the same second of video as 16 with stride 2, at half the cost
    data__stride=4,
    data__levels="auto",
    data__resize=[64, 86],
    data__moments=2,
    data__store="auto",
    data__workers="auto",
    augment__size=56,
    augment__crop="area",
    augment__area=[0.3, 1.0],
    augment__hue="yiq",
    augment__gray_p=0.2,
    augment__blur_p=0.0,
    model__network="r3d10",
    model__width=16,
    model__standardise="motion",
    model__frame_encoder="resnet18",
    model__frame_width=16,
    model__token_width=96,
    model__depth=2,
    model__heads=3,
    model__projection="mlp",
    model__degree_dropout=0.0,
    model__degree_input="ratio",
    method__one_pass=True,
    method__loss="outside",
    method__degree_weight=2.0,
    method__temperature=0.1,
    method__momentum=0.99,
    method__momentum_schedule="cosine",
    method__queue_size="auto",
    method__mask_own_keys=True,
    method__batch_negatives=True,
    method__tq_negatives=True,
    optim__optimizer="adamw",
    optim__lr=2e-3,
    optim__weight_decay=0.05,
    optim__schedule_per="step",
    optim__warmup_epochs=2.0,
    optim__batch_size=32,
    optim__epochs="auto",
    frames__queue_size="auto",
    frames__temperature=0.1,
    frames__momentum=0.99,
    frames__optim__optimizer="adamw",
    frames__optim__lr=2e-3,
    frames__optim__weight_decay=0.05,
    frames__optim__schedule="cosine",
    frames__optim__schedule_per="step",
    frames__optim__milestones=[],
    frames__optim__batch_size=128,
    frames__optim__epochs="auto",
    run__precision="auto",
    run__channels_last="auto",
)

PRESETS: dict[str, dict[str, Any]] = {"paper": PAPER, "released": RELEASED, "small": SMALL}

DEFAULT_METHOD = {"paper": "cacl", "released": "cacl", "small": "cvrl"}
"""What is trained where no method is named. For ``small`` it is what learns most a minute (docs/recipes.md)."""

ABLATIONS: dict[str, dict[str, Any]] = {
    # Table 1
    "sdp": {"method.twin": True, "method.pairs": [], "method.degree_sampling": "uniform"},
    "sdp*": {"method.twin": True, "method.pairs": [], "method.degree_sampling": "permutation"},
    "v-moco": {"method.twin": False, "method.pairs": ["gq_gk"], "method.degree_weight": 0.0},
    "sdp+v-moco": {"method.twin": True, "method.pairs": ["gq_gk"]},  # Table 2, row 1
    "v-moco+t": {"method.twin": True, "method.pairs": ALL_PAIRS, "method.degree_weight": 0.0},
    "cacl": {"method.twin": True, "method.pairs": ALL_PAIRS},  # Table 2, row 4
    # Table 2
    "pairs2": {"method.twin": True, "method.pairs": ALL_PAIRS[:2]},
    "pairs3": {"method.twin": True, "method.pairs": ALL_PAIRS[:3]},
}


def ablation(name: str, preset: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys and values of a row of ``ABLATIONS`` under a preset.

    A row that learns the degree keeps the preset's lambda, or has 1 where that is 0 (``released``).
    """
    return {"method.degree_weight": preset["method"]["degree_weight"] or 1.0, **ABLATIONS[name]}


PUBLISHED = "published"
"""The preset that is another one for each method of others."""


def published(name: str) -> dict[str, Any]:
    """The tree of the preset ``published``: a method as its authors ran it, and ``paper`` where they say nothing.

    Raises:
        UserError: no such method, or it has no such preset.
    """
    values = method_settings(name).published if name in METHODS else None
    if values is None:
        there = [other for other in METHODS if method_settings(other).published is not None]
        raise UserError(
            f"{name} has no preset published: take --preset paper or released. Methods of others that have one are "
            f"{', '.join(there)}."
        )
    own = method_settings(name).model_validate({"name": name}).model_dump(mode="json")
    tree = {**PAPER, "preset": PUBLISHED, "method": own}
    return _with(tree, **{key.replace(".", "__"): value for key, value in values.items()})


# Both learn for the same time: a step of V-MoCo costs three quarters of one of CVRL, whose two clips both teach.
DEMO: dict[str, Any] = {"optim.epochs": 60}
DEMO_BESIDE: dict[str, Any] = {"optim.epochs": 80}  # of V-MoCo
# Whether everything works: some steps of a narrow network on small pictures, of both methods.
DEMO_QUICK: dict[str, Any] = {
    "optim.epochs": 1,
    "optim.batch_size": 4,
    "model.width": 4,
    "data.resize": [36, 48],
    "data.workers": 0,
    "augment.size": 32,
}
