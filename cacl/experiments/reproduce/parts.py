"""The parts of a reproduction: one training, or one evaluation of it. What is finished is read and never done again.

Trainings are runs as of ``cacl pretrain`` (finished with their ``finished.json``) and ``cacl finetune``; an evaluation
is finished with its file in ``results/``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cacl.data.videos.dataset import open_videos
from cacl.data.videos.resampled import resampled
from cacl.evaluation.evaluate import Retrieval, evaluate_retrieval
from cacl.experiments.analyse import analyse
from cacl.experiments.plan_folder import kept, trained_run
from cacl.experiments.recognition.finetune import finetune, resume_finetune
from cacl.experiments.reproduce.paper_tables import Evaluation, Pretraining, SetName, folder_name
from cacl.experiments.reproduce.scale import Place, Scale
from cacl.machine.device import run_device
from cacl.models.encoder import Encoder
from cacl.presets import ALL_PAIRS
from cacl.run import Run
from cacl.run_folder import RunFolder
from cacl.training.pretrain import pretrain
from cacl.training.videos import pixel_rules

_PAIR_COLUMNS = {"gq_gk": "(Gq,Gk)", "gq_tq": "(Gq,Tq)", "gq_tk": "(Gq,Tk)", "tq_tk": "(Tq,Tk)"}


@dataclass(frozen=True)
class Study:
    """What all parts share: the folder, how large everything is, and where the data sets are."""

    folder: RunFolder
    scale: Scale
    places: Mapping[SetName, Place]

    def run_path(self, wanted: Pretraining, seed: int) -> Path:
        """Of a pretraining."""
        return self.folder.path / "runs" / f"{wanted.name}-seed{seed}"

    def finetuned_path(self, wanted: Pretraining, on: SetName, seed: int) -> Path:
        """Of a fine-tuning."""
        return self.folder.path / "finetuned" / f"{wanted.name}-seed{seed}-on-{folder_name(on)}"

    def result_path(self, evaluation: str, wanted: Pretraining, on: SetName, seed: int) -> Path:
        """Of an evaluation."""
        return self.folder.path / "results" / f"{evaluation}-{wanted.name}-seed{seed}-on-{folder_name(on)}.json"

    def untrained_path(self, wanted: Pretraining, on: SetName, seed: int) -> Path:
        """Of the evaluation of a run's network at its first step."""
        return self.folder.path / "results" / f"untrained-{wanted.network}-seed{seed}-on-{folder_name(on)}.json"

    def frame_encoder(self, seed: int) -> Path | None:
        """The frame encoder of UCF101 and a seed, as soon as some run has trained it."""
        found = sorted((self.folder.path / "runs").glob(f"*-ucf101-seed{seed}/frame_encoder/config.json"))
        return found[0].parent if found else None

    def store(self, on: SetName) -> str:
        """Where decoded frames are kept: once for all of a tiny scale, else as the preset says."""
        tiny = self.scale.name == "tiny"
        return str((self.folder.path / "stores" / folder_name(on)).resolve()) if tiny else "none"


def trained(study: Study, wanted: Pretraining, seed: int) -> Run:
    """The run of a row: trained, continued, or taken as it is.

    The frame encoder is trained once for each seed, on the frames of UCF101 (section 4.1), by the first run that needs
    it; the others are given it, so that they train under equal conditions.

    Raises:
        UserError, Stopped: as ``pretrain``.
    """
    path = study.run_path(wanted, seed)

    def begin() -> Run:
        place, settings = study.places[wanted.videos], dict(study.scale.pretraining)
        settings["data.store"] = study.store(wanted.videos)
        if wanted.uses_transformer and (shared := study.frame_encoder(seed)) is not None:
            settings["model.frame_weights"] = str(shared.resolve())
        return pretrain(
            place.videos,
            out=path,
            preset=study.scale.preset_of(wanted.method),
            method=wanted.method,
            lists=place.lists,
            network=wanted.network,
            seed=seed,
            settings=settings,
        )

    return trained_run(path, begin, say=study.folder.log)


def measured(study: Study, evaluation: Evaluation, wanted: Pretraining, on: SetName, seed: int) -> dict[str, Any]:
    """One evaluation of one run: ``numbers`` by column, ``references`` by name and column, ``notes``.

    Raises:
        UserError, Stopped: as the evaluations.
    """
    make = {
        "retrieval": _retrieval,
        "recognition": _recognition,
        "similarity": _similarity,
        "attention": _attention,
    }[evaluation]
    return _kept(study, study.result_path(evaluation, wanted, on, seed), lambda: make(study, wanted, on, seed))


