"""A store whose parts many made: byte for byte that of one process, whoever dies, and where it was stopped."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cluster.pretend import Pretend

from cacl.cluster.on_ray import do_batch
from cacl.cluster.prepare import make_on_ray, make_parts
from cacl.data.videos import store, store_shares
from cacl.data.videos.catalog import Catalog
from cacl.data.videos.scan import scan
from cacl.data.videos.store import build_store

SIZE: dict[str, Any] = {"height": 24, "width": 32}


@pytest.fixture
def catalog(squares: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.setattr(store, "_PART_VIDEOS", 2)
    return scan(squares)


class Stopped(Pretend):
    """After two parts."""

    def next(self, sent: Any) -> Any:
        if len(self.done) >= 2:
            raise KeyboardInterrupt
        return super().next(sent)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_store_is_that_of_one_process(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_store(catalog, tmp_path / "whole", **SIZE)
    monkeypatch.chdir(tmp_path)
    done: list[int] = []

    def watch(now: int, total: int) -> None:
        done.append(now)

    for number, cluster in enumerate([Pretend(), Pretend(deaths=3), Pretend(killers=["000001"])]):
        out = Path(f"many-{number}")  # a relative one is found by workers, too
        build_store(catalog, out, make=partial(make_on_ray, cluster), progress=watch, **SIZE)
        assert contents(out) == contents(tmp_path / "whole")
        assert done == sorted(done)
        assert done[-1] == len(catalog.videos)
        assert not list(tmp_path.glob("*.partial"))
        done.clear()


def test_where_it_was_stopped_it_goes_on(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_store(catalog, tmp_path / "s", make=partial(make_on_ray, Stopped()), **SIZE)
    (tmp_path / "s.partial" / "part-000005-alone.elsewhere-7.tmp").mkdir()  # of a worker that died there
    again = Pretend()
    build_store(catalog, tmp_path / "s", make=partial(make_on_ray, again), **SIZE)
    assert len(again.done) == len(catalog.videos) // 2 - 2
    build_store(catalog, tmp_path / "whole", **SIZE)
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


def test_what_was_stopped_goes_on_in_one_process(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_store(catalog, tmp_path / "s", make=partial(make_on_ray, Stopped()), **SIZE)
    made: list[int] = []
    make = store_shares.make
    monkeypatch.setattr(store_shares, "make", lambda plan: made.append(plan.number) or make(plan))
    build_store(catalog, tmp_path / "s", **SIZE)
    assert len(made) == len(catalog.videos) // 2 - 2


def test_a_part_that_is_there_is_not_made_again(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    [plan, *_] = store._plans(catalog, tmp_path / "part", kind="raw", quality=90, rules=store.AS_CODED, **SIZE)
    make_parts([plan])
    plan.data.write_bytes(b"")
    make_parts([plan])
    assert plan.data.read_bytes() == b""


def test_a_full_disk_comes_back_as_one(tmp_path: Path) -> None:
    def full(whats: Any) -> None:
        raise OSError(28, "No space left on device", "/x/part")

    assert do_batch(full, [], []).system == (28, "No space left on device", "/x/part")
