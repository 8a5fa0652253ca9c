"""The commands that are killed: how each begins, how it goes on, and what of its result no kill may alter: everything.

Another command is another ``Victim``, here.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from squares import make_squares
from tiny import FINETUNING, TINY

MOMENT = 1e-6  # run.save_minutes: a checkpoint after every step
PRETRAIN = {
    **TINY,
    "data.workers": 2,
    "optim.epochs": 4,
    "frames.optim.epochs": 4,
    "run.save_minutes": MOMENT,
}
FINETUNE = {**FINETUNING, "data.workers": 2, "optim.epochs": 4, "run.save_minutes": MOMENT}
_TEMPORARY = re.compile(r"partial|\.(tmp|part|new|old)$")


@dataclass(frozen=True)
class Victim:
    """One command.

    Attributes:
        name: in the counts.
        first: its words.
        again: the words that go on with it once ``begun`` is there; before that, and without it, the first words do.
        begun: a file that says that it has begun.
        place: the file or folder that it makes.
        stage: how far it had come when it was killed, read off what it left.
        prepare: called before each life.
        trains: whether it writes how many clips a second it saw.
        begin: called in its process before it begins.
    """

    name: str
    first: list[str]
    place: Path
    stage: Callable[[Path], str]
    again: list[str] = field(default_factory=list)
    begun: Path | None = None
    prepare: Callable[[], None] = lambda: None
    trains: bool = True
    begin: Callable[[], None] = lambda: None

    def words(self) -> list[str]:
        """What the user has to type now."""
        return self.again if self.begun is not None and self.begun.exists() else self.first

    def folders(self) -> list[Path]:
        """What it makes: its result, and what lies beside it while it is being made."""
        return sorted(path for path in self.place.parent.iterdir() if self.place.name in path.name)


def write_settings(path: Path, settings: dict[str, Any]) -> Path:
    """Dotted settings in a file, for ``--config``."""
    path.write_text(yaml.safe_dump(settings))
    return path


def stage_of_pretraining(run: Path) -> str:
    """Where a pretraining was, by what it has written."""
    if not (run / "config.yaml").exists():
        return "making the run folder"
    if not (run / "videos.csv").exists():
        return "looking through and decoding"
    if not (run / "frame_encoder" / "config.json").exists():
        return "frame pretraining"
    if (run / "finished.json").exists():
        return "after the end"
    steps = sorted((run / "checkpoints" / "train").glob("step-*"))
    last = int(PRETRAIN["optim.epochs"]) * 2
    return "writing the end" if steps and int(steps[-1].name[5:13]) == last else "pretraining"


def stage_of_finetuning(run: Path) -> str:
    """Where a fine-tuning was."""
    if not (run / "config.yaml").exists() or not (run / "features.npz").exists():
        return "beginning, decoding, embedding"
    return "fine-tuning" if any(run.glob("parts/*/checkpoints")) else "testing and writing the end"


def stage_of_evaluation(run: Path) -> str:
    """Where an evaluation was."""
    return "writing the end" if (run / "neighbours.png").exists() else "embedding"


def stage_of_preparing(store: Path) -> str:
    """Where the making of a store was."""
    partial = store.with_name(store.name + ".partial")
    if not (partial / "request.json").exists():
        return "looking through"
    return "joining" if (partial / "frames.bin").exists() else "decoding"


def stage_of_embedding(folder: Path) -> str:
    """Where an embedding was."""
    parts = len([*(folder / "parts").glob("*.npz")])
    if not parts:
        return "after the end" if (folder / "videos.csv").exists() else "looking through and loading"
    return "writing the end" if (folder / ".vectors.npy.partial").exists() or parts == 12 else "embedding"


def stage_of_indexing(folder: Path) -> str:
    """Where the making of an index was."""
    if not (folder / "index.json").exists():
        return "looking through and loading"
    if json.loads((folder / "index.json").read_text())["generation"] is not None:
        return "after the change"
    if (folder / "generations").exists():
        return "writing the generation"
    return "embedding" if (folder / "parts").exists() else "looking through and loading"


def temporary(folders: list[Path]) -> list[str]:
    """Files of folders that are being written, by their names."""
    return [
        str(path)
        for folder in folders
        for path in [folder, *folder.rglob("*")]
        if _TEMPORARY.search(path.name) and not (path == folder and path.name.endswith(".partial"))
    ]


def result(victim: Victim) -> dict[str, Any]:
    """Every file that a victim made, as what must be the same after any number of kills; the clock's fields aside."""
    place = victim.place
    files = [path for path in sorted(place.rglob("*")) if path.is_file()]
    return {str(path.relative_to(place)): _content(path, clock=victim.trains) for path in files}


