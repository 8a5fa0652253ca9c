"""How far a run has come: finished, running, stopped at a step, or never begun. Read off its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cacl.config import Optim, Settings
from cacl.data.videos.catalog import Catalog
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.frames import SampledFrames
from cacl.data.videos.resampled import resampled
from cacl.data.videos.sources import DecodedVideos
from cacl.errors import UserError, quoted
from cacl.files import read_object
from cacl.lock import try_lock
from cacl.machine.auto import samples_per_video
from cacl.run import Run
from cacl.run_folder import RunFolder
from cacl.training.checkpoint import newest_checkpoint
from cacl.training.videos import training_numbers
from cacl.training.wiring import clip_counts

_LEFT = {".lock", "data.json", "environment.json", "videos.csv", "log.txt"}  # of a run that never began


def run_facts(path: Path) -> dict[str, Any] | None:
    """What a run folder holds and how far it is; ``None`` where it is none.

    ``verb`` is the command that made it. ``state`` is ``finished``, ``running (process …), saved at step n of m``,
    ``stopped at step n of m``, ``stopped before its first checkpoint``, ``stopped with n parts done`` (a fine-tuning)
    or ``never begun``. ``stages`` has the step of the newest whole checkpoint of each stage and, where it can be told,
    the steps in all.
    """
    if not (path / "config.yaml").is_file():
        names = {file.name for file in path.iterdir() if not file.name.endswith(".partial")}
        none = ".lock" not in names or not names <= _LEFT
        return None if none else {"kind": "run", "state": "never begun", "go on": "give the same command again"}
    if not (path / "data.json").is_file():
        return None  # somebody else's config.yaml
    verb = str(read_object(path / "data.json").get("verb", "pretrain"))
    checkpoints = sorted(p for p in (path / "checkpoints").glob("*") if p.is_dir())
    steps = {stage.name: _step(newest) for stage in checkpoints if (newest := newest_checkpoint(stage)) is not None}
    facts: dict[str, Any] = {"kind": "run", "verb": verb, "state": ""}
    totals: dict[str, int] = {}
    if verb == "pretrain":
        facts |= _settings(path)
        totals = _totals(path)
    parts = sorted(part for part in (path / "parts").glob("*") if part.is_dir())  # of a fine-tuning
    facts["parts"] = {part.name: "done" if (part / "result.json").is_file() else "begun" for part in parts}
    if (path / "videos.csv").is_file():
        facts["videos"] = _catalog(path).summary()
    facts["data"] = read_object(path / "data.json").get("videos")
    facts["stages"] = {n: {"step": step} | ({"of": totals[n]} if n in totals else {}) for n, step in steps.items()}
    facts["cacl"] = read_object(path / "environment.json").get("cacl")
    facts["state"] = _state(path, steps, totals, last="finished.json" if verb == "pretrain" else "results.json")
    facts["warnings"] = read_object(path / "finished.json").get("warnings", [])
    if facts["state"].startswith("stopped"):
        facts["go on"] = f"cacl {verb} --resume {quoted(path)}"
    return {key: value for key, value in facts.items() if value not in (None, [], {})}


def stage_steps(settings: Settings, catalog: Catalog) -> dict[str, int]:
    """Steps in all of each stage of a pretraining; a stage whose epochs are not worked out yet is left out.

    Raises:
        UserError: no video to train on.
    """
    height, width = settings.data.resize
    data = resampled(Dataset(catalog, DecodedVideos(catalog, height=height, width=width)), settings.data.frame_rate)
    catalog = data.catalog
    numbers = training_numbers(settings, data)
    counts = clip_counts(settings.data.clips_per_video, data.videos(numbers))
    totals = _steps(settings.optim, len(numbers) if counts is None else round(sum(counts)), "train")
    if settings.wants_frame_encoder and settings.model.frame_weights is None:
        frames = [catalog.videos[number].frames for number in numbers]
        sampled = SampledFrames(data.source, numbers, frames, every=settings.frames.every)
        totals |= _steps(settings.frames.optim, len(sampled), "frames")
    return totals


def _steps(optim: Optim, samples: int, stage: str) -> dict[str, int]:
    if optim.epochs == "auto":
        return {}
    passes = samples_per_video(samples, optim.batch_size)
    return {stage: optim.epochs * (samples * passes // optim.batch_size)}


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings = RunFolder(path).resolved.settings
    except UserError as error:  # of another version: the rest can be told
        return {"settings": " ".join(str(error).split())}
    network = f"{settings.model.network} of width {settings.model.width}"
    return {"method": Run(path).method, "preset": settings.preset, "network": network, "seed": settings.run.seed}


def _totals(path: Path) -> dict[str, int]:
    """Steps in all of each stage, as far as they can be told."""
    try:
        return stage_steps(RunFolder(path).resolved.settings, _catalog(path))
    except UserError:  # settings of another version, or no videos yet
        return {}


def _catalog(path: Path) -> Catalog:
    return Catalog.read_csv(path / "videos.csv", root=str(read_object(path / "data.json").get("videos", "")))


def _state(path: Path, steps: dict[str, int], totals: dict[str, int], *, last: str) -> str:
    """The state in words; ``last`` is the file that a run ends with."""
    holder = _holder(path)
    if holder is None and (path / last).is_file():
        return "finished"
    stage = "train" if "train" in steps else next(iter(steps), None)
    what = "stopped" if holder is None else f"running ({holder}), saved"
    if stage is None:
        done = len([*path.glob("parts/*/result.json")])
        stopped = f"stopped with {done} parts done" if done else "stopped before its first checkpoint"
        return stopped if holder is None else f"running ({holder})"
    of = f" of {totals[stage]}" if stage in totals else ""
    return f"{what} at step {steps[stage]}{of}" + (" of the frame stage" if stage == "frames" else "")


def _holder(path: Path) -> str | None:
    """The process that writes to the run now."""
    try:
        with (path / ".lock").open() as lock:
            try:
                try_lock(lock, shared=True)
            except BlockingIOError:
                return lock.read().strip() or "another process"
    except OSError:
        pass
    return None


def _step(checkpoint: Path) -> int:
    return int(json.loads((checkpoint / "manifest.json").read_text())["step"])
