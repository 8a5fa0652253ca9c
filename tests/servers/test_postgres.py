"""A real PostgreSQL with pgvector: what is pushed is there, searches miss nothing, and what goes wrong is said."""

from __future__ import annotations

import uuid

import numpy as np
import psycopg
import pytest
from indexing.drawn import crowded
from numpy.typing import NDArray
from postgres import Server

from cacl.errors import UserError
from cacl.servers.address import shown, without_passwords
from cacl.servers.connect import connect
from cacl.servers.server import Candidates, Held, Pushed, VectorServer, id_of

REQUEST = "0" * 32


def pushed(number: int, vectors: NDArray[np.float32], **more: object) -> Pushed:
    frames = 16 * np.arange(len(vectors))[:, None] + [[0, 16]]
    key = f"{number:032x}"
    return Pushed(key, f"v{number}.mp4", ("a", "b"), frames, frames / 10, vectors, **more)  # type: ignore[arg-type]


def begun(address: str, width: int) -> VectorServer:
    server = connect(address)
    server.begin(Held("/index", REQUEST, width, ""), many=True)
    return server


def test_what_is_pushed_is_there_once_however_often(postgres: Server):
    address = postgres.new("once")
    vectors = crowded(5000, 8)
    vectors[3, 0] = 0.1  # no number of few binary digits
    videos = [pushed(1, vectors[:3000]), pushed(2, vectors[3000:3001]), pushed(3, vectors[:0])]
    with begun(address, 8) as server:
        assert server.digests() == {}
        for _ in range(2):
            server.push(videos)
        server.push([videos[1]])
        assert server.count() == 3001
        assert server.digests() == {video.key: video.digest for video in videos}
        found = {video.key: np.zeros_like(video.vectors) for video in videos}
        for key, parts, some in server.read([video.key for video in videos]):
            found[key][parts] = some
        assert all(found[video.key].tobytes() == video.vectors.tobytes() for video in videos)
        server.delete([videos[0].key])
        assert server.count() == 1
        assert server.finish("state", np.zeros(8), approximate=False) is False
        assert server.held() == Held("/index", REQUEST, 8, "state")
    ((name, path, labels, frame, end, text),) = postgres.sql(
        "once",
        "SELECT id, path, labels, stop_frame, end_s, vector::text FROM cacl_vectors JOIN cacl_videos USING (video)",
    )
    assert name == id_of(REQUEST, videos[1].key, 0)
    assert (path, labels, frame, end) == ("v2.mp4", ["a", "b"], 16, 1.6)
    assert np.array(text.strip("[]").split(","), np.float32).tobytes() == vectors[3000].tobytes()


def test_a_batch_is_pushed_whole_or_not_at_all(postgres: Server):
    vectors = crowded(4, 8)
    broken = vectors.copy()
    broken[2, 5] = np.nan
    with begun(postgres.new("batch"), 8) as server:
        with pytest.raises(UserError, match=r"v2\.mp4: vector 2 holds nan, .* vectors must be finite"):
            server.push([pushed(1, vectors), pushed(2, broken)])
        assert server.count() == 0
        assert server.digests() == {}
        server.push([pushed(1, vectors)])
        assert server.count() == 4


def by_hand(vectors: NDArray[np.float32], direction: NDArray[np.float64], centre: NDArray[np.float64]):
    away = vectors.astype(np.float64) - centre
    return away @ direction / np.linalg.norm(away, axis=1)


@pytest.mark.parametrize("width", [3, 512, 2100])
def test_whoever_is_not_among_the_candidates_scores_no_more_than_is_said(postgres: Server, width: int):
    """Beside float64: the bound holds, for vectors near the centre, too."""
    rng = np.random.default_rng(width)
    vectors = crowded(300, width)
    centre = vectors.astype(np.float64).mean(axis=0)
    for number in range(20):  # ever nearer to it
        vectors[number] = centre + rng.normal(size=width) * 0.1 * width**-0.5 * 10.0**-number
    with begun(postgres.new(f"bound{width}"), width) as server:
        server.push([pushed(1, vectors[:100]), pushed(2, vectors[100:])])
        server.finish("state", centre, approximate=False)
        for _ in range(5):
            direction = rng.normal(size=width)
            direction /= np.linalg.norm(direction)
            scores = by_hand(vectors, direction, centre)
            found = server.search(direction, centre, 40)
            rows = numbers_of(found)
            others = np.setdiff1d(np.arange(300), rows)
            assert len(rows) == 40
            assert found.vectors.tobytes() == vectors[rows].tobytes()
            assert scores[others].max() <= found.rest
            assert found.rest <= np.sort(scores[20:])[-20] + 0.05, "of some use"
            assert found.state == "state"
            only = server.search(direction, centre, 400, keys=[f"{2:032x}"])
            assert sorted(numbers_of(only)) == list(range(100, 300))
            assert only.rest == -np.inf


def numbers_of(found: Candidates) -> NDArray[np.int64]:
    return found.parts + np.array([0 if key == f"{1:032x}" else 100 for key in found.keys])


def test_vectors_lie_in_their_rows_while_they_fit(postgres: Server):
    for width, kept in ((512, "p"), (1900, "p"), (4096, "e")):
        with begun(postgres.new(f"width{width}"), width) as server:
            server.push([pushed(1, crowded(3, width))])
            assert server.count() == 3
            query = (
                "SELECT attstorage FROM pg_attribute WHERE attrelid = 'cacl_vectors'::regclass AND attname = 'vector'"
            )
            assert postgres.sql(f"width{width}", query) == [(kept,)]
            if width > 4000:
                with pytest.raises(UserError, match="of up to 4000 numbers, these have 4096: leave out --approximate"):
                    server.finish("state", np.zeros(width), approximate=True)
    with (
        connect(postgres.new("width")) as server,
        pytest.raises(UserError, match="up to 16000 numbers, these have 16001"),
    ):
        server.begin(Held("/index", REQUEST, 16_001, ""), many=True)


