"""``cacl push RUN USER/NAME``: an encoder as a repository of a model hub, with a model card of what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cacl.data.videos.catalog import Catalog
from cacl.errors import UserError
from cacl.files import read_object
from cacl.models.encoder_folder import read_encoder_folder
from cacl.models.hub import own_files, push_files
from cacl.models.load import restore
from cacl.reports.run import RETRIEVAL, video_counts
from cacl.run_folder import is_run

_WITHOUT = """\
## Without cacl

`model.safetensors` holds the weights of the network, a PyTorch state dict (`safetensors.torch.load_file`);
`config.json` says what goes in. `cacl export FOLDER --to onnx --out encoder.onnx` writes it as a graph for other
programs."""


@dataclass(frozen=True)
class Pushed:
    """What was pushed.

    Attributes:
        repository: ``USER/NAME``.
        commit: of the hub.
        files: their names.
    """

    repository: str
    commit: str
    files: tuple[str, ...]


def push(path: str | Path, repository: str, *, licence: str | None = None, private: bool = False) -> Pushed:
    """Put an encoder on a model hub, in one commit: ``config.json``, ``model.safetensors`` and its model card.

    No video, no name of a video and no path of this machine is among it. The card has what the encoder's has, and of a
    run how many videos it was trained on and the retrieval of ``cacl evaluate`` beside chance and the baselines.

    Args:
        path: a run or an encoder folder; its encoder is loaded first, so that what is pushed is whole.
        repository: ``USER/NAME``; made when missing. One that holds something else than an encoder is left as it is.
        licence: for the head of the card, as the hub names it (``apache-2.0``); ``None``: left open.
        private: whether a repository that is made can be seen by its owner alone.

    Raises:
        UserError: no encoder there, or the hub does not take it; in one sentence.
    """
    if licence is not None and (not licence.strip() or not licence.isprintable() or ":" in licence):
        raise UserError(f"--licence is {licence!r}; give its name alone, for example apache-2.0.")
    folder, config, state = read_encoder_folder(path)
    restore(folder, config, state)
    files = own_files(folder)
    run = Path(path) if is_run(Path(path)) else folder.parent
    card = files.get("README.md", b"").decode(errors="replace")
    content = {**files, "README.md": hub_card(card, run, repository=repository, licence=licence).encode()}
    commit = push_files(
        repository, content, message=f"Encoder of cacl {config.get('cacl', '')}".strip(), private=private
    )
    return Pushed(repository, commit, tuple(content))


def hub_card(card: str, run: Path, *, repository: str, licence: str | None) -> str:
    """The model card for a hub: that of the folder, with what its run has measured since, and how to load it there.

    Args:
        card: the folder's ``README.md``.
        run: the run around the folder; where it is none, there is nothing to add.
        repository: ``USER/NAME``, the name that it is loaded by.
        licence: for the head; ``None``: left out.
    """
    card = card.replace("PATH/OF/THIS/FOLDER", repository)
    if licence is not None and card.startswith("---\n"):
        card = card.replace("---\n", f"---\nlicense: {licence}\n", 1)
    parts = [_WITHOUT]
    if is_run(run):
        if (run / "videos.csv").is_file():
            catalog = Catalog.read_csv(run / "videos.csv", root=run)
            counts = {"videos": str(len(catalog.videos)), **video_counts(catalog)}
            parts.append("## Data\n\n" + ", ".join(f"{name}: {count}" for name, count in counts.items()) + ".")
        recalls = read_object(run / "results.json").get("retrieval")
        if isinstance(recalls, dict) and recalls:
            parts.append(_retrieval(recalls, read_object(run / RETRIEVAL)))
    head, limits, tail = card.partition("## Limits")
    return head.rstrip() + "\n\n" + "\n\n".join(parts) + "\n" + (f"\n{limits}{tail}" if limits else "")


def _retrieval(recalls: Mapping[str, Mapping[str, Any]], measured: Mapping[str, Any]) -> str:
    """The table of retrieval in percent, and of how many videos it is."""
    columns = list(dict.fromkeys(name for row in recalls.values() for name in row if name.startswith("R@")))
    lines = [f"| % | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, row in recalls.items():
        cells = [f"{row[key]:.1f}" if isinstance(row.get(key), int | float) else "" for key in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    asked = {key: measured.get(key) for key in ("queries", "gallery")}
    told = (
        f"{asked['queries']} videos query {asked['gallery']}; right is the same class.\n\n"
        if all(asked.values())
        else ""
    )
    return f"## Retrieval\n\n{told}" + "\n".join(lines)
