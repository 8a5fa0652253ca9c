"""The same store as one folder and as two shares on two disks, for tests of where a store may lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from cacl.data.videos.catalog import Catalog
from cacl.data.videos.store import build_share, build_store
from cacl.data.videos.store_shares import Shard


def two_stores(catalog: Catalog, folder: Path, disk: Path, *, height: int, width: int) -> None:
    """Make ``joined.store`` and ``spread.store`` in ``folder``; the second share of the latter lies on ``disk``."""
    build_store(catalog, folder / "joined.store", height=height, width=width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cacl.data.videos.store._PART_VIDEOS", 2)  # so that there is a part for each share
        for number, where in ((1, folder), (2, disk)):
            share = Shard(number, 2)
            build_share(catalog, folder / "spread.store", shard=share, within=where, height=height, width=width)
        build_store(catalog, folder / "spread.store", keep=[folder, disk], height=height, width=width)
