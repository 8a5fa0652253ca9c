"""The k nearest in NumPy alone; what it finds is compared with ``Neighbours`` in the tests of an index."""

from __future__ import annotations

import numpy as np
import pytest

from cacl.errors import UserError
from cacl.search.exact import exact_nearest
from cacl.search.rows import CHUNK
from cacl.search.space import Space


def test_a_vector_that_is_no_number_is_named_as_the_archive_numbers_it() -> None:
    """Whatever is left out before it, and however many are read at a time."""
    rows = np.random.default_rng(0).normal(size=(CHUNK + 400, 4)).astype(np.float32)
    space = Space.fit(rows)
    rows[CHUNK + 300, 2] = np.inf
    within = np.ones(len(rows), np.bool_)
    within[:50] = False
    for asked in (within, np.arange(len(rows)) > CHUNK + 200):
        with pytest.raises(UserError, match=f"vector {CHUNK + 300} holds inf"):
            exact_nearest(rows, space, np.eye(4)[:1], 3, within=asked)
