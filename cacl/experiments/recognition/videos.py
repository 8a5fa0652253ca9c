"""The videos of a recognition run: found and checked once, opened as one data set, embedded with the frozen encoder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from cacl.config import ResolvedOf
from cacl.data.remote.place import place
from cacl.data.videos.catalog import Catalog, Skipped, check_there, root_of
from cacl.data.videos.dataset import Dataset, open_videos
from cacl.data.videos.labels import label_order
from cacl.data.videos.resampled import resampled
from cacl.data.videos.scan import scan
from cacl.data.videos.store import FrameStore, is_store
from cacl.distributed.processes import first_alone, is_first
from cacl.errors import UserError
from cacl.evaluation.choice.frozen_rows import FROZEN, FUSED
from cacl.evaluation.choice.fuse import resized
from cacl.evaluation.embed import VideoFeatures, encoder_features
from cacl.experiments.recognition.cells import Study
from cacl.experiments.recognition.labelled import LabelledSplit, check_label_counts, labelled_split
from cacl.files import whole, writing
from cacl.finetune_settings import FineTune
from cacl.models.clip_encoder import ClipEncoder, ClipSpec
from cacl.models.encoder import Encoder
from cacl.models.fused import FusedEncoder
from cacl.models.image.encoder import ImageEncoder
from cacl.models.load import load_encoder
from cacl.run_folder import RunFolder
from cacl.training.progress import VideoProgress
from cacl.training.stop import StopRequest


def find_splits(run: RunFolder, stop: StopRequest) -> tuple[list[LabelledSplit], list[Catalog]]:
    """Every split as found the first time (``videos/split-N.csv``), checked."""
    request = run.data
    root, kept = place(request["videos"]), run.path / "videos"
    lists = None if request["lists"] is None else Path(request["lists"])
    catalogs = []
    with VideoProgress(stop) as progress:
        for number in request["splits"]:
            file = kept / f"split-{number}.csv"
            if file.exists():
                catalogs.append(Catalog.read_csv(file, root=root_of(root)))
            elif is_store(root):
                catalogs.append(FrameStore(root).catalog)
            else:
                run.log(f"Looking through {root} …")
                watch = progress.of(f"files looked at for split {number}")
                catalogs.append(scan(root, lists=lists, split=number, progress=watch))
    numbered = list(zip(request["splits"], catalogs, strict=True))
    for (number, found), (other, again) in combinations(numbered, 2):
        if found.videos == again.videos:
            raise UserError(
                f"{root}: splits {number} and {other} are the same videos; name the folder of the split lists (--lists "
                "DIR), or leave out --splits."
            )
    splits = [labelled_split(found, number) for number, found in numbered]
    counts = [None if n == "all" else int(n) for n in request["labels per class"]]
    for split in splits:
        check_label_counts(split, counts)
    with writing(kept):
        kept.mkdir(exist_ok=True)
    for number, found in numbered:
        if not (kept / f"split-{number}.csv").exists():
            found.write_csv(kept / f"split-{number}.csv")
    return splits, catalogs


def open_study(
    run: RunFolder,
    splits: Sequence[LabelledSplit],
    catalogs: Sequence[Catalog],
    encoder: Encoder,
    resolved: ResolvedOf[FineTune],
    stop: StopRequest,
) -> Study:
    """Open the videos of all splits as one data set, and embed them with the frozen encoder."""
    request, settings = run.data, resolved.settings
    root, resize = place(request["videos"]), encoder.clip.resize
    if is_store(root):
        data = open_videos(root, resize=resize, blank=encoder.clip.blank, encoder=True)
    else:
        every = {(v.path, v.first_frame): replace(v, split=None) for c in catalogs for v in c.videos}
        union = Catalog(
            catalogs[0].root, tuple(every[key] for key in sorted(every)), catalogs[0].skipped, encoder.clip.blank
        )
        if not is_store(run.path / "store") and (
            note := check_there(
                union, mend="If the videos were moved, say where they are: --videos FOLDER beside --resume"
            )
        ):
            run.log(note)
        with VideoProgress(stop) as progress:
            data = first_alone(lambda: _open_kept(run, union, settings.data.store, encoder.clip, progress))
    data = resampled(data, encoder.clip.frame_rate, say=run.log)
    number_of = {(v.path, v.first_frame): number for number, v in enumerate(data.catalog.videos)}
    used = {(v.path, v.first_frame) for split in splits for v in (*split.train, *split.test)}
    numbers = sorted(number_of[key] for key in used if key in number_of)
    features = _features(run.path / "features.npz", encoder, data, numbers, settings, stop)
    return Study(
        folder=run.path,
        settings=settings,
        encoder=encoder,
        classes=label_order(name for split in splits for name in split.classes),
        data=data,
        number_of=number_of,
        features=features,
        row_of={numbers[position]: row for row, position in enumerate(features.kept.tolist())},
        beside=_beside(run, data, numbers, settings, stop),
        linear=request["linear"],
        several=any(split.several for split in splits),
        stop=stop,
        say=run.log,
    )


def _open_kept(
    run: RunFolder, catalog: Catalog, store: str, clip: ClipSpec, progress: Callable[[str, int, int], None]
) -> Dataset:
    """The videos, or the frames kept of them: which, is decided once, since kept frames are not quite the videos'.

    ``auto`` asks how much room there is, which another process, or the same one tomorrow, may find otherwise.
    """
    request = run.data
    if "store" in request:
        store = "none" if request["store"] is None else str(run.path / request["store"])
    store_folder = run.path / "store"
    data = open_videos(
        catalog,
        resize=clip.resize,
        rules=clip.rules,
        store=store,
        store_folder=store_folder,
        say=run.log,
        progress=progress,
    )
    if "store" not in request:
        kept = data.source.path if isinstance(data.source, FrameStore) else None
        inside = kept == store_folder  # so that the run folder can be moved
        request["store"] = None if kept is None else "store" if inside else str(kept.resolve())
        run.write("data.json", json.dumps(request, indent=2) + "\n")
    return data


def _features(
    file: Path, encoder: ClipEncoder, data: Dataset, numbers: list[int], settings: FineTune, stop: StopRequest
) -> VideoFeatures:
    """Of the frozen encoder, kept in a file for a run that is resumed."""
    if file.exists():
        with np.load(file, allow_pickle=False) as kept:
            skipped = tuple(Skipped(path, reason) for path, reason in json.loads(str(kept["skipped"])))
            return VideoFeatures(kept["features"], kept["kept"], skipped)
    with VideoProgress(stop) as progress:
        device, clips, total = settings.run.device, settings.test.clips, len(numbers)
        found = encoder_features(
            encoder,
            data.subset(numbers),
            clips=clips,
            device=device,
            progress=lambda done: progress("videos embedded", done, total),
        )
    encoder.cpu()
    if not is_first():
        return found
    skipped_text = json.dumps([[item.path, item.reason] for item in found.skipped])
    with whole(file) as partial_file, partial_file.open("wb") as out:
        np.savez(out, features=found.features, kept=found.kept, skipped=skipped_text)
    return found


def load_beside(path: str | Path) -> ImageEncoder | FusedEncoder:
    """A frozen image encoder, or a fused one. Raises UserError for anything else."""
    encoder = load_encoder(path)
    if not isinstance(encoder, ImageEncoder | FusedEncoder):
        raise UserError(f"{path} is neither a frozen image encoder nor a fused one: make one with cacl import or fuse.")
    return encoder


def _beside(
    run: RunFolder, data: Dataset, numbers: list[int], settings: FineTune, stop: StopRequest
) -> dict[str, tuple[VideoFeatures, dict[int, int]]]:
    """Features for the rows beside; the frozen part's are the last columns of the fused ones."""
    if "beside" not in run.data:
        return {}
    encoder = first_alone(lambda: load_beside(run.data["beside"]))
    found = _features(run.path / "features-beside.npz", encoder, resized(data, encoder.clip), numbers, settings, stop)
    row_of = {numbers[position]: row for row, position in enumerate(found.kept.tolist())}
    if isinstance(encoder, ImageEncoder):
        return {FROZEN: (found, row_of)}
    frozen = found.features[:, encoder.mapped[0].features :]
    return {FROZEN: (VideoFeatures(frozen, found.kept, found.skipped), row_of), FUSED: (found, row_of)}