def untrained(study: Study, wanted: Pretraining, on: SetName, seed: int) -> dict[str, Any]:
    """Retrieval without learning: chance, two baselines, and the network of a run at its first step.

    It is the same for every method, since all begin with the weights of their seed.
    """

    def make() -> dict[str, Any]:
        found = _searched(study, {}, trained(study, wanted, seed), on)
        return {"numbers": {}, "references": found.recalls, "notes": []}

    return _kept(study, study.untrained_path(wanted, on, seed), make)


def _kept(study: Study, file: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    return kept(study.folder, str(file.relative_to(study.folder.path)), make)


def _retrieval(study: Study, wanted: Pretraining, on: SetName, seed: int) -> dict[str, Any]:
    run = trained(study, wanted, seed)
    found = _searched(study, {"run": run.encoder}, run, on)
    notes = [f"{on}: {found.queries} {found.part} videos query {found.gallery} training videos."]
    if found.skipped:
        notes.append(f"{on}: {len(found.skipped)} videos could not be read ({'; '.join(found.skipped[:3])}).")
    return {"numbers": found.recalls["run"], "references": {}, "notes": notes}


def _searched(study: Study, encoders: dict[str, Encoder], run: Run, on: SetName) -> Retrieval:
    """The run's encoder alone, or without one everything that was not learned."""
    device, autocast_dtype = run_device(run.settings.run, run.path, say=study.folder.log)
    place, settings = study.places[on], run.settings.data
    data = open_videos(
        place.videos,
        resize=settings.resize,
        lists=place.lists,
        rules=pixel_rules(RunFolder.open(run.path)),
        store=study.store(on),
    )
    return evaluate_retrieval(
        encoders,
        None if encoders else run.untrained,
        resampled(data, settings.frame_rate, say=study.folder.log),
        seed=run.settings.run.seed,
        device=device,
        autocast_dtype=autocast_dtype,
        references=not encoders,
        say=study.folder.log,
    )


def _recognition(study: Study, wanted: Pretraining, on: SetName, seed: int) -> dict[str, Any]:
    run, place, path = trained(study, wanted, seed), study.places[on], study.finetuned_path(wanted, on, seed)
    if (path / "config.yaml").exists():
        results = resume_finetune(path)
    else:
        study.folder.log(f"Fine-tuning {path} …")
        results = finetune(
            place.videos,
            model=run.path,
            out=path,
            preset=study.scale.preset,
            lists=place.lists,
            splits=study.scale.splits,
            seed=seed,
            settings=study.scale.finetuning,
        )
    found = {name: row["all"]["top-1"] for name, row in results["recognition"].items()}
    numbers = {"top-1": found["fine-tuned"], "linear probe": found["linear probe"], "k-NN": found["k-NN"]}
    return {
        "numbers": numbers,
        "references": {"chance": dict.fromkeys(numbers, results["chance"])},
        "notes": [f"{on}: {note}" for note in results["notes"]],
    }


def _similarity(study: Study, wanted: Pretraining, on: SetName, seed: int) -> dict[str, Any]:
    found = analyse(trained(study, wanted, seed).path, parts=["similarity"], seed=seed)["similarity"]
    pairs = {_PAIR_COLUMNS[pair]: found["pairs"][pair] for pair in ALL_PAIRS}
    return {
        "numbers": {name: pair["mean"] for name, pair in pairs.items()},
        "references": {"clips of different videos": {name: pair["unrelated mean"] for name, pair in pairs.items()}},
        "notes": [f"{on}: {found['clips']} clips of the test part."],
    }


def _attention(study: Study, wanted: Pretraining, on: SetName, seed: int) -> dict[str, Any]:
    run = trained(study, wanted, seed)
    found = analyse(run.path, parts=["attention"], seed=seed)["attention"]
    weights_LL = np.load(run.path / "analysis" / "attention.npy", allow_pickle=False)
    header = (run.path / "analysis" / "attention.csv").read_text(encoding="utf-8").splitlines()[0]
    return {
        "numbers": {
            "first and last position, times the mean": found["ends"],
            "positions away": found["distance"],
            "positions away, uniform": found["distance, uniform"],
        },
        "references": {},
        "notes": [f"{on}: mean of all heads and {found['clips']} clips of the test part."],
        "tokens": header.split(",")[1:],
        "attention": weights_LL.tolist(),
    }
