"""An index of a few videos, made once, and a site on it for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from indexing.made import make_encoder, make_folder, make_index
from serving.browsing import chromium, watched
from serving.site import HTML, Served
from starlette.testclient import TestClient

from cacl.exploring.labels import Labels
from cacl.serving.app import Site, make_app
from cacl.serving.current import Current
from cacl.serving.queries import Queries


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos of 4 s in a and b, a copy of the first with a name that is HTML, an index."""
    folder = tmp_path_factory.mktemp("served")
    videos = make_folder(folder / "videos", 4)
    shutil.copy(videos / "a" / "v0.mp4", videos / "b" / HTML)
    make_index(videos, folder / "my.index", model=make_encoder(folder / "encoder")).close()
    return folder


@pytest.fixture
def served(archive: Path, tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "dropped").mkdir()
    labels = Labels(tmp_path / "labels.csv")
    site = Site(Current(archive / "my.index"), labels, Queries(tmp_path / "dropped"), local=True)
    with TestClient(make_app(site, token=None), base_url="http://localhost:8420") as client:
        yield Served(archive, site, client)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page at ``address``, which the module of the tests says."""
    with watched(browser, address) as page:
        yield page