def _content(path: Path, *, clock: bool) -> Any:
    content = path.read_bytes()
    if path.name in ("log.txt", ".lock"):
        return "of each sitting"
    if path.name == "metrics.jsonl":
        rows = [json.loads(line) for line in content.decode().splitlines()]
        return [{key: value for key, value in row.items() if key != "clips_per_second"} for row in rows]
    if path.name == "curves.png" and clock:  # one of the curves is that of the clips a second
        from matplotlib.image import imread

        return imread(path).shape
    if path.name == "report.html" and clock:
        assert content.rstrip().endswith(b"</html>"), path
        return "whole, with the curve of the clips a second"
    if path.name == "manifest.json" and "stores" in path.parts:  # of videos that each life makes anew
        return {key: value for key, value in json.loads(content).items() if key != "videos"}  # their sizes and times
    return hashlib.sha256(content).hexdigest()


def make_world(folder: Path) -> list[Victim]:
    """Videos and settings below ``folder``, and the commands on them."""
    folder.mkdir(parents=True, exist_ok=True)
    videos = make_squares(folder / "videos")
    run, tuned, store = folder / "run", folder / "tuned", folder / "frames.store"
    vectors, indexed = folder / "vectors", folder / "archive"
    # by name: "auto" asks for the room on the disk, and gives another run where there is little
    pretraining = write_settings(folder / "pretraining.yaml", {**PRETRAIN, "data.store": str(run / "store")})
    finetuning = write_settings(folder / "finetuning.yaml", {**FINETUNE, "data.store": str(tuned / "store")})
    model = folder / "model"  # a finished run, for those that need one; made by ``finished_run``

    def copy_model() -> None:
        shutil.copytree(model, folder / "evaluated")

    exactly = ["--model", str(model), "--precision", "float32"]
    return [
        Victim(
            name="pretrain",
            first=["pretrain", str(videos), "--config", str(pretraining), "--out", str(run)],
            again=["pretrain", "--resume", str(run)],
            begun=run / "config.yaml",
            place=run,
            stage=stage_of_pretraining,
        ),
        Victim(
            name="finetune",
            first=["finetune", str(videos), "--config", str(finetuning), "--model", str(model), "--out", str(tuned)],
            again=["finetune", "--resume", str(tuned)],
            begun=tuned / "config.yaml",
            place=tuned,
            stage=stage_of_finetuning,
        ),
        Victim(
            name="evaluate",
            first=["evaluate", str(folder / "evaluated")],
            place=folder / "evaluated",
            stage=stage_of_evaluation,
            prepare=copy_model,
            trains=False,
        ),
        Victim(
            name="prepare",
            first=["prepare", str(videos), "--out", str(store), "--size", "32", "40"],
            place=store,
            stage=stage_of_preparing,
            trains=False,
        ),
        _by_parts("embed", ["embed", str(videos), "--out", str(vectors), *exactly], vectors, stage_of_embedding),
        _by_parts("index", ["index", str(videos), "--out", str(indexed), *exactly], indexed, stage_of_indexing),
    ]


def _by_parts(name: str, first: list[str], place: Path, stage: Callable[[Path], str]) -> Victim:
    return Victim(name, first, place, stage=stage, trains=False, begin=_one_video_a_part)


def _one_video_a_part() -> None:
    from cacl.experiments import embed_parts
    from cacl.indexing import embedding_run

    embed_parts.PART = embedding_run.PART = 1


def reproduction(folder: Path) -> Victim:
    """Three networks trained and measured on videos that it makes itself, smaller than ``--scale tiny``."""
    out = folder / "reproduced"
    words = ["reproduce", "table3", "--out", str(out)]
    return Victim("reproduce", words, out, stage=stage_of_reproducing, begin=_smaller_than_tiny)


def _smaller_than_tiny() -> None:
    from cacl.experiments.reproduce import scale as reproduce_scale

    settings = {key: value for key, value in PRETRAIN.items() if key not in ("model.network", "data.store")}
    reproduce_scale._TINY_PRETRAINING = {**settings, "optim.epochs": 2, "frames.optim.epochs": 1}
    for videos in reproduce_scale.TINY_VIDEOS.values():
        videos["videos_per_class"] = (1, 1)


def stage_of_reproducing(folder: Path) -> str:
    """Where the making of a table was."""
    if not (folder / "videos" / "ucf101").exists():
        return "making videos"
    begun, done = (len([*folder.glob(f"runs/*/{name}")]) for name in ("config.yaml", "finished.json"))
    if begun == done < 3:
        return "between trainings"
    return f"training {begun} of 3" if done < 3 else "measuring"
