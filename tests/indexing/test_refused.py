"""What ``cacl index`` refuses, and what an end at a bad moment leaves: nothing that is there is given up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from indexing.conftest import Counts
from indexing.made import EXACT, add, facts, make_encoder, make_folder, make_index

import cacl
from cacl.errors import UserError
from cacl.experiments.info import info
from cacl.lock import FolderLock


def test_other_settings_are_refused_and_nothing_is_given_up(
    copied: tuple[Path, Path], encoder: Path, tmp_path: Path, whole: cacl.Index
):
    videos, out = copied
    other = make_encoder(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match=r"made with another encoder \(weights .{8}, these are .{8}\)"):
        make_index(videos, out, model=other)
    with pytest.raises(UserError, match="made with --step not given, now it is 4: leave it out"):
        make_index(videos, out, step=4)
    with pytest.raises(UserError, match="made with --precision float32, now it is bfloat16"):
        make_index(videos, out, precision="bfloat16")
    with pytest.raises(UserError, match="most of its videos are not in"):
        make_index(make_folder(tmp_path / "others", 1).rename(tmp_path / "x") / "a", out)
    with pytest.raises(UserError, match="is an index: bring it up to date with cacl index"):
        cacl.embed(videos, model=encoder, out=out, **EXACT)
    with FolderLock(out), pytest.raises(UserError, match=r"index is in use by process \d+"):
        make_index(videos, out)
    assert cacl.Index(out).vectors.tobytes() == whole.vectors.tobytes()


def test_info_knows_an_index(whole: cacl.Index, five: Path, encoder: Path, tmp_path: Path):
    found = info(whole.path)
    assert (found["kind"], found["state"], found["segments"]) == ("index", "finished", 15)
    cacl.index(five, model=encoder, out=tmp_path / "index", shard="1/2", **EXACT)
    assert info(tmp_path / "index")["go on"] == "give the same cacl index again"


def test_what_is_refused(encoder: Path, five: Path, tmp_path: Path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "empty").mkdir()
    for more, match in (
        ({"out": tmp_path / "full"}, "is not empty, and no index"),
        ({"out": tmp_path / "full" / "x"}, "is a file; choose another --out"),
        ({"out": five / "index"}, "among the videos: choose an --out beside that folder"),
        ({"step": 0}, "--step is 0; it must be 1 or more"),
        ({"model": None}, "is no index yet: name the encoder that makes it"),
        ({"shard": "4/3"}, "--shard is 4/3; it must be a share"),
        ({"shard": "1/2", "merge": True}, "give one of them"),
        ({"videos": tmp_path / "empty"}, "no video found"),
    ):
        with pytest.raises(UserError, match=match):
            cacl.index(**{"videos": five, "model": encoder, "out": tmp_path / "out", **EXACT, **more})
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "place",
    [
        "cacl.indexing.write_generation.measure_scale",
        "cacl.indexing.write_generation.write_copy",
        "cacl.indexing.write_generation.write_whole",
        "cacl.indexing.build.write_pointer",
        "cacl.indexing.build.keep_previews",
    ],
)
def test_an_end_while_a_state_is_written_leaves_the_old_one(
    place: str, copied: tuple[Path, Path], whole: cacl.Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    counts: Counts, encoder: Path,
):  # fmt: skip
    videos, out = copied
    add(videos, 5)

    class End(BaseException):
        pass

    def end(*more: Any, **named: Any) -> None:
        raise End

    with monkeypatch.context() as patch:
        patch.setattr(place, end)
        with pytest.raises(End):
            make_index(videos, out)
    assert len(cacl.Index(out)) == (15 if "keep_previews" not in place else 18)
    assert counts.embedded == 1
    index = make_index(videos, out)
    assert counts.embedded == 1
    assert facts(index) == facts(make_index(videos, tmp_path / "at once", model=encoder))
    assert {path.name for path in out.iterdir()} == {".lock", "encoder", "generations", "index.json", "previews"}
    index.close()
    make_index(videos, out)
    assert len(list((out / "generations").iterdir())) == 1
