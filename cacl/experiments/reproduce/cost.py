"""What ``--scale paper`` is going to cost: what is missing, counted in steps, times a step measured on this device."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from cacl.config import Settings
from cacl.data.videos.lists.entry import split_of_name
from cacl.data.videos.lists.find import read_lists
from cacl.data.videos.walk import walk
from cacl.experiments.reproduce.paper_tables import PaperTable, Pretraining, SetName
from cacl.experiments.reproduce.parts import Study
from cacl.experiments.reproduce.scale import Place, Scale
from cacl.experiments.reproduce.step_time import StepTime, embedding_time, finetune_step, frames_step, pretrain_step
from cacl.finetune_settings import resolve_finetune
from cacl.machine.device import device_auto
from cacl.training.resolve import resolve_settings

FRAMES_A_VIDEO = 180_000 / 9537  # section 4.1: about 180k frames of UCF101's training split 1
CLIPS = 10  # of a video, in every evaluation


@dataclass(frozen=True)
class Item:
    """Work of one kind.

    Attributes:
        what: method, network and data set.
        times: how often it is missing.
        steps: of each.
        seconds: a step.
        batch: clips a step.
        clips: how many were measured at once.
        training: whether something is learned.
    """

    what: str
    times: int
    steps: int
    seconds: float
    batch: int = 1
    clips: int = 1
    training: bool = True

    @property
    def hours(self) -> float:
        """Of all of them."""
        return self.times * self.steps * self.seconds / 3600


@dataclass(frozen=True)
class Cost:
    """All that is missing, and the device that it was measured on."""

    device: str
    gpu: bool
    items: tuple[Item, ...]

    @property
    def hours(self) -> float:
        """Of everything together."""
        return sum(item.hours for item in self.items)

    def summary(self) -> str:
        """What a user has to know before beginning."""
        trainings = sum(item.times for item in self.items if item.training)
        days = f" ({_rounded(self.hours / 24)} days)" if self.hours >= 48 else ""
        text = (
            f"{trainings} trainings are missing: about {_rounded(self.hours)} {'GPU ' * self.gpu}hours{days} on "
            f"{self.device}, reading the videos not counted."
        )
        large = [
            f"{item.what} ({item.clips} of {item.batch} clips do)" for item in self.items if item.clips < item.batch
        ]
        if not self.gpu:
            text += " Without a GPU this is no practical way; --scale tiny shows that everything runs."
        elif large:
            text += (
                f" These batches do not fit into the GPU's memory, and training would stop there: {', '.join(large)}."
            )
        return text


@dataclass(frozen=True)
class _Work:
    """What the parts of an estimate need: arguments of ``estimate``, the videos of each set, and the device."""

    study: Study
    table: PaperTable
    counts: Mapping[SetName, tuple[int, int]]
    seeds: int
    device: str
    say: Callable[[str], None]


def estimate(table: PaperTable, study: Study, seeds: int, *, say: Callable[[str], None] = lambda text: None) -> Cost:
    """Count the steps that are missing, and measure one of each kind.

    Args:
        table: what is to be made.
        study: where it is to be made, of what; the data sets' lists, or files, are counted.
        say: told what is measured.
    """
    device, found = device_auto()
    counts = {on: count_videos(place) for on, place in study.places.items()}
    work = _Work(study, table, counts, seeds, device, say)
    items = [*_pretrainings(work), *_finetunings(work), *_embeddings(work)]
    name = torch.cuda.get_device_name() if device == "cuda" else "this processor" if device == "cpu" else found
    return Cost(name, device != "cpu", tuple(items))


def count_videos(place: Place) -> tuple[int, int]:
    """How many videos of the first split train, and how many there are with those that test: by the lists, or files."""
    if place.lists is not None:
        parts = [entry.split for entry in read_lists(place.lists, split=1).entries]
    else:
        parts = [split_of_name(path.split("/")[0]) for path in walk(place.videos)[0]]
    return parts.count("train") or len(parts), len(parts)


def _pretrainings(work: _Work) -> Iterator[Item]:
    missing = [
        (wanted, seed)
        for wanted in work.table.pretrainings
        for seed in range(work.seeds)
        if not (work.study.run_path(wanted, seed) / "finished.json").exists()
    ]
    needy = {seed for wanted, seed in missing if wanted.uses_transformer}
    without = sum(work.study.frame_encoder(seed) is None for seed in needy)
    if without:
        settings = _settings(work.study.scale, next(wanted for wanted, _ in missing if wanted.uses_transformer))
        optim = settings.frames.optim
        assert optim.epochs != "auto"
        work.say("Measuring a step of MoCo on frames …")
        steps = optim.epochs * max(1, int(work.counts["UCF101"][0] * FRAMES_A_VIDEO) // optim.batch_size)
        yield _item("frame encoder, UCF101", without, steps, frames_step(settings, work.device), optim.batch_size)
    for wanted, times in Counter(wanted for wanted, _ in missing).items():
        settings = _settings(work.study.scale, wanted)
        assert settings.optim.epochs != "auto"
        work.say(f"Measuring a step of {wanted.method} with {wanted.network} …")
        steps = settings.optim.epochs * max(1, work.counts[wanted.videos][0] // settings.optim.batch_size)
        what = f"{wanted.method}, {wanted.network}, {wanted.videos}"
        yield _item(what, times, steps, pretrain_step(settings, work.device), settings.optim.batch_size)


def _finetunings(work: _Work) -> Iterator[Item]:
    if work.table.evaluation != "recognition":
        return
    tuning = resolve_finetune(preset=work.study.scale.preset, flags=work.study.scale.finetuning).settings
    assert tuning.optim.epochs != "auto"
    missing, settings = Counter[tuple[str, SetName, SetName]](), dict[str, Settings]()
    for wanted, on, seed in _evaluations(work.table, work.seeds):
        if not work.study.result_path("recognition", wanted, on, seed).exists():
            name, settings_of_it = _with_clips(work.study.scale, wanted)
            settings[name] = settings_of_it
            missing[name, wanted.videos, on] += 1
    times = dict[str, StepTime]()
    for (name, videos, on), often in missing.items():
        if name not in times:
            work.say(f"Measuring a step of fine-tuning {name} …")
            times[name] = finetune_step(settings[name], tuning, work.device)
        steps = (
            len(work.study.scale.splits) * tuning.optim.epochs * max(1, work.counts[on][0] // tuning.optim.batch_size)
        )
        yield _item(f"fine-tuning, {name}, {videos} → {on}", often, steps, times[name], tuning.optim.batch_size)


def _embeddings(work: _Work) -> Iterator[Item]:
    """Clips through frozen networks: all of a data set for retrieval and recognition, else too few to count."""
    if work.table.evaluation not in ("retrieval", "recognition"):
        return
    passes, settings, untrained = Counter[tuple[str, SetName]](), dict[str, Settings](), set[Path]()
    for wanted, on, seed in _evaluations(work.table, work.seeds):
        name, settings_of_it = _with_clips(work.study.scale, wanted)
        settings[name] = settings_of_it
        if not work.study.result_path(work.table.evaluation, wanted, on, seed).exists():
            passes[name, on] += 1
        file = work.study.untrained_path(wanted, on, seed)
        retrieval = work.table.evaluation == "retrieval" and wanted.is_papers
        if retrieval and file not in untrained and not file.exists():
            untrained.add(file)
            passes[name, on] += 2  # BatchNorm as initialised, and with statistics
    times = dict[str, StepTime]()
    for (name, on), often in passes.items():
        if name not in times:
            work.say(f"Measuring clips through {name} …")
            times[name] = embedding_time(settings[name], work.device)
        what = f"evaluation, {name}, {on} ({CLIPS} clips a video)"
        yield Item(what, often, work.counts[on][1] * CLIPS, times[name].seconds, training=False)


def _evaluations(table: PaperTable, seeds: int) -> Iterator[tuple[Pretraining, SetName, int]]:
    for row in table.rows:
        if row.ours is not None:
            for on in row.paper:
                for seed in range(seeds):
                    yield row.ours, on, seed


def _item(what: str, times: int, steps: int, time: StepTime, batch: int) -> Item:
    return Item(what, times, steps, time.seconds, batch, time.clips)


def _settings(scale: Scale, wanted: Pretraining) -> Settings:
    flags = {**scale.pretraining, "model.network": wanted.network}
    return resolve_settings(preset=scale.preset_of(wanted.method), method=wanted.method, flags=flags).settings


def _with_clips(scale: Scale, wanted: Pretraining) -> tuple[str, Settings]:
    """A network with the clips that it sees, ``c3d of 16x112x112``, on which its time depends; and the settings."""
    settings = _settings(scale, wanted)
    size = settings.augment.size
    return f"{wanted.network} of {settings.data.frames}x{size}x{size}", settings


def _rounded(value: float) -> str:
    """Two digits: more would be pretence."""
    if value < 10:
        return f"{value:.1f}"
    digits = math.floor(math.log10(value)) - 1
    return f"{round(value, -digits):,.0f}".replace(",", " ")
