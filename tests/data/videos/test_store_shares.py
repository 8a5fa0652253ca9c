"""A store made in shares, by processes that know nothing of each other, is that of one process, to the bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cacl.data.videos import store, store_shares
from cacl.data.videos.catalog import Catalog
from cacl.data.videos.scan import scan
from cacl.data.videos.store import build_share, build_store, is_store
from cacl.data.videos.store_shares import Shard, share_folder
from cacl.errors import UserError
from cacl.lock import FolderLock

SIZE: dict[str, Any] = {"height": 24, "width": 32}


@pytest.fixture
def catalog(squares: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.setattr(store, "_PART_VIDEOS", 2)
    return scan(squares)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_shares_joined_are_the_store_of_one_process(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_store(catalog, tmp_path / "whole", **SIZE)
    out = tmp_path / "shared"
    for number in (3, 1, 2):
        build_share(catalog, out, shard=Shard(number, 3), **SIZE)
    assert not is_store(out)
    made = [
        sorted(int(file.stem[-6:]) for file in share_folder(out, Shard(n, 3)).glob("part-*.bin")) for n in (1, 2, 3)
    ]
    assert made[0] == [0, 3]
    assert sorted(number for share in made for number in share) == list(range(len(catalog.videos) // 2))

    def never(plan: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(store_shares, "make", never)
    build_share(catalog, out, shard=Shard(2, 3), **SIZE)  # done already
    build_store(catalog, out, merge=True, **SIZE)
    assert contents(out) == contents(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shared", "whole"]
    build_share(catalog, out, shard=Shard(2, 3), **SIZE)  # the store is there
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shared", "whole"]


def test_a_merge_that_was_stopped_goes_on(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_store(catalog, tmp_path / "whole", **SIZE)
    out, copied, inner = tmp_path / "shared", list[int](), store.shutil.copyfileobj
    for number in (1, 2):
        build_share(catalog, out, shard=Shard(number, 2), **SIZE)

    def stop_in_third(source: Any, target: Any, size: int) -> None:
        copied.append(1)
        if len(copied) == 3:
            target.write(b"half")
            target.flush()
            raise KeyboardInterrupt
        inner(source, target, size)

    monkeypatch.setattr(store.shutil, "copyfileobj", stop_in_third)
    with pytest.raises(KeyboardInterrupt):
        build_store(catalog, out, merge=True, **SIZE)
    build_store(catalog, out, merge=True, **SIZE)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_share_that_is_missing_or_made_of_something_else_is_said(catalog: Catalog, tmp_path: Path) -> None:
    out = tmp_path / "shared"
    build_share(catalog, out, shard=Shard(1, 2), **SIZE)
    build_share(catalog, out, shard=Shard(2, 2), height=24, width=40)
    with pytest.raises(
        UserError, match=r"parts of \d+ of the store are in no share yet \(first video .*--shard for every"
    ):
        build_store(catalog, out, merge=True, **SIZE)
    with FolderLock(share_folder(out, Shard(1, 2))), pytest.raises(UserError):
        build_store(catalog, out, **SIZE)
    build_store(catalog, tmp_path / "whole", **SIZE)
    assert contents(build_store(catalog, out, **SIZE).path) == contents(tmp_path / "whole")  # makes what is missing


def test_the_command(cacl: Callable[..., Any], squares: Path, tmp_path: Path) -> None:
    words = ["prepare", squares, "--out", tmp_path / "s", "--size", 24, 32, "--workers", 0]
    cacl(*words, "--shard", "1/2", "--merge").refused("--shard makes a share, --merge joins them")
    cacl(*words, "--shard", "3/2").refused("--shard is 3/2")
    cacl(*words, "--merge").refused("in no share yet")
    shutil.rmtree(tmp_path / "s.partial")
    for number in (1, 2):
        ended = cacl(*words, "--shard", f"{number}/2")
        assert ended.status == 0
        assert f"Share {number} of 2 is made" in ended.out
    assert cacl(*words, "--merge").status == 0
    assert is_store(tmp_path / "s")
