"""The words of ``cacl index`` and ``cacl search``: what is printed, and sentences in the place of tracebacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from indexing.made import make_encoder, make_folder

from cacl import cli
from cacl.lock import FolderLock

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["cacl", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


def test_index_and_search_from_the_command_line(tmp_path: Path, run: Run):
    videos, encoder = make_folder(tmp_path / "videos", 3), make_encoder(tmp_path / "encoder")
    index = tmp_path / "my.index"
    words = ("index", videos, "--out", index, "--device", "cpu", "--precision", "float32")
    status, out, err = run(*words, "--model", encoder, "--shard", "1/1")
    assert (status, out) == (
        0, f"Join the shares when all are done: cacl index {videos} --model {encoder} --out {index} --merge\n"
    )  # fmt: skip
    assert "Share 1 of 1: 3 videos embedded." in err
    status, out, err = run(*words, "--merge", "--model", encoder)
    assert status == 0
    assert out == f"{index}: 9 stretches of 3 videos. Search them: cacl search {index} FILE\n"
    assert "3 used, 0 skipped (of 3 files): see " in err
    assert "0 videos embedded, 3 kept as they were." in run(*words)[2]
    status, out, _ = run("search", index, f"{index}:a/v0.mp4@0-1", "-k", "2")
    assert status == 0
    assert len(out.splitlines()) == 2
    found = json.loads(run("search", index, "index:a/v0.mp4@0-1", "-k", "2", "--json")[1])
    assert [hit["path"] in line for hit, line in zip(found["hits"], out.splitlines(), strict=True)] == [True, True]


def test_what_is_wrong_is_said_in_a_sentence(tmp_path: Path, run: Run):
    videos, encoder = make_folder(tmp_path / "videos", 1), make_encoder(tmp_path / "encoder")
    index = tmp_path / "my.index"
    words = ("index", videos, "--out", index, "--device", "cpu", "--model", encoder)
    assert run(*words)[0] == 0
    with FolderLock(index):
        status, _, err = run(*words)
        assert (status, "my.index is in use by process" in err) == (2, True)
        assert run("search", index, "index:a/v0.mp4@0-1", "--unlike", "index:a/v0.mp4@3-4")[0] == 0  # readers may
    for asked, said in (
        ((*words, "--precision", "half"), "--precision is half; it can be auto, float32"),
        ((*words, "--shard", "0/2"), "--shard is 0/2; it must be a share"),
        (("index", tmp_path / "video", "--out", index), "video does not exist; did you mean"),
        (("search", tmp_path / "my.indx", "q.mp4"), "my.indx does not exist; did you mean"),
        (("search", videos, "q.mp4"), "is no index: it has no index.json"),
        (("search", index, "q.mp4"), "q.mp4 does not exist"),
        (("search", index, "index:a/v0.mp4@9-10"), "a/v0.mp4 ends at 4.0 s, the part begins at 9 s"),
        (("duplicates", index, "--csv", "--json"), "give one of them"),
    ):
        status, out, err = run(*asked)
        assert (status, out, said in err) == (2, "", True), err
        assert "Traceback" not in err
