"""What is asked of a training, worked out and checked from settings and folders alone.

Nothing here needs PyTorch: what is wrong with a command is said before the seconds that its import takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cacl.config import Resolved, differences, names_method, resolve, with_method
from cacl.errors import UserError, did_you_mean
from cacl.presets import ABLATIONS, DEFAULT_METHOD, PRESETS, PUBLISHED, ablation, published
from cacl.run_folder import RunFolder
from cacl.settings import METHODS, MethodSettings


def resolve_settings(
    *,
    preset: str = "small",
    method: str | None = None,
    config: str | Path | None = None,
    assignments: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> Resolved:
    """Preset, method, file, assignments and flags as one checked tree. Raises UserError with all problems.

    Where nothing names a method, it is the preset's (``presets.DEFAULT_METHOD``).
    """
    presets = [*PRESETS, PUBLISHED]
    if preset not in presets:
        raise UserError(f"{preset} is not a preset; there are {', '.join(presets)}.{did_you_mean(preset, presets)}")
    names = [*ABLATIONS, *(name for name in METHODS if name not in ABLATIONS)]
    if method is not None and method not in names:
        raise UserError(f"{method} is not a method; there are {', '.join(names)}.{did_you_mean(method, names)}")
    file = None if config is None else Path(config)
    named, of = names_method(file, assignments, flags), "cacl" if method in ABLATIONS else method
    if method is not None and named not in (None, of):
        raise UserError(f"--method says {method}, and method.name says {named}: leave one of them out.")
    if preset == PUBLISHED:
        if method is None and named is None:
            raise UserError("The preset published is another one for each method: name the method, too.")
        return resolve(published(str(method or named)), file=file, assignments=tuple(assignments), flags=flags)
    if method is None and named is None:
        method = DEFAULT_METHOD[preset]
    rival = method is not None and method not in ABLATIONS
    return resolve(
        with_method(PRESETS[preset], str(method)) if rival else PRESETS[preset],
        file=file,
        ablation=None if method is None or rival else ablation(method, PRESETS[preset]),
        assignments=tuple(assignments),
        flags=flags,
    )


def check_frozen(method: MethodSettings, with_frozen: str | Path | None) -> None:
    """Raise UserError where the method learns beside a frozen image encoder, and there is none."""
    if method.frozen_moments and with_frozen is None:
        raise UserError(
            f"The method {method.name} learns beside a frozen image encoder: give one with --with-frozen (cacl import "
            "--image-encoder efficientnet-lite0 --out DIR makes one)."
        )


def resume_settings(
    run: str | Path, *, settings: Mapping[str, Any] | None = None, assignments: Sequence[str] = ()
) -> Resolved:
    """The settings with which ``resume`` would go on. Raises UserError for a change that it would refuse."""
    folder = RunFolder.open(Path(run))
    old = folder.resolved
    tree = old.settings.model_dump(mode="json")
    new = resolve(tree, assignments=tuple(assignments), flags=settings)
    _check_changes(folder, old, new)
    changed = differences(old.settings, new.settings)
    return Resolved(new.settings, {**old.origins, **dict.fromkeys(changed, "resume")})


_MAY_CHANGE = {"optim.epochs", "data.workers", "run.log_every", "run.save_minutes", "run.tensorboard"}


def _check_changes(folder: RunFolder, old: Resolved, new: Resolved) -> None:
    problems = []
    for key, (before, after) in differences(old.settings, new.settings).items():
        if key not in _MAY_CHANGE:
            problems.append(f"{key} was {before}, you asked for {after}")
        elif key == "optim.epochs" and before != "auto" and (after == "auto" or after < before):
            problems.append(f"optim.epochs was {before}, {after} is fewer")
    if problems:
        raise UserError(
            f"{folder.path} cannot be resumed with other settings: {'; '.join(problems)}. "
            "Start a new run with another --out, or resume without them."
        )
