"""Some videos, an index of them made once, and what is done to files meanwhile."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from indexing.made import make_encoder, make_folder, make_index

import cacl
from cacl.indexing import embedding_run, known


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_folder(tmp_path_factory.mktemp("five"), 5)
    (folder / "notes.txt").write_text("no video")
    return folder


@pytest.fixture(scope="session")
def whole(encoder: Path, five: Path, tmp_path_factory: pytest.TempPathFactory) -> cacl.Index:
    return make_index(five, tmp_path_factory.mktemp("whole") / "index", model=encoder)


@pytest.fixture
def copied(five: Path, whole: cacl.Index, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the videos and of their index."""
    shutil.copytree(five, tmp_path / "videos")
    shutil.copytree(whole.path, tmp_path / "index")
    return tmp_path / "videos", tmp_path / "index"


class Counts:
    """How many videos were opened and embedded."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.opened: list[str] = []
        self.embedded = 0
        look, vectors = known.look, embedding_run.video_vectors

        def counted_look(root: Path, path: str, *more: Any, **named: Any) -> Any:
            self.opened.append(path)
            return look(root, path, *more, **named)

        def counted_vectors(*more: Any, **named: Any) -> Any:
            for one in vectors(*more, **named):
                self.embedded += 1
                yield one

        patch.setattr(known, "look", counted_look)
        patch.setattr(embedding_run, "video_vectors", counted_vectors)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    return Counts(monkeypatch)
