"""Pairs of embeddings that training draws together: the four of CACL (paper Eq. 3), and what all are called."""

from __future__ import annotations

from typing import Literal

Pair = Literal["gq_gk", "gq_tq", "gq_tk", "tq_tk"]
ALL_PAIRS: tuple[Pair, ...] = ("gq_gk", "gq_tq", "gq_tk", "tq_tk")
PAIR_NAMES = {
    "gq_gk": "Gq, Gk",
    "gq_tq": "Gq, Tq",
    "gq_tk": "Gq, Tk",
    "tq_tk": "Tq, Tk",
    "first_second": "two clips",  # of methods that draw two clips or views of a video together, without a copy
}
