"""An index on a real PostgreSQL: the same hits, ties included; kills, changes, and what may not be pushed there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from indexing.drawn import crowded, write_drawn
from indexing.made import add
from numpy.typing import NDArray
from pages import run_command
from postgres import Server, rows_of

import cacl
from cacl.errors import UserError, counted
from cacl.indexing.on_server.push import push
from cacl.servers.connect import connect

WIDTH = 16


def drawn_videos(count: int, *, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Videos of 1 to 30 stretches, some of them many times over, some at the centre."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 20, count)
    vectors = crowded(int(lengths.sum()), WIDTH, seed=seed)
    vectors[rng.integers(0, len(vectors), len(vectors) // 4)] = vectors[5]
    parts = np.split(vectors, np.cumsum(lengths)[:-1])
    return {f"{'ab'[number % 2]}/v{number:03}.mp4": part for number, part in enumerate(parts)}


@pytest.fixture(scope="module")
def pair(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[cacl.Index, cacl.Index]:
    """The same index from its folder and from a server."""
    said: list[str] = []
    index = write_drawn(tmp_path_factory.mktemp("pair") / "drawn.index", drawn_videos(60))
    address = postgres.new("pair")
    push(index, address, approximate=True, say=said.append)
    assert f"{counted(len(index), 'stretche')} pushed" in said[0]
    assert "recall at 10 is" in said[1]
    return index, cacl.Index(address)


def test_the_hits_of_the_folder_ties_included(pair: tuple[cacl.Index, cacl.Index]):
    folder, served = pair
    paths = [video.path for video in folder.videos]
    for number, path in enumerate(paths[::9]):
        more: dict[str, Any] = {"k": 10}
        if number % 3 == 1:
            more |= {"within": "a", "unlike": [f"index:{paths[number]}"]}
        if number % 3 == 2:
            more |= {"k": 70}
        asked = [f"index:{path}", f"index:{paths[number + 1]}@0-3"]
        assert served.search(asked, **more) == folder.search(asked, **more)
    rows = [row for row in range(len(folder)) if folder.vectors[row].tobytes() == folder.vectors[5].tobytes()]
    assert len(rows) > 100
    probes = folder.probes(folder.vectors[5])
    assert served.along(probes, 50) == folder.along(probes, 50), "more equal ones than are asked for"
    assert served.vectors[3].tobytes() == folder.vectors[3].tobytes()
    assert np.asarray(served.vectors).tobytes() == folder.vectors.tobytes()


def test_an_approximate_search_finds_most(pair: tuple[cacl.Index, cacl.Index], postgres: Server):
    folder, _ = pair
    with cacl.Index(postgres.address("pair"), approximate=True) as served:
        same = 0
        for video in folder.videos[:10]:
            asked = f"index:{video.path}"
            found = served.search(asked, k=10)
            true = folder.search(asked, k=10)
            assert found[0] == true[0]
            same += len({hit.path for hit in found} & {hit.path for hit in true})
        assert same >= 90
        assert len(served.search(asked, k=10, within="b")) == 10
    with pytest.raises(UserError, match="is a folder, which is searched exactly"):
        cacl.Index(folder.path, approximate=True)


def test_duplicates_are_those_of_the_folder(tmp_path: Path, postgres: Server):
    videos = {f"v{number}.mp4": crowded(30, WIDTH, seed=number) for number in range(5)}
    videos["v3.mp4"][4:24] = videos["v1.mp4"][8:28]
    index, address = write_drawn(tmp_path / "x.index", videos), postgres.new("twice")
    push(index, address)
    found = index.duplicates(pixels=False)
    assert ("v1.mp4", "v3.mp4") in [(one.first, one.second) for one in found]
    with cacl.Index(address) as served:
        assert served.duplicates(pixels=False) == found


def test_what_is_no_vector_comes_from_the_folder(copied: tuple[Path, Path], postgres: Server):
    """A query that the index's encoder embeds, and previews."""
    index, address = cacl.Index(copied[1]), postgres.new("encoder")
    push(index, address)
    elsewhere = copied[0].parent / "query.mp4"
    shutil.copy(copied[0] / "a" / "v2.mp4", elsewhere)
    with cacl.Index(address) as served:
        assert served.search(str(elsewhere), k=2) == index.search(str(elsewhere), k=2)
        assert served.preview(0) == index.preview(0)
        assert served.preview(0) is not None


def test_only_what_changed_is_pushed_again(tmp_path: Path, postgres: Server):
    out, address, videos = tmp_path / "x.index", postgres.new("changes"), drawn_videos(40)
    said: list[str] = []
    push(write_drawn(out, videos), address, say=said.append)
    total = sum(map(len, videos.values()))
    assert said[-1].startswith(f"{address}: {total} stretches pushed")
    push(cacl.Index(out), address, say=said.append)
    assert f": 0 stretches pushed, {total} there already" in said[-1]
    before = rows_of(address)
    gone = videos.pop("a/v004.mp4")
    videos["b/new.mp4"] = crowded(7, WIDTH, seed=9)
    videos["a/v006.mp4"] = videos["a/v006.mp4"][:1] + np.float32(0.5)
    index = write_drawn(out, videos)
    with pytest.raises(UserError, match=r"holds another state of .*x.index than the folder: push it again"):
        cacl.Index(address)
    push(index, address, say=said.append)
    assert ": 8 stretches pushed" in said[-1]
    assert said[-1].endswith("2 videos removed.")
    with cacl.Index(address) as served:
        for asked in ("index:b/new.mp4", "index:a/v006.mp4", "index:a/v008.mp4"):
            assert served.search(asked) == index.search(asked)
    after = rows_of(address)
    assert len(gone)
    assert len(before.keys() & after.keys()) == 38
    assert all(before[key] == after[key] for key in before.keys() & after.keys())
    fresh = postgres.new("rebuilt")
    push(index, fresh)
    assert rows_of(fresh) == after, "the server can be made anew from the files"


