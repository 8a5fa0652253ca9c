"""``pretrain``: from a folder of videos to an encoder, in one run folder, to its end or to where it was stopped.

The stages, each skipped when it is done: find the videos (and keep decoded frames), train the frame encoder when T
needs one (or look at frames with a frozen one), train the method, write the encoder and what a user should know of the
run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cacl.config import Resolved, Settings, differences
from cacl.data.remote.place import place
from cacl.data.videos.advice import suggestions
from cacl.data.videos.dataset import Dataset, videos_at
from cacl.data.videos.store import is_store
from cacl.distributed.agree import check_processes, limit_threads
from cacl.distributed.launch import job
from cacl.distributed.processes import is_first, join, wait_for_first
from cacl.errors import UserError, counted, quoted
from cacl.evaluation.choice.fuse import open_image_encoder
from cacl.machine.auto import (
    auto_values,
    machine_choices,
    set_deterministic,
    set_tf32,
)
from cacl.machine.device import choose_device, device_auto
from cacl.machine.device_errors import device_errors
from cacl.machine.precision import PrecisionChoice, choose_precision
from cacl.models.weights import read_frame_state
from cacl.run import Run
from cacl.run_folder import RunFolder
from cacl.tensorboard import check_tensorboard
from cacl.training.finish import end_with_frozen, finish
from cacl.training.pretrain_stages import frame_encoder_stage, frozen_stage, video_stage
from cacl.training.progress import VideoProgress
from cacl.training.resolve import check_frozen, resolve_settings, resume_settings
from cacl.training.stop import StopRequest
from cacl.training.videos import move_videos, open_run_data, training_parts
from cacl.training.wiring import batch_sizes, build_frames_network, checked_networks, clip_counts, initial_network


def pretrain(
    videos: str | Path,
    *,
    out: str | Path,
    preset: str = "small",
    method: str | None = None,
    lists: str | Path | None = None,
    split: int = 1,
    config: str | Path | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    network: str | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
    with_frozen: str | Path | None = None,
    snapshots: int = 0,
    profile: bool = False,
) -> Run:
    """Learn an encoder from a folder of videos; called by every process of torchrun, all of them learn it together.

    Args:
        videos: a folder (any tree), a list file, ``videos.csv``, or a store made by ``cacl prepare`` (or its address).
        out: the run folder, new or empty.
        preset: ``small``, the equal conditions; ``paper`` or ``released``; or ``published``, the method as its authors
            ran it.
        method: ``cacl`` or an ablation: ``sdp``, ``sdp*``, ``v-moco``, ``sdp+v-moco``, ``v-moco+t``, ``pairs2``,
            ``pairs3`` (Tables 1 and 2); or another of ``settings.METHODS``. By default ``presets.DEFAULT_METHOD``.
        lists: folder of the data set's split lists, or one list file; only the train list is trained on.
        split: which split of them.
        config: a YAML file of settings.
        epochs: ``optim.epochs``, passes over the videos. This and the next three win over ``settings``.
        batch_size: ``optim.batch_size``, clips a step.
        network: ``model.network``.
        seed: ``run.seed``, of everything random.
        settings: any dotted settings, e.g. ``{"optim.lr": 1e-3}``.
        assignments: the same as text, ``"optim.epochs=50"``.
        with_frozen: a frozen image encoder (``cacl import --image-encoder``): the run ends with both fused, in
            ``fused/``, and with the verdict which to use.
        snapshots: so many encoders are kept on the way, in ``snapshots/step-…``, at equal distances.
        profile: tell where the time of a step goes, and write a trace into ``profile/``; the result is the same.

    Returns:
        The finished run.

    Raises:
        UserError: something that the user can mend, in one sentence.
        Stopped: SIGTERM or Ctrl-C; ``resume`` continues.
        LostProcess: another process has gone; ``resume`` continues.
    """
    join()
    words = {"optim.epochs": epochs, "optim.batch_size": batch_size, "model.network": network, "run.seed": seed}
    flags = {**(settings or {}), **{key: value for key, value in words.items() if value is not None}}
    resolved = resolve_settings(preset=preset, method=method, config=config, assignments=assignments, flags=flags)
    videos = videos_at(videos)
    if lists is not None and not Path(lists).exists():
        raise UserError(f"{lists}: there is no such folder of lists, or list file.")
    check_tensorboard(resolved.settings.run.tensorboard)
    check_frozen(resolved.settings.method, with_frozen)
    if with_frozen is not None:
        open_image_encoder(with_frozen)
    _check_device(resolved.settings)
    _check_processes(resolved.settings)
    if resolved.settings.model.frame_weights is not None and resolved.settings.wants_frame_encoder:
        _check_frame_weights(resolved)
    if is_first():
        _check_precision(resolved)
    data = {
        "videos": str(videos.resolve()),
        "lists": None if lists is None else str(Path(lists).resolve()),
        "split": split,
        **({} if with_frozen is None else {"frozen": str(Path(with_frozen).resolve())}),
        **({"snapshots": snapshots} if snapshots else {}),
        **({} if (name := job()) is None else {"job": name}),
    }
    run = RunFolder.create(Path(out), resolved, data) if is_first() else RunFolder(Path(out), owner=False)
    wait_for_first()
    return _train(run, new=True, profile=profile)


def pretrain_frame_encoder(
    videos: str | Path,
    *,
    out: str | Path,
    resolved: Resolved,
    lists: str | Path | None = None,
    split: int = 1,
) -> Path:
    """Learn the frame encoder of these settings alone, for several runs that are given it (``model.frame_weights``).

    Args:
        out: a run folder of its own; called again, it goes on where it was.
        resolved: settings of a method that stands on a frame encoder. The rest as of ``pretrain``.

    Returns:
        The folder of its weights.

    Raises:
        UserError, Stopped: as ``pretrain``.
    """
    folder = Path(out)
    new = not (folder / "config.yaml").exists()
    places = {"videos": str(place(videos).resolve()), "lists": None if lists is None else str(Path(lists).resolve())}
    run = RunFolder.create(folder, resolved, {**places, "split": split}) if new else RunFolder.open(folder)
    with run, StopRequest() as stop:
        data, (numbers, held_out) = _find_videos(run, stop, new=new)
        _work_out_auto(run, data, numbers, held_out)
        _set_machine(run.resolved.settings)
        frame_encoder_stage(run, data, numbers, stop)
    return run.path / "frame_encoder"


def resume(
    run: str | Path,
    *,
    videos: str | Path | None = None,
    epochs: int | None = None,
    settings: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
    profile: bool = False,
) -> Run:
    """Continue a run where it stopped; everything comes from its folder.

    Args:
        run: the run folder.
        videos: the folder (or store) that its videos are in now, where they were moved.
        epochs: ``optim.epochs``, more than it had.
        settings: what to change: ``optim.epochs`` (more) and settings that do not touch the result
            (``data.workers``, ``run.log_every``, ``run.save_minutes``, ``run.tensorboard``).
        assignments: the same as text.
        profile: as in ``pretrain``.

    Raises:
        UserError: no run there, or a setting that would change the result.
    """
    join()
    folder = RunFolder(RunFolder.open(Path(run)).path, owner=is_first())
    settings = {**(settings or {}), **({} if epochs is None else {"optim.epochs": epochs})}
    old, new = folder.resolved, resume_settings(run, settings=settings, assignments=assignments)
    check_tensorboard(new.settings.run.tensorboard)
    _check_device(new.settings)
    _check_processes(new.settings)
    changed = differences(old.settings, new.settings)
    if videos is not None and is_first():
        with folder:
            move_videos(folder, videos)
    if changed and is_first():
        with folder:
            open_run_data(folder)  # where its videos are gone, a finished run stays finished
            if "optim.epochs" in changed and (folder.path / "finished.json").exists():
                (folder.path / "finished.json").unlink()  # before the settings: a kill in between only ends it twice
                longer = new.settings.optim.epochs
                assert longer != "auto"
                folder.log(f"Training goes on to {counted(longer, 'epoch')}; the schedule is worked out anew.")
            folder.write("config.yaml", new.to_yaml())
    if is_first() and not (folder.path / "finished.json").exists():
        _check_precision(new)
    wait_for_first()
    return _train(folder, profile=profile)


def _check_frame_weights(resolved: Resolved) -> None:
    """Wrong frame-encoder weights are found before anything is made."""
    model = resolved.settings.model
    path = Path(str(model.frame_weights))
    read_frame_state(path)
    build_frames_network(resolved.settings, weights=path)


def _train(run: RunFolder, *, new: bool = False, profile: bool = False) -> Run:
    with run, StopRequest(run.path) as stop:
        if (run.path / "finished.json").exists():
            longer = f"cacl pretrain --resume {quoted(run.path)} --epochs N"
            run.log(f"{run.path} is finished already; a longer training: {longer}")
            return Run(run.path)
        if not run.owner:
            wait_for_first()
        data, (train_numbers, held_out) = _find_videos(run, stop, new=new)
        if run.owner:
            _work_out_auto(run, data, train_numbers, held_out)
            wait_for_first()
        resolved = run.resolved
        _set_machine(resolved.settings)
        aside = f", {len(held_out)} held out" if held_out else ""
        run.log(f"{data.catalog.summary()}; {len(train_numbers)} to train on{aside}.")
        run.log(
            machine_choices(
                resolved.settings.run,
                workers=int(resolved.settings.data.workers),
                why_threads=resolved.origins.get("run.threads", ""),
            )
        )
        if new and (advice := _advice(resolved.settings, data, run.data)):
            run.log(f"Advice: {advice}")
        frame_encoder: nn.Module | None = None
        if resolved.settings.wants_frame_encoder:
            frame_encoder = frame_encoder_stage(run, data, train_numbers, stop, profile=profile)
        elif resolved.settings.method.frozen_moments:
            frame_encoder = frozen_stage(run, data, train_numbers, stop)
        method, unreadable = video_stage(run, data, train_numbers, frame_encoder, stop, profile=profile)
        verdict = None
        if (frozen := run.data.get("frozen")) is not None:
            with VideoProgress(stop) as progress:
                verdict = end_with_frozen(run, data, train_numbers, method.encoder, frozen, progress=progress)
        if run.owner:
            finish(
                run,
                data,
                train_numbers,
                method,
                unreadable=unreadable,
                verdict=verdict,
                check=stop.raise_if_requested,
            )
        wait_for_first()
    return Run(run.path)


def _work_out_auto(run: RunFolder, data: Dataset, train_numbers: list[int], held_out: list[int]) -> None:
    """Every ``auto`` of the run's settings, written into them with its reason."""
    counts = clip_counts(run.resolved.settings.data.clips_per_video, data.videos(train_numbers))
    samples = None if counts is None else round(sum(counts))
    values = auto_values(run.resolved.settings, videos=len(train_numbers), held_out=len(held_out), samples=samples)
    run.write("config.yaml", _with_precision(run.resolved.with_auto(values)).to_yaml())


