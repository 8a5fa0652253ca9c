"""The settings of CACL and its ablations (paper section 3, Tables 1 and 2), and how a run builds it from them.

Apart from ``cacl.py``, so that what is wrong with a command is said before PyTorch is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import model_validator

from cacl.methods.curves import Curve, mean_of
from cacl.methods.pairs import ALL_PAIRS, PAIR_NAMES, Pair
from cacl.methods.queue_size import queue_size
from cacl.settings import Auto, FromList, MethodSettings, NotNegative, Positive, Rate, Settings, Unit, refuse

if TYPE_CHECKING:
    from torch import nn

    from cacl.methods.cacl import CACL
    from cacl.methods.frame_moco import FrameMoCo
    from cacl.models.cnn3d import CNN3D
    from cacl.models.frame_encoder import ResNet

LARGEST_QUEUE = 6400


class CACLSettings(MethodSettings):
    """What decides the loss."""

    name: Literal["cacl"] = "cacl"
    one_pass: bool  # clip and twin go through G together and share BatchNorm statistics
    twin: bool  # the shuffled twin goes through G too, and features are concat[G(x), G(x~)]
    pairs: Annotated[tuple[Pair, ...], FromList]
    loss: Literal["inside", "outside"]  # Eq. 4: sum of positives inside the log; released: mean of logs
    degree_weight: NotNegative  # lambda
    degree_sampling: Literal["uniform", "permutation", "subset"]
    temperature: Rate
    momentum: Unit
    momentum_schedule: Literal["constant", "cosine"]
    queue_size: Auto | Positive
    key_order: Literal["same", "swapped"]  # order of clip and twin in view k
    mask_own_keys: bool  # keys of the query's own video are no negatives
    batch_negatives: bool  # Gk, Tq and Tk of the other videos in the batch are negatives too
    # the pair (Tq,Tk) is weighed against the negatives of Tq, not of Gq; older runs had Gq's
    tq_negatives: bool = False
    # over the batch of all processes, or over each one's share with keys shuffled (MoCo v1); older runs had one process
    batchnorm: Literal["global", "process"] = "global"

    @model_validator(mode="after")
    def _consistent(self) -> CACLSettings:
        problems = []
        if len(set(self.pairs)) != len(self.pairs):
            problems.append(f"method.pairs names a pair twice (found {list(self.pairs)})")
        if not self.pairs and self.degree_weight == 0:
            problems.append("nothing is learnt: method.pairs is empty and method.degree_weight is 0")
        if not self.twin and self.degree_weight > 0:
            problems.append("the degree loss needs the twin; set method.twin: true or method.degree_weight: 0")
        refuse(problems)
        return self

    @property
    def wants_frame_encoder(self) -> bool:
        """Whether any pair needs T."""
        return any("t" in pair for pair in self.pairs)

    @property
    def own_batchnorm(self) -> bool:
        """Whether each process normalises its own share of a batch."""
        return self.batchnorm == "process"

    @property
    def learns_degrees(self) -> bool:
        """Whether anything is learnt from the degree head."""
        return self.twin and self.degree_weight > 0

    def label(self, origins: Mapping[str, str]) -> str | None:
        """``cacl``, an ablation, or None for any other combination."""
        # the preset released learns nothing from the degree head, and is the joint method nevertheless
        ablation = self.degree_weight == 0 and origins.get("method.degree_weight") == "method"
        names = {
            (): "sdp" if self.degree_sampling == "uniform" else "sdp*",
            ALL_PAIRS[:1]: "sdp+v-moco" if self.degree_weight > 0 else "v-moco",
            ALL_PAIRS[:2]: "pairs2",
            ALL_PAIRS[:3]: "pairs3",
            ALL_PAIRS: "v-moco+t" if ablation else "cacl",
        }
        return names.get(self.pairs)

    def auto_values(self, *, videos: int) -> dict[str, tuple[Any, str]]:
        """``queue_size``: half an epoch of keys, within bounds."""
        if self.queue_size != "auto":
            return {}
        keys = 2 if any("tk" in pair for pair in self.pairs) else 1
        size, bound = queue_size(keys * videos // 2, most=LARGEST_QUEUE)
        return {"method.queue_size": (size, f"{bound}half an epoch of keys, {keys} a clip of {videos} videos")}

    def curves(self, frames: int) -> Sequence[Curve]:
        """What the ablation logs, of clips of ``frames`` frames."""
        from cacl.methods.degree import degree_curve, start_of_the_loss

        terms, norms, curves = dict[str, str](), dict[str, str](), list[Curve]()
        if self.pairs:
            terms["nce"] = norms["grad_nce"] = "contrastive"
            names = {f"similarity_{pair}": PAIR_NAMES[pair] for pair in ALL_PAIRS}
            curves.append(Curve("Similarity of pairs", {**names, "similarity_negatives": "negatives"}))
        if self.twin:
            terms["degree_loss"] = norms["grad_degree"] = "degree"
            curve = degree_curve(frames)
            curves.insert(0, curve if self.learns_degrees else replace(curve, chance=None))
        shown = {key: name.removesuffix("ive") for key, name in terms.items()}
        start = (start_of_the_loss(frames),) if self.twin else ()
        return (
            Curve("Loss", {"loss": "total", **terms}, references=start, shown=shown),
            *curves,
            Curve("Gradient norm at G", norms, log=True),
        )

    def warnings(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """One pair that satisfies the contrastive loss alone."""
        found = one_pair_carries(rows, pairs={pair: PAIR_NAMES[pair] for pair in self.pairs})
        return [] if found is None else [found]

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> CACL:
        """CACL or the ablation; ``queue_size`` is a number by now."""
        from cacl.methods.cacl import CACL
        from cacl.models.transformer import VideoTransformer

        model, transformer = settings.model, None
        if self.wants_frame_encoder:
            assert frame_encoder is not None
            transformer = VideoTransformer(
                int(frame_encoder.num_features),  # type: ignore[arg-type]
                frames=settings.data.frames,
                clips=2 if self.twin else 1,
                width=model.token_width,
                depth=model.depth,
                heads=model.heads,
            )
        own = self.model_dump(exclude={"name", "queue_size"})
        assert self.queue_size != "auto"
        return CACL(
            network,
            transformer,
            frame_encoder,
            **own,
            queue_size=self.queue_size,
            frames=settings.data.frames,
            stride=settings.data.stride,
            start_window=settings.data.start_window,
            moments=settings.data.moments,
            standardise=model.standardise,
            projection=model.projection,
            degree_hidden=model.degree_hidden,
            degree_dropout=model.degree_dropout,
            degree_input=model.degree_input,
        )

    def build_frames(self, settings: Settings, *, frame_encoder: ResNet) -> FrameMoCo:
        """MoCo on frames, the stage before."""
        from cacl.methods.frame_moco import FrameMoCo

        assert settings.frames.queue_size != "auto"
        return FrameMoCo(
            frame_encoder,
            temperature=settings.frames.temperature,
            momentum=settings.frames.momentum,
            queue_size=settings.frames.queue_size,
            mask_own_keys=self.mask_own_keys,
            batch_negatives=self.batch_negatives,
            projection=settings.model.projection,
            standardise=settings.model.standardise != "none",
            batchnorm=self.batchnorm,
        )


def one_pair_carries(rows: Sequence[Mapping[str, Any]], *, pairs: Mapping[str, str]) -> str | None:
    """Whether one pair satisfies the contrastive loss alone, so that G gets no gradient: a sentence, or None.

    Args:
        rows: of ``metrics.jsonl``, one stage's, in order.
        pairs: those that are learnt, ``gq_gk`` … -> their name.
    """
    last = rows[-max(1, len(rows) // 4) :]
    found = {f"({name.replace(', ', ',')})": mean_of(last, f"similarity_{pair}") for pair, name in pairs.items()}
    similarity = {name: value for name, value in found.items() if value is not None}
    best = max(similarity, key=lambda name: similarity[name], default=None)
    if best is not None and len(similarity) > 1 and similarity[best] > 0.95:
        others = [value for name, value in similarity.items() if name != best]
        if max(others) < 0.5:
            return (
                f"One pair carries the contrastive loss: {best} has similarity {similarity[best]:.2f}, the others at "
                f"most {max(others):.2f}, so the 3D CNN has little left to learn from it. Try the released form of "
                f"the loss, which averages over the pairs outside the logarithm, or leave out the pair {best}."
            )
    norm, first = mean_of(last, "grad_nce"), mean_of(rows[: max(1, len(rows) // 10)], "grad_nce")
    reference = max((g for g in (mean_of(last, "grad_degree"), first) if g is not None), default=None)
    if norm is not None and reference is not None and reference > 0 and norm < 0.01 * reference:
        return (
            f"Almost no gradient of the contrastive loss reaches the 3D CNN (norm {norm:.1e}; the larger of the "
            f"degree loss's and its own at the start is {reference:.1e}). One pair probably satisfies the loss alone: "
            f"try the released form of the loss, a larger queue, or fewer pairs."
        )
    return None