def test_the_ids_are_of_encoder_video_and_part():
    ids = {id_of(request, key, part) for request in "ab" for key in "xy" for part in (0, 1, 11)}
    assert len(ids) == 12
    assert id_of("a", "x", 1) == id_of("a", "x", 1)
    assert isinstance(id_of("a", "x", 1), uuid.UUID)


def test_only_one_process_pushes_at_a_time(postgres: Server, monkeypatch: pytest.MonkeyPatch):
    address = postgres.new("alone")
    monkeypatch.setattr("cacl.servers.postgres._WAIT", 0.0)
    with begun(address, 8), pytest.raises(UserError, match="being pushed to by another process"):
        begun(address, 8)
    begun(address, 8).close()


def test_a_connection_that_broke_is_made_anew(postgres: Server):
    with begun(postgres.new("anew"), 8) as server:
        server.push([pushed(1, crowded(3, 8))])
        ending = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'anew' AND pid <> pg_backend_pid()"
        )
        postgres.sql("postgres", ending)
        with pytest.raises(UserError, match=r"cannot be reached, or went away \(.*terminat"):
            server.count()
        assert server.count() == 3


def test_no_server_and_no_such_database(postgres: Server):
    with pytest.raises(UserError, match=r'went away \(.*database "nowhere" does not exist'):
        connect(postgres.address("nowhere"))
    with pytest.raises(UserError, match=r"cannot be reached.*check that it runs"):
        connect("postgresql:///x?host=/nowhere")
    with pytest.raises(UserError, match="is no address of a vector server"):
        connect("mysql://x")
    with pytest.raises(UserError, match="the schema of this address is not there: CREATE SCHEMA"):
        begun(postgres.new("schema") + "&options=-csearch_path%3Dmissing", 8)


def test_several_indexes_in_one_database(postgres: Server):
    address = postgres.new("several")
    for number, name in enumerate(("one", "two"), 1):
        postgres.sql("several", f"CREATE SCHEMA {name}")
        with begun(f"{address}&options=-csearch_path%3D{name},public", 8) as server:
            server.push([pushed(1, crowded(number, 8))])
            assert server.count() == number


def test_a_user_who_may_not(postgres: Server):
    postgres.new("closed")
    postgres.sql("closed", "CREATE ROLE guest LOGIN")
    with (
        connect(postgres.address("closed", user="guest")) as server,
        pytest.raises(UserError, match=r"permission denied for schema public|permission denied to create extension"),
    ):
        server.begin(Held("/index", REQUEST, 8, ""), many=True)


SECRETS = ["tops3cret", "p@ss/w:ord", "%40x%2Fy"]


@pytest.mark.parametrize("secret", SECRETS)
def test_no_password_is_ever_printed(postgres: Server, secret: str):
    """In the address or as its setting, escaped or not, where it is wrong, and where the address cannot be read."""
    addresses = [
        postgres.address("nowhere", password=secret),
        f"postgresql://u@127.0.0.1:1/db?password={secret}&connect_timeout=1",
        f"postgresql://u:{secret}@127.0.0.1:1/db?wrong=1",
        f"postgresql://u:{secret}@127.0.0.1:port/db",
    ]
    for address in addresses:
        with pytest.raises(UserError) as found:
            connect(address)
        for word in (secret, "p@ss", "w:ord", "@x/y"):
            assert word not in str(found.value), str(found.value)
            assert word not in shown(address)
    assert without_passwords(f"who is {secret}?", f"postgresql://u:{secret}@host/db") == "who is …?"


def test_credentials_that_are_missing_or_wrong(postgres: Server):
    postgres.new("guarded")
    postgres.sql("guarded", "CREATE ROLE known LOGIN PASSWORD 'right'")
    rules = postgres.data / "pg_hba.conf"
    before = rules.read_text()
    try:
        rules.write_text("local all known scram-sha-256\n" + before)
        postgres.sql("postgres", "SELECT pg_reload_conf()")
        for address in (
            postgres.address("guarded", user="known"),
            postgres.address("guarded", user="known", password="wr0ng"),
        ):
            with pytest.raises(
                UserError, match=r"let nobody in \(.*\): name the user .* PGPASSWORD or in ~/.pgpass"
            ) as e:
                connect(address)
            assert "wr0ng" not in str(e.value)
        connect(postgres.address("guarded", user="known", password="right")).close()
        with pytest.raises(UserError, match='role "stranger" does not exist'):
            connect(postgres.address("guarded", user="stranger"))
    finally:
        rules.write_text(before)
        postgres.sql("postgres", "SELECT pg_reload_conf()")


def test_a_server_without_the_extension_or_with_an_old_one(postgres: Server):
    address = postgres.new("bare")
    postgres.stop()
    try:
        postgres.start("extension_control_path=/nowhere")
        with (
            connect(address) as server,
            pytest.raises(UserError, match=r"has no pgvector .* install it on that server"),
        ):
            server.begin(Held("/index", REQUEST, 8, ""), many=True)
    finally:
        postgres.stop()
        postgres.start()
    postgres.sql("bare", "CREATE EXTENSION vector")
    postgres.sql("bare", "UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
    with connect(address) as server, pytest.raises(UserError, match=r"has pgvector 0\.7\.4; cacl needs 0\.8 or later"):
        server.begin(Held("/index", REQUEST, 8, ""), many=True)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(UserError, match=r'pip install "psycopg\[binary\]>=') as found:
        connect("postgresql://u:secret@h/d")
    assert "secret" not in str(found.value)
    assert psycopg.__name__ == "psycopg"
