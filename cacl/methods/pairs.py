"""The four positive pairs of CACL (paper Eq. 3): which embeddings training draws together."""

from __future__ import annotations

from typing import Literal

Pair = Literal["gq_gk", "gq_tq", "gq_tk", "tq_tk"]
ALL_PAIRS: tuple[Pair, ...] = ("gq_gk", "gq_tq", "gq_tk", "tq_tk")
PAIR_NAMES = {"gq_gk": "Gq, Gk", "gq_tq": "Gq, Tq", "gq_tk": "Gq, Tk", "tq_tk": "Tq, Tk"}
