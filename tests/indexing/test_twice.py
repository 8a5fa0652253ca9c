"""Duplicates of an index: found by vectors, looked at in the files, remembered as not the same."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing.made import make_encoder, make_index
from search.scenes import FPS, render

import cacl
from cacl import cli
from cacl.data.media.encode import write_video
from cacl.errors import UserError
from cacl.indexing import twice
from cacl.search.decisions import Decisions


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten places; a part of one again in another video and codec, and another take of one."""
    folder = tmp_path_factory.mktemp("twice")
    (folder / "videos").mkdir()
    scenes = {f"place{i}.mp4": render(i, 0) for i in range(10)}
    scenes["again.avi"] = np.concatenate([render(70, 0, 3.2), scenes["place3.mp4"][8:]])
    scenes["take.mp4"] = render(5, 1)
    for name, frames in scenes.items():
        codec = {"codec": "mpeg4"} if name.endswith(".avi") else {}
        write_video(folder / "videos" / name, frames, fps=FPS, **codec)
    make_index(folder / "videos", folder / "index", model=make_encoder(folder / "encoder"), step=8, whiten=True).close()
    return folder


def test_a_copy_is_found_and_aligned_and_a_take_is_none(made: Path):
    found = cacl.Index(made / "index").duplicates()
    copies = [one for one in found if one.kind == "copy"]  # so small and so coarsely coded it is likely, not sure
    assert [{one.first, one.second} for one in copies] == [{"again.avi", "place3.mp4"}]
    (one,) = copies
    times = {one.first: one.a, one.second: one.b}
    assert times["place3.mp4"] == pytest.approx((0.64, 8), abs=0.5)
    assert times["again.avi"] == pytest.approx((3.2, 10.56), abs=0.5)


def test_files_that_are_gone_leave_what_vectors_say(made: Path, tmp_path: Path):
    said: list[str] = []
    index = cacl.Index(made / "index", videos=tmp_path)
    found = index.duplicates(say=said.append)
    assert {one.sure for one in found} == {"likely"}
    assert {"again.avi", "place3.mp4"} in [{one.first, one.second} for one in found]
    assert any("could not be looked at" in text for text in said)
    assert index.duplicates(pixels=False) == found


def test_a_frame_is_decoded_once_however_often_it_is_compared(made: Path, monkeypatch: pytest.MonkeyPatch):
    decoded = Counter[tuple[str, int]]()
    real = twice.isolated

    def counted(path: str, seconds: float, work: Any, *more: Any, **named: Any) -> Any:
        if work is twice.read_frames:
            decoded.update((path, number) for number in more[1].tolist())
        return real(path, seconds, work, *more, **named)

    monkeypatch.setattr(twice, "isolated", counted)
    index = cacl.Index(made / "index")
    asked = [
        (0, np.arange(0, 6, 0.03)),
        (1, np.arange(0, 6, 0.03)),
        (0, np.arange(2, 8, 0.05)),
        (1, np.arange(0, 9, 0.1)),
    ]
    source = twice._source(index, twice.stretches_of(index))
    frames = twice._SmallFrames(source)
    kept = [frames(number, times) for number, times in asked]
    assert set(decoded.values()) == {1}
    monkeypatch.setattr(twice, "_KEPT", 10 * kept[0][0].nbytes)
    few = twice._SmallFrames(source)
    for (number, times), expected in zip(asked, kept, strict=True):
        np.testing.assert_array_equal(few(number, times), expected)
    assert len(few._kept) == 10
    assert max(decoded.values()) > 2


def test_processes_that_help_find_the_same_and_may_die(made: Path, monkeypatch: pytest.MonkeyPatch):
    index = cacl.Index(made / "index")
    monkeypatch.setattr(twice, "usable_processors", lambda: [0])
    alone = index.duplicates()
    asked = Counter[str]()
    die_at: dict[str, int] = {}
    real = twice.OwnProcess.run

    def counted(process: twice.OwnProcess, work: Any, *more: Any) -> Any:
        asked[work.__name__] += 1
        if asked[work.__name__] == die_at.get(work.__name__):
            process._process._process.kill()
        return real(process, work, *more)

    monkeypatch.setattr(twice.OwnProcess, "run", counted)
    monkeypatch.setattr(twice, "usable_processors", lambda: [0, 1])
    monkeypatch.setattr("cacl.search.duplicates._WORTH", 1)
    for deaths in ({}, {"_look": 2}, {"_begin": 1}):
        asked.clear()
        die_at.update(deaths)
        assert index.duplicates() == alone
        assert asked["_begin"] == 1
        die_at.clear()


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["cacl", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_command_prints_a_table_and_remembers(
    made: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    index = made / "index"
    words = ("duplicates", index, "--no-pixels")
    status, out, err = run(capsys, monkeypatch, *words)
    assert status == 0
    line = next(line for line in out.splitlines() if "again.avi" in line and "place3.mp4" in line)
    assert "copy, likely" in line
    assert f"{len(out.splitlines())} pairs of stretches, 0 of them sure." in err
    rows = list(csv.DictReader(io.StringIO(run(capsys, monkeypatch, *words, "--csv")[1])))
    found = json.loads(run(capsys, monkeypatch, *words, "--json")[1])["duplicates"]
    assert [{key: str(value) for key, value in row.items()} for row in found] == rows
    assert set(rows[0]) == {
        "path", "start_s", "end_s", "other_path", "other_start_s", "other_end_s", "kind", "score", "sure",
    }  # fmt: skip
    status, _, err = run(capsys, monkeypatch, "duplicates", index, "--not-same", "again.avi", "place33.mp4")
    assert status == 2
    assert "has no video place33.mp4. Did you mean 'place3.mp4'?" in err
    status, out, _ = run(capsys, monkeypatch, "duplicates", index, "--not-same", "place3.mp4", "again.avi")
    assert (status, out) == (0, "Remembered: place3.mp4 and again.avi are not the same.\n")
    after = json.loads(run(capsys, monkeypatch, *words, "--json")[1])["duplicates"]
    assert after == [row for row in found if {row["path"], row["other_path"]} != {"again.avi", "place3.mp4"}]
    make_index(made / "videos", index, whiten=False).close()  # another state of the index remembers it
    assert cacl.Index(index).decisions.not_same("again.avi", "place3.mp4")


def test_many_who_decide_at_once_lose_nothing(tmp_path: Path):
    file = tmp_path / "decisions" / "not_the_same.json"
    threads = [threading.Thread(target=Decisions(file).reject, args=(f"a{n}", "b")) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(Decisions(file).not_same("b", f"a{n}") for n in range(12))
    assert not Decisions(file).not_same("b", "c")
    file.with_name(".not_the_same.json.partial").mkdir()
    with pytest.raises(UserError, match="could not be written"):
        Decisions(file).reject("a", "c")
    assert not Decisions(file).not_same("a", "c")