def _set_machine(settings: Settings) -> None:
    torch.set_num_threads(limit_threads(int(settings.run.threads)))
    set_tf32(settings.run.tf32 is True)


def _find_videos(run: RunFolder, stop: StopRequest, *, new: bool) -> tuple[Dataset, tuple[list[int], list[int]]]:
    """The videos; numbers of those to train on, and of those held out. Where there are none, a new run goes again."""
    try:
        with VideoProgress(stop) as progress:
            data = open_run_data(run, say=run.log, progress=progress)
        return data, training_parts(run.resolved.settings, data)
    except UserError as error:
        if not new:
            raise
        if not any(run.path.glob("store*")):
            run.discard()
            raise
        raise UserError(f"{error} Go on: cacl pretrain --resume {quoted(run.path)}") from error


def _advice(settings: Settings, data: Dataset, request: Mapping[str, Any]) -> str:
    """What ``cacl check`` would suggest, measured by the run's own settings."""
    return suggestions(
        data.catalog,
        batch_size=settings.optim.batch_size,
        frames=settings.data.frames,
        stride=settings.data.stride,
        resize=None if is_store(request["videos"]) else settings.data.resize,
        size=settings.augment.size,
        frame_rate=settings.data.frame_rate,
        clips_per_video=settings.data.clips_per_video,
    )


