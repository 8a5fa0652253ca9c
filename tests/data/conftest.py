"""Functions of a test that decode processes can import."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from cacl.data.media import isolated

_NUMBERS = itertools.count()


@pytest.fixture
def in_decode_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ModuleType]]:
    """``in_decode_processes(source)``: a module of this source that decode processes find, too."""
    folder = tmp_path_factory.mktemp("hooks")
    sys.path.insert(0, str(folder))
    isolated.end_idle()  # they have the old path

    def make(source: str) -> ModuleType:
        name = f"hooks_{next(_NUMBERS)}"
        Path(folder, f"{name}.py").write_text(source, encoding="utf-8")
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield make
    sys.path.remove(str(folder))
    isolated.end_idle()
