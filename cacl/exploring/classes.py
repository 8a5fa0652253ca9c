"""Classes learnt from labels: a linear layer on the stored vectors of an index, kept as a folder.

``config.json`` holds the names of the classes, the encoder whose vectors they tell, and what held-out labels said;
``model.safetensors`` the layer. The folder is replaced whole.

Shapes: n vectors, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cacl.errors import UserError, printable, quoted
from cacl.evaluation.probes import LogisticModel
from cacl.indexing.reader import Index
from cacl.models.encoder_folder import read_encoder_folder, write_encoder_folder
from cacl.search.rows import chunks


@dataclass(frozen=True, eq=False)
class Told:
    """What a stretch is taken for, for all stretches of an index.

    Attributes:
        best: number of the most probable class, int64 ``[n]``.
        probability: of it, in [0, 1], float32 ``[n]``.
        margin: by how much it is more probable than the next, in [0, 1], float32 ``[n]``.
    """

    best: NDArray[np.int64]
    probability: NDArray[np.float32]
    margin: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Classes:
    """A layer that tells classes from vectors.

    Attributes:
        names: of the K classes.
        model: the probe.
        weights: digest of the encoder that made the vectors.
        facts: what it was learnt from, and what held-out labels said; plain JSON values.
    """

    names: tuple[str, ...]
    model: LogisticModel
    weights: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def probabilities(self, index: Index) -> Iterator[NDArray[np.float64]]:
        """Of some vectors after the other ``[…, K]``, in the order of the index; each row sums to 1."""
        self.check(index)
        for _, part in chunks(index.vectors):
            yield torch.softmax(self.model.scores(part), dim=1).numpy()

    def told(self, index: Index) -> Told:
        """The most probable class of every stretch. Raises UserError: the index is of another encoder."""
        best, probability, margin = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros(0)]
        for part in self.probabilities(index):
            best.append(part.argmax(axis=1))
            top = np.partition(part, -2, axis=1)
            probability.append(top[:, -1])
            margin.append(top[:, -1] - top[:, -2])
        return Told(
            np.concatenate(best),
            np.concatenate(probability).astype(np.float32),
            np.concatenate(margin).astype(np.float32),
        )

    def check(self, index: Index) -> None:
        """Raise UserError where the vectors of an index are of another encoder."""
        if index.about["weights"] != self.weights:
            raise UserError(
                f"These classes were learnt on vectors of encoder {self.weights[:8]}, {index.path} holds those of "
                f"{str(index.about['weights'])[:8]}: learn them anew with cacl finetune {quoted(index.path)} --linear."
            )

    def save(self, folder: Path) -> None:
        """Write the folder, in place of an older one. Raises UserError: it holds something else, or a full disk."""
        state = {name: getattr(self.model, name) for name in ("centre", "scale", "weight", "bias")}
        config = {
            "classes": list(self.names), "weights": self.weights, "penalty": self.model.penalty, **self.facts,
        }  # fmt: skip
        write_encoder_folder(folder, config, state, _card(self.names, self.facts), kind="classes")

    @staticmethod
    def load(folder: Path) -> Classes:
        """Raises UserError: nothing there, or damaged."""
        if not folder.exists():
            raise UserError(f"{folder} does not exist: learn classes first, with cacl finetune INDEX --linear.")
        place, config, state = read_encoder_folder(folder, kind="classes")
        known = {"format", "version", "classes", "weights", "penalty"}
        try:
            names, weights, penalty = config["classes"], str(config["weights"]), float(config["penalty"])
            parts = [state[name].double() for name in ("centre", "scale", "weight", "bias")]
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError("classes must be a list of names")
            width = len(parts[0])
            shapes = [(width,), (width,), (width, len(names)), (len(names),)]
            if len(names) < 2 or [tuple(part.shape) for part in parts] != shapes:
                raise ValueError(f"{len(names)} classes do not fit the layer")
            if not all(bool(torch.isfinite(part).all()) for part in parts):
                raise ValueError("a number is not finite")
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{place} is damaged ({error}): learn the classes anew with cacl finetune INDEX.") from None
        facts = {key: value for key, value in config.items() if key not in known}
        return Classes(tuple(names), LogisticModel(parts[0], parts[1], parts[2], parts[3], penalty), weights, facts)


def _card(names: tuple[str, ...], facts: Mapping[str, Any]) -> str:
    listed = ", ".join(f"`{printable(name)}`" for name in names)
    said = dict(facts.get("held out") or {}).get("words", "")
    return (
        f"# {len(names)} classes of stretches of video\n\nA linear layer on the vectors of an index, which tells "
        f"{listed}. {printable(said)}\n\nUse: `cacl classify THIS_FOLDER INDEX`, or the page, `cacl serve INDEX`.\n"
    )