def _check_device(settings: Settings) -> None:
    """Take the device; where every bit is to be the same again, see that the 3D CNN's operations can do that there."""
    run, size = settings.run, settings.augment.size
    set_deterministic(run.deterministic)
    choose_device(run.device)
    device = device_auto()[0] if run.device == "auto" else run.device
    if run.deterministic and device != "cpu":
        with device_errors():
            network = initial_network(settings).to(device)
            network(torch.rand(2, 3, settings.data.frames, size, size, device=device)).sum().backward()


def _check_processes(settings: Settings) -> None:
    device = device_auto()[0] if settings.run.device == "auto" else settings.run.device
    check_processes(
        device=device,
        batch_sizes=batch_sizes(settings),
        compiled=settings.run.compile,
        own_batchnorm=settings.method.own_batchnorm,
    )


def _with_precision(resolved: Resolved) -> Resolved:
    settings = resolved.settings
    if settings.run.precision != "auto":
        return resolved
    choice = _precision(settings, settings.run.device)
    name = "float32" if choice.dtype is None else str(choice.dtype).removeprefix("torch.")
    return resolved.with_auto({"run.precision": (name, choice.why)})


def _check_precision(resolved: Resolved) -> None:
    """A 16-bit type that was asked for by name is checked, too, before anything is made; ``auto`` was or will be."""
    run = resolved.settings.run
    if run.precision not in ("auto", "float32") and not resolved.origins["run.precision"].startswith("auto: "):
        _precision(resolved.settings, device_auto()[0] if run.device == "auto" else run.device)


def _precision(settings: Settings, device: str) -> PrecisionChoice:
    return choose_precision(settings.run.precision, checked_networks(settings, device), device=device)
