"""Does one pair of embeddings satisfy the contrastive loss alone, so that the 3D CNN gets no gradient?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cacl.methods.curves import mean_of


def one_pair_carries(rows: Sequence[Mapping[str, Any]], *, pairs: Mapping[str, str]) -> str | None:
    """A sentence that says so and what to try, or None.

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
