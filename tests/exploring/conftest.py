"""An index whose vectors are told: three kinds of stretches, in videos with a bias of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exploring.told import ToldIndex, told_index
from indexing.made import make_encoder, make_folder, make_index


@pytest.fixture
def kinds() -> ToldIndex:
    """12 videos of 6 stretches of 2 s; kind of stretch s of video v: (v + s // 3) % 3."""
    random = np.random.default_rng(0)
    kind = np.array([(v + s // 3) % 3 for v in range(12) for s in range(6)])
    bias = np.repeat(random.normal(size=(12, 40)), 6, axis=0)
    vectors = 3 * np.eye(40)[kind] + 0.2 * bias + 0.3 * random.normal(size=(72, 40))
    return told_index(vectors, videos=12)


@pytest.fixture(scope="session")
def small_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos of three stretches, embedded by a tiny encoder."""
    folder = tmp_path_factory.mktemp("classes")
    make_index(make_folder(folder / "v", 6), folder / "my.index", model=make_encoder(folder / "encoder")).close()
    return folder / "my.index"
