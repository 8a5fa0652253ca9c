"""``cacl index``: an index of a folder of videos, made, and brought up to date when the same command is given again.

Only what is new or changed is opened. What is embedded is kept part by part in a journal; from it and the old
generation the new one is written, and then the index points to it. A kill at any instant leaves the old state, and the
journal.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from cacl.cluster.engine import Engine, check_engine
from cacl.data.remote.place import place
from cacl.data.videos.catalog import Catalog, root_of
from cacl.data.videos.lists.find import names_addresses
from cacl.data.videos.scan import scan
from cacl.data.videos.sources import is_store
from cacl.data.videos.store_shares import Shard, shard_of
from cacl.errors import UserError, counted
from cacl.evaluation.video_vectors import embedding_precision
from cacl.indexing.changes import Entry, Found, compare, is_there, joined
from cacl.indexing.embedding_run import Progress, Speed, Work, embed_entries
from cacl.indexing.generation import Generation, keys_in_use, next_name, open_generation, remove_others
from cacl.indexing.journal import Journal, read_parts
from cacl.indexing.known import Known, Memory
from cacl.indexing.layout import ENCODER, GENERATIONS, PARTS, POINTER, SHARDS
from cacl.indexing.previews import keep_previews
from cacl.indexing.reader import Index
from cacl.indexing.request import BEGINNING, Request, begin, check_same, is_begun, read_pointer, write_pointer
from cacl.indexing.shards import locked_shard, locked_shards, shard_folder
from cacl.indexing.write_generation import write_generation
from cacl.lock import NAME as LOCK
from cacl.lock import FolderLock, taken_back
from cacl.machine.device import choose_device
from cacl.machine.load import free_threads
from cacl.machine.precision import PrecisionName
from cacl.models.clip_encoder import ClipEncoder
from cacl.models.load import load_encoder

_WIDEST = 2048  # numbers of a vector that can be whitened: beyond, it takes hours and gigabytes
Say = Callable[[str], None]


def index(
    videos: str | Path,
    *,
    model: str | Path | None = None,
    out: str | Path,
    step: int | None = None,
    rate: float = 0.0,
    whiten: bool | None = None,
    previews: bool = True,
    prune: bool = False,
    shard: str | None = None,
    merge: bool = False,
    engine: Engine = "here",
    address: str | None = None,
    device: str = "auto",
    precision: PrecisionName = "auto",
    say: Say = lambda text: None,
    progress: Progress = lambda what, done, total: None,
) -> Index | None:
    """Make an index of videos, or bring it up to date: only what is new or changed is decoded.

    Args:
        videos: a folder (any tree), one file, a list file, ``videos.csv``, or an address.
        model: a run or an encoder folder, of any kind; ``None``: the encoder that the index has.
        out: the index, new or made before.
        step: frames from one window to the next; ``None``: as the index was made, a whole window for a new one.
        rate: frames a second of pictures in folders, where no list says it; 0: unknown.
        whiten: compare vectors with the archive's spread taken out, not only its mean; ``None``: as before, no for a
            new one.
        previews: make small moving pictures of what is embedded.
        prune: forget videos that are not there.
        shard: embed a share of the videos only, ``"3/16"`` (from 1), for ``merge`` to join.
        merge: join what the shares made; embed nothing.
        engine: ``here``, in this process, or ``ray``, by the tasks of a Ray cluster; the index is the same.
        address: of the Ray cluster; ``None``: one is started on this machine.
        device: ``auto``, ``cpu``, ``mps``, ``cuda``, ``cuda:N``.
        precision: ``auto`` (as the index was made; 16 bits for a new one where they are faster and right),
            ``float32``, ``bfloat16`` or ``float16``.
        say: told what is done.
        progress: called with what is done, how much of it and of how much; may raise to end it.

    Returns:
        The index, or ``None`` after a share.

    Raises:
        UserError: no encoder, no video, an index of something else, one that another process writes, or one that
            cannot be written. What was there is as it was.
    """
    if step is not None and step < 1:
        raise UserError(f"--step is {step}; it must be 1 or more.")
    if shard is not None and merge:
        raise UserError("--shard makes a share, --merge joins them: give one of them.")
    check_engine(engine, address, shares=shard is not None or merge)
    share = None if shard is None else shard_of(shard)
    videos, out = place(videos), Path(out)
    run = _begun(videos, model, out, step, whiten, device, precision, say)
    if share is not None:
        with free_threads(say):
            _make_share(run, share, videos, rate, previews, progress)
        return None
    with FolderLock(out), taken_back(out, POINTER), free_threads(say), ExitStack() as held:
        shares = locked_shards(out, held)
        embed = embed_entries if engine == "here" else _on_ray(address)
        _bring_up_to_date(run, embed, [out / PARTS, *shares], videos, rate, previews, prune, merge, progress)
    return Index(out)


@dataclass(frozen=True)
class _Run:
    out: Path
    encoder: ClipEncoder
    request: Request
    device: str
    whiten: bool
    say: Say


def _begun(
    videos: Path,
    model: str | Path | None,
    out: Path,
    step: int | None,
    whiten: bool | None,
    device: str,
    precision: PrecisionName,
    say: Say,
) -> _Run:
    """Check what is asked against what is there, and write the pointer of a new index."""
    _check_free(out)
    if root_of(videos).resolve() in out.resolve().parents and not names_addresses(videos):
        raise UserError(f"{out} lies in {root_of(videos)}, among the videos: choose an --out beside that folder.")
    if is_store(videos):
        raise UserError(f"{videos} is a store of frames: index the videos that it was made of.")
    pointer = read_pointer(out)
    if pointer and not is_begun(out, pointer):
        pointer = {}  # a kill left it
    if model is None and not (out / ENCODER).exists():
        what = "keeps no encoder yet" if pointer else "is no index yet"  # of shares that nobody joined it keeps none
        raise UserError(f"{out} {what}: name the encoder that makes it, --model RUN.")
    device, _ = choose_device(device)
    encoder = load_encoder(out / ENCODER if model is None else model)
    if pointer:
        step = pointer["step"] if step is None else step
        precision = pointer["precision"] if precision == "auto" else precision
    if precision == "auto":
        dtype, _ = embedding_precision(precision, encoder.to(device), device)
        precision = "float32" if dtype is None else cast(PrecisionName, str(dtype).removeprefix("torch."))
    config = {key: value for key, value in json.loads(json.dumps(encoder.config)).items() if key != "cacl"}
    request = Request(step, precision, encoder.digest(), config)
    whiten = bool(pointer.get("whiten")) if whiten is None else whiten
    if whiten and encoder.num_features > _WIDEST:
        raise UserError(
            f"--whiten is for vectors of up to {_WIDEST} numbers, these have {encoder.num_features}: leave it out."
        )
    if not pointer:
        place = {"videos": str(videos.absolute()), "root": str(root_of(videos).absolute())}
        pointer = begin(out, {**place, **request.facts(), "whiten": whiten, "generation": None})
    check_same(out, pointer, request)
    return _Run(out, encoder, request, device, whiten, say)


def _make_share(run: _Run, share: Shard, videos: Path, rate: float, previews: bool, progress: Progress) -> None:
    with locked_shard(run.out, share):
        old = open_generation(run.out)
        try:
            journal = read_parts([shard_folder(run.out, share)], request=run.request.digest)
            found, memory, _ = _look(run, old, journal, videos, rate, share=share, prune=True, progress=progress)
            work = _work(run, shard_folder(run.out, share), previews)
            root = root_of(videos)
            speed = embed_entries(root, found.to_do, work, memory.seen, say=run.say, progress=progress)
        finally:
            if old is not None:
                old.close()
    bad = [f", {len(speed.failed)} not (first {path}: {why})" for path, why in speed.failed.items()][:1]
    done = f"{counted(speed.videos, 'video')} embedded{''.join(bad)}"
    run.say(f"Share {share.number} of {share.of}: {done}. {speed}")


def _on_ray(address: str | None) -> Callable[..., Speed]:
    from cacl.indexing.cluster.on_ray import embed_on_ray

    return partial(embed_on_ray, address=address)


def _bring_up_to_date(
    run: _Run,
    embed: Callable[..., Speed],
    parts: list[Path],
    videos: Path,
    rate: float,
    previews: bool,
    prune: bool,
    merge: bool,
    progress: Progress,
) -> None:
    pointer = read_pointer(run.out)
    removed = remove_others(run.out, pointer["generation"])  # what a kill left, and who is read no more
    old = open_generation(run.out)
    try:
        root = _checked_place(run.out, pointer, old, videos)
        journal = read_parts(parts, request=run.request.digest)
        found, memory, known = _look(run, old, journal, videos, rate, share=None, prune=prune, progress=progress)
        if not (run.out / ENCODER).exists():
            run.encoder.cpu().save(run.out / ENCODER)
        if merge:
            _check_whole(run.out, found, journal)
        elif found.to_do:
            work = _work(run, run.out / PARTS, previews)
            run.say(str(embed(root, found.to_do, work, memory.seen, say=run.say, progress=progress)))
            parts = [*parts, *sorted((run.out / SHARDS).glob("*"))]  # a cluster's are there by now
            journal = read_parts(parts, request=run.request.digest)
        pieces = _pieces(old, journal)
        catalog, chosen, known = joined(found, known, pieces, journal, root)
        if not chosen:
            raise UserError(
                f"{videos}: none of {counted(len(found.entries), 'video')} could be embedded{_why(catalog)}."
            )
        place = {"videos": str(videos.absolute()), "root": str(root.absolute())}
        if old is None or _differs(old, catalog, known, run.whiten, pointer, place):
            name = next_name(run.out)
            about = {"format": 1, **place, **run.request.facts(), "whiten": run.whiten}
            folder = run.out / GENERATIONS / name
            write_generation(folder, about=about, catalog=catalog, pieces=chosen, known=known, whiten=run.whiten)
            write_pointer(run.out, {**pointer, **place, "whiten": run.whiten, "generation": name})
        else:
            name = str(pointer["generation"])
        before = set() if old is None else old.pieces.keys() - {entry.key for entry in found.to_do}
        new = len(set(known.keys) - before)  # the shares' are among them, and those of a run that was stopped
        run.say(_summary(new, len(known.keys) - new - found.absent, found))
    finally:
        if old is not None:
            old.close()
    if remove_others(run.out, name) or removed or name != pointer["generation"]:
        keep_previews(run.out, keys_in_use(run.out))
    for folder in (run.out / PARTS, run.out / SHARDS):
        shutil.rmtree(folder, ignore_errors=True)
    for file in run.out.glob(BEGINNING):
        file.unlink(missing_ok=True)


def _look(
    run: _Run,
    old: Generation | None,
    journal: Journal,
    videos: Path,
    rate: float,
    *,
    share: Shard | None,
    prune: bool,
    progress: Progress,
) -> tuple[Found, Memory, Known]:
    """The folder beside what is known of it."""
    known = Known() if old is None else old.known
    mine = (lambda path: True) if share is None else share.holds
    memory = Memory({**known.looked, **journal.looked}, mine=mine)
    catalog = scan(
        videos,
        rate=rate,
        look=memory,
        empty=share is not None or old is not None,
        progress=lambda done, total: progress("files looked at", done, total),
    )
    before = [] if old is None else [Entry(*pair) for pair in zip(known.keys, old.catalog.videos, strict=True)]
    if old is not None and share is None and not catalog.videos:
        if prune:
            raise UserError(f"{videos} holds no video at all: nothing was pruned; remove {run.out} if that is meant.")
        run.say(f"{videos} holds no video: is a disk not there? What the index knows is kept, as absent.")
    failed = {**known.failed, **journal.failed}
    known = Known(memory.seen, known.keys, failed, known.broken)
    return compare(catalog, memory, before, known, _pieces(old, journal), prune=prune), memory, known


def _pieces(old: Generation | None, journal: Journal) -> dict[str, Any]:
    return {**({} if old is None else old.pieces), **journal.made}


def _work(run: _Run, parts: Path, previews: bool) -> Work:
    encoder, precision = run.encoder.to(run.device), cast(PrecisionName, run.request.precision)
    dtype, why = embedding_precision(precision, encoder, run.device)
    run.say(f"On {run.device} in {precision} ({why.rstrip('.')}).")
    return Work(run.out, parts, run.request.digest, encoder, run.request.step, dtype, previews)


def _differs(
    old: Generation, catalog: Catalog, known: Known, whiten: bool, pointer: dict[str, Any], place: dict[str, str]
) -> bool:
    same = old.catalog.videos == catalog.videos and old.catalog.skipped == catalog.skipped and old.known == known
    return not same or old.about["whiten"] != whiten or any(pointer[key] != value for key, value in place.items())


def _checked_place(out: Path, pointer: dict[str, Any], old: Generation | None, videos: Path) -> Path:
    """The folder of videos: the index's own, or the one that it was moved to. Raises UserError: another one."""
    root = root_of(videos)
    if str(videos.absolute()) != pointer["videos"] and old is not None:
        paths = [video.path for video in old.catalog.videos]
        if sum(is_there(root, path) for path in paths) < len(paths) / 2:
            raise UserError(
                f"{out} is an index of {pointer['videos']}, and most of its videos are not in {videos}: name the "
                "folder that they were moved to, or choose another --out."
            )
    return root


def _check_whole(out: Path, found: Found, journal: Journal) -> None:
    left = [entry for entry in found.to_do if entry.key not in journal.failed and entry.key not in journal.made]
    if left:
        raise UserError(
            f"{counted(len(left), 'video')} of {len(found.entries)} are in no share yet (first {left[0].video.path}): "
            f"give cacl index … --shard for every share, or leave out --merge; {out} is as it was."
        )


def _why(catalog: Catalog) -> str:
    return f" (first {catalog.skipped[0].path}: {catalog.skipped[0].reason})" if catalog.skipped else ""


def _summary(new: int, kept: int, found: Found) -> str:
    parts = [f"{counted(new, 'video')} embedded", f"{kept} kept as they were"]
    parts += [f"{found.absent} absent, kept"] * bool(found.absent) + [f"{found.gone} forgotten"] * bool(found.gone)
    return ", ".join(parts) + "."


def _check_free(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; choose another --out.")
    if out.is_dir() and not (out / POINTER).exists():
        names = {file.name for file in out.iterdir() if not file.match(BEGINNING)}
        if names - {LOCK}:
            raise UserError(f"{out} is not empty, and no index; choose another --out.")