CHILD = """
import sys
import cacl
from cacl.indexing.on_server import push
push._BATCH = 40
push.push(cacl.Index(sys.argv[1]), sys.argv[2], progress=lambda what, done, total: print(done, flush=True))
"""


@pytest.mark.parametrize("who", ["client", "server"])
def test_killed_in_the_middle_of_a_push(tmp_path: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch, who: str):
    """SIGKILL to who pushes, or to the whole server: what was said to be there is there; then it is all there."""
    index = write_drawn(tmp_path / "x.index", drawn_videos(60))
    address, whole = postgres.new(f"killed_{who}"), postgres.new(f"whole_{who}")
    push(index, whole)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(index.path), address],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(cacl.__file__).parents[1])},
    )  # fmt: skip
    assert child.stdout is not None
    acknowledged = int([child.stdout.readline() for _ in range(3)][-1])
    if who == "client":
        child.send_signal(signal.SIGKILL)
        child.communicate()
    else:
        postgres.kill()
        _, error = child.communicate()
        assert "UserError" in error
        assert "went away" in error
        assert "what was pushed is kept" in error
        postgres.start()
    with connect(address) as server:
        assert acknowledged <= server.count() < len(index)
    with pytest.raises(UserError, match=r"a push of .*x.index is going on or was not finished"):
        cacl.Index(address)
    said: list[str] = []
    push(index, address, say=said.append)
    assert int(said[0].split(": ")[1].split()[0].replace(" ", "")) < len(index)
    assert rows_of(address) == rows_of(whole)
    assert cacl.Index(address).search("index:a/v000.mp4") == index.search("index:a/v000.mp4")


def test_another_index_is_not_written_over(tmp_path: Path, postgres: Server):
    address = postgres.new("another")
    videos = drawn_videos(5)
    push(write_drawn(tmp_path / "one.index", videos), address)
    wide = write_drawn(tmp_path / "wide.index", {"v.mp4": crowded(3, 8)})
    with pytest.raises(UserError, match=r"holds vectors of 16 numbers \(of .*one.index\), these have 8"):
        push(wide, address)
    for other in (
        write_drawn(tmp_path / "two.index", videos),
        write_drawn(tmp_path / "three.index", videos, weights="1" * 64),
    ):
        with pytest.raises(UserError, match=r"holds another index \(.*one.index\): choose another database"):
            push(other, address)
    with pytest.raises(UserError, match="--no-whiten first"):
        push(write_drawn(tmp_path / "white.index", videos, whiten=True), address)
    (tmp_path / "one.index").rename(tmp_path / "moved.index")
    with pytest.raises(UserError, match=r"holds the vectors of .*one.index, which is not on this machine"):
        cacl.Index(address)
    said: list[str] = []
    push(cacl.Index(tmp_path / "moved.index"), address, say=said.append)
    assert ": 0 stretches pushed" in said[0]
    assert cacl.Index(address).path == tmp_path / "moved.index"


def test_a_search_while_it_is_pushed_anew(tmp_path: Path, postgres: Server):
    """Who has the old state open is told, and finds nothing that is half of it."""
    address, videos = postgres.new("meanwhile"), drawn_videos(10)
    index = write_drawn(tmp_path / "x.index", videos)
    push(index, address)
    with cacl.Index(address) as served:
        videos["b/new.mp4"] = crowded(7, WIDTH, seed=9)
        push(write_drawn(index.path, videos), address)
        with pytest.raises(UserError, match="another state of the index by now: ask again"):
            served.search("index:a/v000.mp4")
    with pytest.raises(UserError, match="holds no index"):
        cacl.Index(postgres.new("nothing"))


def test_the_commands(
    copied: tuple[Path, Path], postgres: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    videos, out = copied
    address = postgres.new("commands")
    secret = address.replace("postgres@", "postgres:s3cret@")
    add(videos, 7)
    words = ["index", str(videos), "--out", str(out), "--device", "cpu", "--to", secret, "--approximate"]
    assert run_command(words, monkeypatch) == 0
    printed = capsys.readouterr()
    assert "stretches pushed" in printed.err
    assert "Approximate searches: recall at 10 is" in printed.err
    found = []
    for place in (str(out), secret):
        assert run_command(["search", place, "index:a/v0.mp4", "--json"], monkeypatch) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1]
    assert run_command(["search", secret, "index:a/v0.mp4", "--approximate"], monkeypatch) == 0
    assert run_command(["duplicates", secret], monkeypatch) == 0
    capsys.readouterr()
    bad = {
        "--to pushes a whole index": [*words[:-3], "--to", secret, "--shard", "1/2"],
        "--approximate is for a vector server": [*words[:-3], "--approximate"],
        "does not exist": [*words[:-2], secret.replace("/commands", "/nowhere")],
    }
    for sentence, asked in bad.items():
        assert run_command(asked, monkeypatch) == 2
        error = capsys.readouterr().err
        assert sentence in error
        assert "s3cret" not in error
    assert "s3cret" not in printed.out + printed.err


def test_the_page_is_served_from_a_server(pair: tuple[cacl.Index, cacl.Index], postgres: Server):
    from cacl.serving.current import Current

    folder, _ = pair
    current = Current(postgres.address("pair"))
    view = current.view()
    assert current.folder == folder.path
    assert view.index.search("index:a/v000.mp4") == folder.search("index:a/v000.mp4")
    assert current.view(view.state) is view
