"""Everything on a GPU that is none: no tensor may be left on the CPU, and the result is that of the CPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from pretend_gpu import PretendedGpu, pretended_gpu

from cacl.training.pretrain import pretrain


@pytest.fixture
def gpu() -> Iterator[PretendedGpu]:
    with pretended_gpu() as found:
        yield found


def test_pretrain(gpu, tiny: dict[str, Any], squares: Path, finished: Path, tmp_path: Path) -> None:
    run = pretrain(squares, out=tmp_path / "run", settings={**tiny, "run.device": "cuda"})
    print(run.metrics)
